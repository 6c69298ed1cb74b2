# SPDX-License-Identifier: Apache-2.0
# Files that must not compile. Their first error must be the message that they promise (check_compile.py). Run with the
# host compiler. g++ gets the library as a precompiled header, which saves 2 s a file; nvcc sees that each file includes it.
function(diloco_add_compile_tests)
  diloco_check_flags(flags)
  set(host_flags ${flags})
  if(DILOCO_TEST_CORE)  # the messages are the same, and a second less is parsed
    list(APPEND host_flags -DDILOCO_COMPILED_CORE)
  endif()
  if(DILOCO_TEST_PRECOMPILE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set(header "${CMAKE_CURRENT_BINARY_DIR}/fail.hpp")
    file(CONFIGURE OUTPUT "${header}" CONTENT "#include <diloco/diloco.hpp>\n")
    add_custom_command(
      OUTPUT "${header}.gch" DEPFILE "${header}.d"
      COMMAND "${CMAKE_CXX_COMPILER}" ${host_flags} -MD -MF "${header}.d" -MT "${header}.gch" -x c++-header "${header}"
              -o "${header}.gch" VERBATIM)
    add_custom_target(diloco_fail_precompiled ALL DEPENDS "${header}.gch")
    list(APPEND host_flags -include "${header}")
  endif()
  set(check Python3::Interpreter "${PROJECT_SOURCE_DIR}/cmake/check_compile.py")
  foreach(source IN LISTS ARGN)
    cmake_path(GET source STEM name)
    if((name MATCHES "^eigen_" AND NOT TARGET diloco::eigen)
       OR (name MATCHES "^nccl_" AND NOT (TARGET diloco::nccl AND TARGET diloco::mpi)))
      continue()
    endif()
    set(own "")
    if(name MATCHES "^nccl_")
      diloco_nccl_flags(own)
    endif()
    if(NOT name MATCHES "^cublas_")  # a header of the CUDA toolkit
      add_test(NAME fail.${name}.g++
               COMMAND ${check} "${source}" -- "${CMAKE_CXX_COMPILER}" ${host_flags} ${own} -fsyntax-only)
    endif()
    # Messages are tested with one compiler. nvcc compiles the twin of all of them, and the files about devices.
    if(TARGET diloco::cuda AND name MATCHES "^good_twin$|^cublas_|device|^nccl_|^numbers_not_listed$")
      add_test(NAME fail.${name}.nvcc
               COMMAND ${check} "${source}" -- "${CMAKE_CUDA_COMPILER}" ${flags} ${own} -x cu -arch=sm_90 -cubin
                       -o "${CMAKE_CURRENT_BINARY_DIR}/${name}.cubin")
    endif()
  endforeach()
endfunction()

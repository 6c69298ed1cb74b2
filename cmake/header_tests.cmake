# SPDX-License-Identifier: Apache-2.0
# Each public header compiles alone and twice: *.hpp with g++ and clang, *.cuh with nvcc. CMake's own
# verification of header sets skips CUDA without a word in 3.25, hence this.

function(diloco_add_header_tests)
  diloco_check_flags(flags)
  set(warnings -Wall -Wextra -Wpedantic -Werror)
  find_program(clang clang++ NO_CACHE)
  set(alone "${PROJECT_SOURCE_DIR}/tests/headers/alone.cpp")
  foreach(header IN LISTS DILOCO_HEADERS)
    string(REPLACE "include/" "" header "${header}")
    string(REPLACE "diloco/" "header." name "${header}")
    set(define "-DDILOCO_HEADER=<${header}>")
    if(header MATCHES "\\.cuh$")
      if(TARGET diloco::cuda)
        string(MAKE_C_IDENTIFIER "${name}" object)  # a slash in the name would be a folder that is not there
        add_test(NAME ${name}.nvcc
                 COMMAND "${CMAKE_CUDA_COMPILER}" ${flags} --Werror cross-execution-space-call -x cu
                         -arch=sm_90 -cubin -o "${CMAKE_CURRENT_BINARY_DIR}/${object}.cubin" "${define}" "${alone}")
      endif()
      continue()
    endif()
    if((header MATCHES "/mpi[._]" AND NOT TARGET diloco::mpi) OR (header MATCHES "/tbb\\." AND NOT TARGET diloco::tbb)
       OR (header MATCHES "/eigen\\." AND NOT TARGET diloco::eigen) OR (header MATCHES "/nccl" AND NOT TARGET diloco::nccl))
      continue()
    endif()
    set(own "")
    if(header MATCHES "/omp\\.")
      set(own -fopenmp)
    elseif(header MATCHES "/nccl")
      diloco_nccl_flags(own)
    endif()
    add_test(NAME ${name}.g++
             COMMAND "${CMAKE_CXX_COMPILER}" ${flags} ${warnings} ${own} -fsyntax-only "${define}" "${alone}")
    if(clang)
      add_test(NAME ${name}.clang++
               COMMAND "${clang}" ${flags} ${warnings} ${own} -fsyntax-only "${define}" "${alone}")
    endif()
  endforeach()
endfunction()

# SPDX-License-Identifier: Apache-2.0
# Programs of tests/cuda, and the limit on stack use and spills of every kernel (cost/kernels.cu).
# Most of them run the suites of laws/, golden/ and system/ again on a device: laws_wire.cu is laws/wire.cpp.
# nvcc takes twenty minutes for all of them, so only the preset cuda builds them (DILOCO_CUDA_TESTS).
find_package(CUDAToolkit QUIET)  # cuBLAS, for its test
find_program(nvidia_smi nvidia-smi NO_CACHE)
find_program(compute_sanitizer compute-sanitizer HINTS "${CUDAToolkit_BIN_DIR}" NO_CACHE)

# Warning 186 comes from loops whose constant bound is 0 for one policy of many. Warning 177 comes from names that only
# checks of the trainer use.
function(diloco_cuda_test_options target)
  diloco_for_one_device(${target})  # the limit below covers both kinds
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:-diag-suppress=186,177>")
endfunction()

# One main uses device memory. The other returns pinned memory from every `new`, for suites that keep tensors on the
# host.
# nvcc must not compile the second, because it takes `operator new` for a device function.
add_library(diloco_cuda_test_main OBJECT support/cuda_test_main.cu)
target_link_libraries(diloco_cuda_test_main PUBLIC doctest::doctest diloco::cuda)
diloco_cuda_test_options(diloco_cuda_test_main)
add_library(diloco_cuda_suite_main OBJECT EXCLUDE_FROM_ALL support/cuda_suite_main.cpp)
target_link_libraries(diloco_cuda_suite_main PUBLIC doctest::doctest diloco::cuda PRIVATE diloco_dev)
target_include_directories(diloco_cuda_suite_main PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
target_include_directories(diloco_cuda_suite_main SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
if(TARGET diloco::mpi)
  add_library(diloco_cuda_mpi_main OBJECT EXCLUDE_FROM_ALL support/cuda_mpi_main.cu)
  target_link_libraries(diloco_cuda_mpi_main PUBLIC doctest::doctest diloco::cuda diloco::mpi)
  diloco_cuda_test_options(diloco_cuda_mpi_main)
endif()

file(GLOB sources CONFIGURE_DEPENDS cuda/*.cu)
foreach(source IN LISTS sources)
  cmake_path(GET source STEM stem)
  if(NOT (DILOCO_CUDA_TESTS STREQUAL "ALL" OR stem IN_LIST DILOCO_CUDA_TESTS)
     OR (stem STREQUAL "whole_tensor" AND NOT TARGET CUDA::cublas)
     OR (stem MATCHES "^nccl" AND NOT TARGET diloco::nccl)
     OR (stem MATCHES "^mpi_" AND NOT TARGET diloco::mpi))
    continue()
  endif()
  set(name cuda.${stem})
  diloco_add_program(${name} SOURCES ${source} COMPONENTS cuda)
  set(command ${name})
  if(stem MATCHES "^(laws|golden|system)_")
    target_link_libraries(${name} PRIVATE diloco_cuda_suite_main)
  elseif(stem MATCHES "^mpi_")
    target_link_libraries(${name} PRIVATE diloco_cuda_mpi_main)
    set(command "${MPIEXEC_EXECUTABLE}" ${MPIEXEC_NUMPROC_FLAG} 2 $<TARGET_FILE:${name}>)
  else()
    target_link_libraries(${name} PRIVATE diloco_cuda_test_main)
  endif()
  if(stem STREQUAL "whole_tensor")
    target_link_libraries(${name} PRIVATE CUDA::cublas)
  elseif(stem MATCHES "^nccl")
    target_link_libraries(${name} PRIVATE diloco::nccl)
  endif()
  target_include_directories(${name} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
  target_compile_definitions(${name} PRIVATE DILOCO_GOLDEN_DIR="${CMAKE_CURRENT_SOURCE_DIR}/golden/fixtures")
  diloco_cuda_test_options(${name})
  add_test(NAME ${name} COMMAND ${command})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS cuda)
  if(stem MATCHES "^mpi_")
    set_tests_properties(${name} PROPERTIES ENVIRONMENT "${DILOCO_MPI_ENVIRONMENT}" PROCESSORS 2)
  endif()
endforeach()

# The model of examples/gpt, compiled by the host compiler. nvcc compiled the library.
if(TARGET diloco_gpt_device)
  diloco_add_test_program(cuda.gpt_device cuda/gpt_device.cpp diloco_cuda_test_main)
  target_link_libraries(cuda.gpt_device PRIVATE diloco_gpt_device diloco_gpt_lib CUDA::cudart_static)
  add_test(NAME cuda.gpt_device COMMAND cuda.gpt_device)
  set_tests_properties(cuda.gpt_device PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS cuda)
endif()

# A few of them run again under the sanitizer, to cover device memory, blocks and stages. racecheck looks at shared
# memory only. No kernel here uses any, so it reports nothing until one does.
# synccheck checks the warps' shuffles and barriers.
if(DILOCO_CUDA_TESTS STREQUAL "ALL" AND nvidia_smi AND compute_sanitizer)
  foreach(tool IN ITEMS memcheck initcheck synccheck racecheck)
    foreach(stem IN ITEMS round laws_wire laws_staged)
      set(name cuda.${tool}.${stem})
      add_test(NAME ${name} COMMAND "${compute_sanitizer}" --tool ${tool} --error-exitcode 1 $<TARGET_FILE:cuda.${stem}>)
      set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900 LABELS "cuda;sanitizer")
    endforeach()
  endforeach()
elseif(DILOCO_CUDA_TESTS STREQUAL "ALL")
  add_test(NAME cuda.memcheck COMMAND "${CMAKE_COMMAND}" -E echo "not run: it needs a GPU and compute-sanitizer")
  set_tests_properties(cuda.memcheck PROPERTIES SKIP_REGULAR_EXPRESSION "not run" LABELS "cuda;sanitizer")
endif()

diloco_check_flags(flags)
foreach(arch IN LISTS DILOCO_PTXAS_ARCHITECTURES)
  add_test(NAME cost.ptxas.${arch}
           COMMAND Python3::Interpreter "${PROJECT_SOURCE_DIR}/cmake/check_ptxas.py" --show --arch ${arch} --
                   "${CMAKE_CUDA_COMPILER}" ${flags} --Werror cross-execution-space-call
                   "${CMAKE_CURRENT_SOURCE_DIR}/cost/kernels.cu")
  set_tests_properties(cost.ptxas.${arch} PROPERTIES LABELS cuda)
endforeach()

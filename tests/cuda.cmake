# SPDX-License-Identifier: Apache-2.0
# Programs of tests/cuda, and the gate on stack and spills of every kernel (cost/kernels.cu).
add_library(diloco_cuda_test_main OBJECT support/cuda_main.cu)
target_link_libraries(diloco_cuda_test_main PUBLIC doctest::doctest diloco::cuda)

find_package(CUDAToolkit QUIET) # cuBLAS, for the test of it

file(GLOB sources CONFIGURE_DEPENDS cuda/*.cu)
foreach(source IN LISTS sources)
  cmake_path(GET source STEM stem)
  if((stem STREQUAL "whole_tensor" AND NOT TARGET CUDA::cublas) OR (stem STREQUAL "nccl" AND NOT TARGET diloco::nccl))
    continue()
  endif()
  diloco_add_test_program(cuda.${stem} ${source} diloco_cuda_test_main cuda)
  if(stem STREQUAL "whole_tensor")
    target_link_libraries(cuda.${stem} PRIVATE CUDA::cublas)
  elseif(stem STREQUAL "nccl")
    target_link_libraries(cuda.${stem} PRIVATE diloco::nccl)
  endif()
  diloco_for_one_device(cuda.${stem}) # the gate below sees both kinds
  add_test(NAME cuda.${stem} COMMAND cuda.${stem})
  set_tests_properties(cuda.${stem} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS cuda)
endforeach()

# The model of examples/gpt, by the host's compiler: nvcc made the library.
if(TARGET diloco_gpt_device)
  diloco_add_test_program(cuda.gpt_device cuda/gpt_device.cpp diloco_cuda_test_main)
  target_link_libraries(cuda.gpt_device PRIVATE diloco_gpt_device diloco_gpt_lib CUDA::cudart_static)
  add_test(NAME cuda.gpt_device COMMAND cuda.gpt_device)
  set_tests_properties(cuda.gpt_device PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS cuda)
endif()

diloco_check_flags(flags)
foreach(arch IN ITEMS sm_80 sm_90)
  add_test(NAME cost.ptxas.${arch}
           COMMAND Python3::Interpreter "${PROJECT_SOURCE_DIR}/cmake/check_ptxas.py" --show --arch ${arch} --
                   "${CMAKE_CUDA_COMPILER}" ${flags} --Werror cross-execution-space-call
                   "${CMAKE_CURRENT_SOURCE_DIR}/cost/kernels.cu")
  set_tests_properties(cost.ptxas.${arch} PROPERTIES LABELS cuda)
endforeach()

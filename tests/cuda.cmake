# SPDX-License-Identifier: Apache-2.0
# Programs of tests/cuda, and the gate on stack and spills of every kernel (cost/kernels.cu).
add_library(diloco_cuda_test_main OBJECT support/cuda_main.cu)
target_link_libraries(diloco_cuda_test_main PUBLIC doctest::doctest diloco::cuda)

find_package(CUDAToolkit QUIET) # cuBLAS, for the test of it

file(GLOB sources CONFIGURE_DEPENDS cuda/*.cu)
find_program(nvidia_smi nvidia-smi NO_CACHE)
if(nvidia_smi)
  set(test_architectures native)
else()
  set(test_architectures 90-real)
endif()
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
  # Host bits do not depend on -O, and -O3 takes minutes. For the device that is there, or for one kind; the gate below sees both.
  target_compile_options(cuda.${stem} PRIVATE -Xcompiler=-O1)
  set_target_properties(cuda.${stem} PROPERTIES CUDA_ARCHITECTURES "${test_architectures}")
  add_test(NAME cuda.${stem} COMMAND cuda.${stem})
  set_tests_properties(cuda.${stem} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS cuda)
endforeach()

diloco_check_flags(flags)
foreach(arch IN ITEMS sm_80 sm_90)
  add_test(NAME cost.ptxas.${arch}
           COMMAND Python3::Interpreter "${PROJECT_SOURCE_DIR}/cmake/check_ptxas.py" --show --arch ${arch} --
                   "${CMAKE_CUDA_COMPILER}" ${flags} --Werror cross-execution-space-call
                   "${CMAKE_CURRENT_SOURCE_DIR}/cost/kernels.cu")
  set_tests_properties(cost.ptxas.${arch} PROPERTIES LABELS cuda)
endforeach()

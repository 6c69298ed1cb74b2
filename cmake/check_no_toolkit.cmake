# SPDX-License-Identifier: Apache-2.0
# Fails when any object of a build read a file of the CUDA toolkit. Needs NINJA, BUILD, TOOLKIT.
execute_process(
  COMMAND "${NINJA}" -C "${BUILD}" -t deps
  OUTPUT_VARIABLE deps COMMAND_ERROR_IS_FATAL ANY)
if(NOT deps MATCHES "/thrust/version\\.h")
  message(FATAL_ERROR "no object read Thrust, so nothing was proved")
endif()
foreach(trace IN ITEMS "${TOOLKIT}/" "/cccl/" "cuda_runtime")
  string(FIND "${deps}" "${trace}" at)
  if(NOT at EQUAL -1)
    string(SUBSTRING "${deps}" ${at} 120 found)
    message(FATAL_ERROR "a file of the toolkit was read: ${found}")
  endif()
endforeach()
message(STATUS "no file of a CUDA toolkit was read")

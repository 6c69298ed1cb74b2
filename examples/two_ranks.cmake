# SPDX-License-Identifier: Apache-2.0
# cmake -DPROGRAM=... -DPORT=... -P two_ranks.cmake: both ranks of a world of two on this machine, at once. On one GPU each needs
# an NCCL_HOSTID of its own.
foreach(rank IN ITEMS 0 1)
  list(APPEND ranks COMMAND "${CMAKE_COMMAND}" -E env RANK=${rank} WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=${PORT}
                            NCCL_HOSTID=rank${rank} "${PROGRAM}")
endforeach()
execute_process(${ranks} RESULTS_VARIABLE codes OUTPUT_VARIABLE said ERROR_VARIABLE said)
message("${said}") # of the last one; the first one's output went down the pipe
if(NOT codes STREQUAL "0;0")
  message(FATAL_ERROR "the ranks ended with ${codes}")
endif()

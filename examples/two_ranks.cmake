# SPDX-License-Identifier: Apache-2.0
# cmake -DPROGRAM=... -DPORT=... -P two_ranks.cmake: runs both ranks of a world of two on this machine at the same time.
# On a shared GPU each rank needs its own NCCL_HOSTID.
foreach(rank IN ITEMS 0 1)
  list(APPEND ranks COMMAND "${CMAKE_COMMAND}" -E env RANK=${rank} WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=${PORT}
                            NCCL_HOSTID=rank${rank} "${PROGRAM}")
endforeach()
execute_process(${ranks} RESULTS_VARIABLE codes OUTPUT_VARIABLE said ERROR_VARIABLE said)
message("${said}")  # output of the last rank; the first rank's output went into the pipe
if(NOT codes STREQUAL "0;0")
  message(FATAL_ERROR "the ranks ended with ${codes}")
endif()

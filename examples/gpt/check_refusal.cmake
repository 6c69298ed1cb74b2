# SPDX-License-Identifier: Apache-2.0
# cmake -DPROGRAM= -DFLAGS= -DSENTENCE= -P: the program must exit with 2 and print one line with SENTENCE on stderr.
string(FIND "${FLAGS}" "--out" out)
if(out EQUAL -1)
  file(REMOVE_RECURSE refused.out)
  list(APPEND FLAGS --out refused.out)
endif()
execute_process(COMMAND "${PROGRAM}" ${FLAGS} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE said)
string(FIND "${said}" "${SENTENCE}" found)
string(REGEX MATCHALL "\n" ends "${said}")
list(LENGTH ends lines)
if(NOT code EQUAL 2 OR found EQUAL -1 OR NOT lines EQUAL 1 OR NOT output STREQUAL "" OR EXISTS refused.out)
  message(FATAL_ERROR "exit code ${code}, stdout '${output}', stderr '${said}'; expected 2, nothing, and '${SENTENCE}'")
endif()

# SPDX-License-Identifier: Apache-2.0
# Installs BUILD into an empty PREFIX and compares the installed files with the source tree's list.
file(REMOVE_RECURSE "${PREFIX}")
execute_process(COMMAND "${CMAKE_COMMAND}" --install "${BUILD}" --component diloco --prefix "${PREFIX}"
                OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/headers.cmake")
file(GLOB_RECURSE installed RELATIVE "${PREFIX}" "${PREFIX}/include/*")
list(SORT installed)
list(SORT DILOCO_HEADERS)
if(NOT installed STREQUAL DILOCO_HEADERS)
  message(FATAL_ERROR "installed headers differ from cmake/headers.cmake:\n${installed}")
endif()

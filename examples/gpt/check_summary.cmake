# SPDX-License-Identifier: Apache-2.0
# cmake -DSUMMARY=file -P: the keys that scripts read must be present, and DiLoCo must have sent less than
# data-parallel.
file(READ "${SUMMARY}" json)
foreach(key IN ITEMS val_loss_data_parallel val_loss_diloco bytes_per_worker_data_parallel bytes_per_worker_diloco tokens
                     seconds workers recipe)
  string(JSON ${key} GET "${json}" ${key})
endforeach()
if(NOT bytes_per_worker_diloco LESS bytes_per_worker_data_parallel OR NOT workers EQUAL 4 OR NOT recipe MATCHES "absmax")
  message(FATAL_ERROR "unexpected summary: ${json}")
endif()

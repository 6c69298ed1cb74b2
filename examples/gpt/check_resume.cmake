# SPDX-License-Identifier: Apache-2.0
# cmake -DPROGRAM= -DFLAGS= -DFOLDER= -P: a job is killed in each of its two runs, as soon as that has a snapshot of
# its four workers. Resumed, it must end with the validation losses of a job that was never killed, digit by digit.
file(REMOVE_RECURSE "${FOLDER}")
set(job "${PROGRAM}" ${FLAGS})

function(losses out result)
  file(READ "${FOLDER}/${out}/summary.json" json)
  string(REGEX MATCHALL "\"val_loss_d[^,\n]*" found "${json}")
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

execute_process(COMMAND ${job} --out "${FOLDER}/whole" COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
list(APPEND job --out "${FOLDER}/killed" --save "${FOLDER}/snapshots" --resume "${FOLDER}/snapshots" --save-every 10)
foreach(run IN ITEMS data-parallel diloco)
  set(kill_it [[folder=$1; shift
    "$@" & job=$!
    until [ $(ls "$folder"/*.safetensors 2>/dev/null | wc -l) -ge 4 ] || ! kill -0 $job; do sleep 0.01; done
    kill -9 $job
    wait $job]])
  execute_process(COMMAND sh -c "${kill_it}" kill_it "${FOLDER}/snapshots/${run}" ${job}
                  RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE said)
  if(NOT code EQUAL 137 OR EXISTS "${FOLDER}/killed/summary.json")
    message(FATAL_ERROR "the job was to be killed in ${run}; it ended with ${code}\n${output}${said}")
  endif()
endforeach()
execute_process(COMMAND ${job} COMMAND_ERROR_IS_FATAL ANY OUTPUT_VARIABLE output)
losses(whole expected)
losses(killed found)
list(LENGTH found count)
if(NOT found STREQUAL expected OR NOT count EQUAL 2 OR NOT output MATCHES "diloco goes on after step")
  message(FATAL_ERROR "losses ${found}, without the kills ${expected}\n${output}")
endif()

# SPDX-License-Identifier: Apache-2.0
# Tests of the whole program, with a model that takes a second: what it writes, and how it refuses bad input.
set(tiny --steps 8 --warm-up-steps 4 --every 4 --evaluate-every 4 --layers 1 --width 16 --heads 2 --context 16
         --validation-bytes 512 --sample-bytes 20 --data "${CMAKE_CURRENT_SOURCE_DIR}")

add_test(NAME example.gpt COMMAND diloco_gpt ${tiny} --out example.gpt.out)
set_tests_properties(example.gpt PROPERTIES TIMEOUT 120 FIXTURES_SETUP gpt_output
                                            PASS_REGULAR_EXPRESSION "validation loss, nats per byte +[0-9.]+ +[0-9.]+")
add_test(NAME example.gpt_summary
         COMMAND "${CMAKE_COMMAND}" -DSUMMARY=example.gpt.out/summary.json -P "${CMAKE_CURRENT_SOURCE_DIR}/check_summary.cmake")
set_tests_properties(example.gpt_summary PROPERTIES FIXTURES_REQUIRED gpt_output)

add_test(NAME example.gpt_streaming COMMAND diloco_gpt ${tiny} --schedule streaming --fragments 2 --delay 1 --mix 0.5
                                            --out example.gpt_streaming.out)
set_tests_properties(example.gpt_streaming PROPERTIES TIMEOUT 120
                     PASS_REGULAR_EXPRESSION "streaming 2 fragments, every 4, landed 1 later, mix 0.5 · sends [0-9.]+ kB at once")

add_test(NAME example.gpt_resume
         COMMAND "${CMAKE_COMMAND}" "-DPROGRAM=$<TARGET_FILE:diloco_gpt>"
                 "-DFLAGS=${tiny};--steps;100;--schedule;streaming;--fragments;2;--delay;1"
                 "-DFOLDER=${CMAKE_CURRENT_BINARY_DIR}/example.gpt_resume.out" -P
                 "${CMAKE_CURRENT_SOURCE_DIR}/check_resume.cmake")
set_tests_properties(example.gpt_resume PROPERTIES TIMEOUT 120 FIXTURES_SETUP gpt_snapshots)
find_package(Python3 QUIET COMPONENTS Interpreter)
if(Python3_FOUND)
  add_test(NAME example.gpt_read_snapshots
           COMMAND Python3::Interpreter "${CMAKE_CURRENT_SOURCE_DIR}/read_snapshots.py"
                   "${CMAKE_CURRENT_BINARY_DIR}/example.gpt_resume.out/snapshots/diloco")
  set_tests_properties(example.gpt_read_snapshots PROPERTIES FIXTURES_REQUIRED gpt_snapshots SKIP_RETURN_CODE 77)
endif()

if(TARGET diloco::mpi)
  add_test(NAME example.gpt_mpi COMMAND "${MPIEXEC_EXECUTABLE}" ${MPIEXEC_NUMPROC_FLAG} 2 $<TARGET_FILE:diloco_gpt> ${tiny}
                                        --transport mpi --out example.gpt_mpi.out)
  set_tests_properties(
    example.gpt_mpi
    PROPERTIES TIMEOUT 120 PROCESSORS 2 LABELS mpi PASS_REGULAR_EXPRESSION "validation loss, nats per byte +[0-9.]+ +[0-9.]+"
               ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;\
OMPI_MCA_hwloc_base_binding_policy=none;OMPI_MCA_btl_vader_single_copy_mechanism=none;OMPI_MCA_plm=isolated")
endif()

if(TARGET diloco_gpt_device)
  add_test(NAME example.gpt_cuda COMMAND diloco_gpt ${tiny} --device cuda --out example.gpt_cuda.out)
  set_tests_properties(
    example.gpt_cuda
    PROPERTIES TIMEOUT 120 LABELS cuda PASS_REGULAR_EXPRESSION "validation loss, nats per byte +[0-9.]+ +[0-9.]+"
               SKIP_REGULAR_EXPRESSION "there is no CUDA device here")
endif()

# name;error message;flags that cause it. The exit code is 2, the message names the culprit, and no output directory is
# made.
function(diloco_gpt_refuses name sentence)
  add_test(NAME example.gpt_refuses.${name}
           COMMAND "${CMAKE_COMMAND}" "-DPROGRAM=$<TARGET_FILE:diloco_gpt>" "-DSENTENCE=${sentence}" "-DFLAGS=${ARGN}"
                   -P "${CMAKE_CURRENT_SOURCE_DIR}/check_refusal.cmake")
endfunction()
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/empty.txt" "")
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/short.txt" "a few bytes")
diloco_gpt_refuses(missing_data "--data no/such/file: no such file or directory" --data no/such/file)
diloco_gpt_refuses(empty_data "empty.txt: is empty" --data "${CMAKE_CURRENT_BINARY_DIR}/empty.txt")
diloco_gpt_refuses(short_data "short.txt: holds 11 bytes, but" --data "${CMAKE_CURRENT_BINARY_DIR}/short.txt")
diloco_gpt_refuses(unknown_flag "--no-such-flag" --no-such-flag)
diloco_gpt_refuses(not_a_number "--workers" --workers many)
diloco_gpt_refuses(no_workers "--workers 0: must be in" --workers 0)
diloco_gpt_refuses(no_inner_steps "--every 0: must be in" --every 0)
diloco_gpt_refuses(nan_inner_lr "inner adamw: lr = nan" --inner-lr nan)
diloco_gpt_refuses(negative_outer_lr "outer nesterov: lr = -1" --outer-lr -1)
diloco_gpt_refuses(outer_momentum "outer nesterov: momentum = 1" --outer-momentum 1)
diloco_gpt_refuses(feedback_decay "feedback error_feedback: decay = 2" --feedback-decay 2)
diloco_gpt_refuses(schedule "--schedule never: is none of every, streaming" --schedule never)
diloco_gpt_refuses(fragments "--fragments: is of --schedule streaming" --fragments 4)
diloco_gpt_refuses(uneven "schedule streaming: inner_steps = 20 must be a multiple of fragments = 3" --schedule streaming
                   --fragments 3)
diloco_gpt_refuses(compressor "--compressor absmax3: is none of f32" --compressor absmax3)
diloco_gpt_refuses(heads "--width 128: is not a multiple of --heads 3" --heads 3)
diloco_gpt_refuses(save "cannot be made a directory" --save "${CMAKE_CURRENT_BINARY_DIR}/empty.txt")
diloco_gpt_refuses(save_every "--save-every 0: must be in" --save-every 0)
diloco_gpt_refuses(out "cannot be made a directory" --out "${CMAKE_CURRENT_BINARY_DIR}/empty.txt")
if(NOT "tbb" IN_LIST DILOCO_GPT_EXECUTORS)
  diloco_gpt_refuses(executor "--executor tbb: not in this build" --executor tbb)
endif()
diloco_gpt_refuses(device "--device tpu: is none of cpu, cuda" --device tpu)
diloco_gpt_refuses(device_executor "--executor omp: with --device cuda the sweeps run on" --device cuda --executor omp)
find_program(nvidia_smi nvidia-smi NO_CACHE)
if(NOT TARGET diloco_gpt_device)
  diloco_gpt_refuses(no_cuda "--device cuda: this program was built without CUDA" --device cuda)
elseif(NOT nvidia_smi)
  diloco_gpt_refuses(no_device "--device cuda: there is no CUDA device here" --device cuda)
endif()

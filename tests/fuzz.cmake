# SPDX-License-Identifier: Apache-2.0
# Runs fuzz/decoders.cpp and fuzz/safetensors.cpp on the corpus and then on new inputs for 30 and 10 seconds in preset clang,
# and for a third of that in preset fuzz. Only clang has libFuzzer.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_FLAGS -fsanitize=fuzzer,address,undefined)
check_cxx_source_compiles(
  "extern \"C\" int LLVMFuzzerTestOneInput(unsigned char const*, __SIZE_TYPE__) { return 0; }" DILOCO_HAS_LIBFUZZER)
unset(CMAKE_REQUIRED_FLAGS)
if(NOT DILOCO_HAS_LIBFUZZER)
  message(STATUS "diloco: without fuzz: ${CMAKE_CXX_COMPILER} links no -fsanitize=fuzzer; "
                 "clang does (preset clang), with libclang-rt-dev on Debian")
  return()
endif()

function(diloco_add_fuzz name corpus seconds)
  set(program fuzz.${name})
  diloco_add_program(${program} SOURCES fuzz/${name}.cpp)
  target_link_libraries(${program} PRIVATE doctest::doctest)
  target_include_directories(${program} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
  # Processors convert a float that no integer can hold to different integers.
  target_compile_options(${program} PRIVATE -O1 -g1 -fsanitize=fuzzer,address,undefined,float-cast-overflow
                                            -fno-sanitize-recover=all)
  target_link_options(${program} PRIVATE -fsanitize=fuzzer,address,undefined)

  math(EXPR seconds "${seconds} * ${DILOCO_FUZZ_PERCENT} / 100")
  # New finds go to the first folder, in the build tree; the committed corpus is only read.
  set(finds "${CMAKE_CURRENT_BINARY_DIR}/finds.${name}") # fuzz.${name} is the program
  file(MAKE_DIRECTORY "${finds}")
  add_test(NAME ${program}
           COMMAND ${program} -max_total_time=${seconds} -timeout=5 -rss_limit_mb=2048 -print_final_stats=1
                   "-artifact_prefix=${CMAKE_CURRENT_BINARY_DIR}/${program}." ${ARGN} "${finds}"
                   "${CMAKE_CURRENT_SOURCE_DIR}/fuzz/${corpus}")
  set_tests_properties(${program} PROPERTIES TIMEOUT 300 LABELS fuzz ENVIRONMENT UBSAN_OPTIONS=print_stacktrace=1)
endfunction()

diloco_add_fuzz(decoders corpus 30 -max_len=2048)
diloco_add_fuzz(safetensors safetensors 10 -max_len=512 "-dict=${CMAKE_CURRENT_SOURCE_DIR}/fuzz/safetensors.dict")

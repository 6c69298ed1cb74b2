# SPDX-License-Identifier: Apache-2.0
# fuzz/decoders.cpp: the corpus again, then new inputs until 30 seconds are over. libFuzzer comes with clang only.
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

diloco_add_program(fuzz.decoders SOURCES fuzz/decoders.cpp)
target_link_libraries(fuzz.decoders PRIVATE doctest::doctest)
target_include_directories(fuzz.decoders PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
# Of a float that no integer holds, processors make different integers.
target_compile_options(fuzz.decoders PRIVATE -O1 -g1 -fsanitize=fuzzer,address,undefined,float-cast-overflow
                                             -fno-sanitize-recover=all)
target_link_options(fuzz.decoders PRIVATE -fsanitize=fuzzer,address,undefined)

# New finds go to the first folder, in the build tree; the committed corpus is only read.
set(finds "${CMAKE_CURRENT_BINARY_DIR}/fuzz")
file(MAKE_DIRECTORY "${finds}")
add_test(NAME fuzz.decoders
         COMMAND fuzz.decoders -max_total_time=30 -timeout=5 -rss_limit_mb=2048 -max_len=2048 -print_final_stats=1
                 "-artifact_prefix=${CMAKE_CURRENT_BINARY_DIR}/fuzz.decoders." "${finds}"
                 "${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus")
set_tests_properties(fuzz.decoders PROPERTIES TIMEOUT 300 LABELS fuzz ENVIRONMENT UBSAN_OPTIONS=print_stacktrace=1)

# SPDX-License-Identifier: Apache-2.0
# Each public header must compile alone. *.hpp: with clang as gnu++20, after headers whose macros are short names and
# with -Wconversion -Wsign-conversion. Without clang, or with DILOCO_TEST_EACH_COMPILER: with g++ as strict C++20.
# *.cuh: with nvcc.
# This file exists because CMake 3.25's own verification of header sets silently skips CUDA.

# Conversions in templates show only in instances, so one program instantiates most policies, under both compilers. Only
# clang gets -Wsign-conversion, because g++ reports each array index of type int.
function(diloco_add_instantiation_test flags warnings clang)
  foreach(compiler IN ITEMS "${CMAKE_CXX_COMPILER}" ${clang})
    cmake_path(GET compiler FILENAME name)
    set(signs -Wno-sign-conversion)
    if(name MATCHES "clang")
      set(signs -Wsign-conversion)
    endif()
    add_test(NAME header.used.${name}
             COMMAND "${compiler}" ${flags} -std=gnu++20 -march=native ${warnings} -Wconversion ${signs} -DDILOCO_POLLUTED
                     -fsyntax-only "${PROJECT_SOURCE_DIR}/tests/headers/used.cpp")
  endforeach()
endfunction()

# The notice about a missing fma also shows with -isystem, never stops a build, and can be silenced.
function(diloco_add_notice_tests clang)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    return()
  endif()
  set(sentence "this target has no fused multiply-add")
  foreach(compiler IN ITEMS "${CMAKE_CXX_COMPILER}" ${clang})
    cmake_path(GET compiler FILENAME name)
    foreach(option IN ITEMS -I -isystem)
      set(command "${compiler}" -std=c++20 -Wall -Wextra -Wpedantic -Werror ${option} "${PROJECT_SOURCE_DIR}/include" -fsyntax-only
                  "-DDILOCO_HEADER=<diloco/core/config.hpp>" "${PROJECT_SOURCE_DIR}/tests/headers/alone.cpp")
      string(REPLACE "-" "" kind "${option}")
      add_test(NAME notice.seen.${kind}.${name} COMMAND ${command} -march=x86-64)
      set_tests_properties(notice.seen.${kind}.${name} PROPERTIES PASS_REGULAR_EXPRESSION "${sentence}"
                                                                  FAIL_REGULAR_EXPRESSION "error:")
      add_test(NAME notice.compiles.${kind}.${name} COMMAND ${command} -march=x86-64)
      add_test(NAME notice.silenced.${kind}.${name} COMMAND ${command} -march=x86-64 -DDILOCO_ALLOW_SLOW_FMA)
      add_test(NAME notice.absent.${kind}.${name} COMMAND ${command} -march=x86-64-v3)
      set_tests_properties(notice.silenced.${kind}.${name} notice.absent.${kind}.${name}
                           PROPERTIES FAIL_REGULAR_EXPRESSION "fused")
    endforeach()
  endforeach()
endfunction()

# Compile modes that change bits or hide NaN. Each must give one error that names it.
function(diloco_add_fatal_mode_tests clang)
  set(shortcuts "diloco: floating-point shortcuts change bits and hide NaN")
  foreach(compiler IN ITEMS "${CMAKE_CXX_COMPILER}" ${clang})
    cmake_path(GET compiler FILENAME name)
    set(modes "-std=c++17=diloco: this is C[+][+]20")
    set(flags -ffast-math -Ofast -ffinite-math-only)
    if(NOT name MATCHES "clang")
      list(APPEND flags -funsafe-math-optimizations -freciprocal-math -fno-signed-zeros)
      list(APPEND modes "-fsingle-precision-constant=diloco: compile without -fsingle-precision-constant")
      if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
        list(APPEND modes "-mfpmath=387=diloco: float is computed in more than 32 bits here")
      endif()
    endif()
    foreach(flag IN LISTS flags)
      list(APPEND modes "${flag}=${shortcuts}")
    endforeach()
    foreach(mode IN LISTS modes)
      string(REGEX MATCH "^(.*)=([^=]*)$" whole "${mode}")
      set(flag "${CMAKE_MATCH_1}")
      set(sentence "${CMAKE_MATCH_2}")
      add_test(NAME "fatal.${flag}.${name}"
               COMMAND "${compiler}" -std=c++20 ${flag} "-I${PROJECT_SOURCE_DIR}/include" -fsyntax-only -DDILOCO_ALLOW_SLOW_FMA
                       "-DDILOCO_HEADER=<diloco/core/config.hpp>" "${PROJECT_SOURCE_DIR}/tests/headers/alone.cpp")
      set_tests_properties("fatal.${flag}.${name}" PROPERTIES PASS_REGULAR_EXPRESSION "error: [^\n]*${sentence}")
    endforeach()
  endforeach()
endfunction()

function(diloco_add_header_tests)
  diloco_check_flags(flags)
  set(warnings -Wall -Wextra -Wpedantic -Werror)
  find_program(clang clang++ NO_CACHE)
  set(alone "${PROJECT_SOURCE_DIR}/tests/headers/alone.cpp")
  foreach(header IN LISTS DILOCO_HEADERS)
    string(REPLACE "include/" "" header "${header}")
    string(REPLACE "diloco/" "header." name "${header}")
    set(define "-DDILOCO_HEADER=<${header}>")
    if(header MATCHES "\\.cuh$")
      if(TARGET diloco::cuda)
        string(MAKE_C_IDENTIFIER "${name}" object)  # A slash in the name would be a folder that does not exist.
        add_test(NAME ${name}.nvcc
                 COMMAND "${CMAKE_CUDA_COMPILER}" ${flags} --Werror cross-execution-space-call -x cu
                         -arch=sm_90 -cubin -o "${CMAKE_CURRENT_BINARY_DIR}/${object}.cubin" "${define}" "${alone}")
      endif()
      continue()
    endif()
    if((header MATCHES "/mpi[._]" AND NOT TARGET diloco::mpi) OR (header MATCHES "/tbb\\." AND NOT TARGET diloco::tbb)
       OR (header MATCHES "/eigen\\." AND NOT TARGET diloco::eigen) OR (header MATCHES "/nccl" AND NOT TARGET diloco::nccl))
      continue()
    endif()
    set(own "")
    if(header MATCHES "/omp\\.")
      set(own -fopenmp)
    elseif(header MATCHES "/nccl")
      diloco_nccl_flags(own)
    endif()
    if(NOT clang OR DILOCO_TEST_EACH_COMPILER)
      add_test(NAME ${name}.g++
               COMMAND "${CMAKE_CXX_COMPILER}" ${flags} ${warnings} ${own} -fsyntax-only "${define}" "${alone}")
    endif()
    set(polluted -DDILOCO_POLLUTED)
    if(header MATCHES "/(tbb|eigen)\\.") # oneTBB has members named emit, and Eigen an enumerator Success
      set(polluted "")
    endif()
    if(clang)
      add_test(NAME ${name}.clang++
               COMMAND "${clang}" ${flags} -std=gnu++20 ${warnings} -Wconversion -Wsign-conversion ${own} ${polluted}
                       -fsyntax-only "${define}" "${alone}")
    endif()
  endforeach()
  diloco_add_instantiation_test("${flags}" "${warnings}" "${clang}")
  diloco_add_notice_tests("${clang}")
  diloco_add_fatal_mode_tests("${clang}")
endfunction()

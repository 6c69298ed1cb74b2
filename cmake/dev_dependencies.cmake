# SPDX-License-Identifier: Apache-2.0
# What tests, examples and benches need besides the library. It comes from the system (cmake/setup.sh) or by download.
include(FetchContent)

function(diloco_dev_dependency name repository tag)
  cmake_parse_arguments(PARSE_ARGV 3 arg "" "" "FIND;OPTIONS")
  foreach(option IN LISTS arg_OPTIONS)
    set(${option} OFF)
  endforeach()
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW) # option() of the download obeys the variables above
  FetchContent_Declare(${name} GIT_REPOSITORY ${repository} GIT_TAG ${tag} GIT_SHALLOW TRUE SYSTEM
                       FIND_PACKAGE_ARGS ${arg_FIND})
  FetchContent_MakeAvailable(${name})
endfunction()

if(DILOCO_TESTS)
  diloco_dev_dependency(doctest https://github.com/doctest/doctest.git v2.4.9
                        FIND GLOBAL OPTIONS DOCTEST_WITH_TESTS DOCTEST_NO_INSTALL)
endif()
if(DILOCO_BENCH OR DILOCO_BENCH_CUDA)
  diloco_dev_dependency(benchmark https://github.com/google/benchmark.git v1.7.1
                        FIND GLOBAL OPTIONS BENCHMARK_ENABLE_TESTING BENCHMARK_ENABLE_INSTALL)
endif()
if(DILOCO_EXAMPLES)
  diloco_dev_dependency(Eigen3 https://gitlab.com/libeigen/eigen.git 3.4.0
                        FIND GLOBAL NO_MODULE OPTIONS EIGEN_BUILD_TESTING EIGEN_BUILD_DOC BUILD_TESTING)
endif()

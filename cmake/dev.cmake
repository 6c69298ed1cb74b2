# SPDX-License-Identifier: Apache-2.0
# The developer's view: how tests, examples and benches are compiled. A consumer never reads this file.

option(DILOCO_TESTS "Build and register the tests" ON)
option(DILOCO_EXAMPLES "Build the examples" ON)
option(DILOCO_BENCH "Build the benches" ON)
option(DILOCO_BENCH_CUDA "Build the benches for a device, where there is nvcc" ${DILOCO_BENCH})
set(DILOCO_SANITIZE "" CACHE STRING "-fsanitize= for tests and examples")
set(DILOCO_DEV_COMPONENTS "mpi;omp;tbb;eigen;cuda;nccl" CACHE STRING "Optional parts that are built where their package is found")
set(DILOCO_TEST_KINDS "static;unit;cases;fault;laws;golden;system;cost;cuda;headers;fail;package;scripts;fuzz"
    CACHE STRING "Folders of tests/ (and the checks beside them) that are built")
set(DILOCO_CUDA_TESTS "mpi_mixed;nccl;whole_tensor" CACHE STRING "Programs of tests/cuda that are built; ALL takes nvcc twenty minutes")
set(DILOCO_PTXAS_ARCHITECTURES "sm_80;sm_90" CACHE STRING "Architectures whose kernels cost.ptxas looks at, 80 s each")
set(DILOCO_TEST_SKIP "" CACHE STRING "Tests of these kinds that are not built, such as laws.wire")
option(DILOCO_TEST_PRECOMPILE "Tests share a precompiled header" OFF)
option(DILOCO_TEST_CORE "Tests, examples and benches link the compiled core" OFF)
set(DILOCO_TEST_SANITIZED "" CACHE STRING "Regular expression: tests that compile with AddressSanitizer and UndefinedBehaviorSanitizer at -O0")
option(DILOCO_TEST_EACH_COMPILER "Each header alone under g++ and clang++; else under clang++ where it is there" OFF)
set(DILOCO_TEST_O3 "" CACHE STRING "Regular expression: tests that compile at -O3, whatever the rest does")
set(DILOCO_FUZZ_PERCENT 100 CACHE STRING "How long fuzz.* runs: 100 is 30 s for decoders")
set(DILOCO_BENCH_FLAGS "" CACHE STRING "After all other flags of the benches: -O0 where they only have to run")
set(DILOCO_TEST_ONE_EXECUTOR "" CACHE STRING "Tests that run over the executor cpp only")
set(DILOCO_TEST_PRESETS "" CACHE STRING "Presets that are configured, built and run as tests of this one")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

# CUDA is a language, so it must be enabled before diloco::cuda can be offered.
if(NOT DILOCO_CUDA STREQUAL "OFF" AND "cuda" IN_LIST DILOCO_DEV_COMPONENTS)
  diloco_toolkit_root(toolkit)
  if(toolkit AND NOT DEFINED ENV{CUDACXX})
    set(ENV{CUDACXX} "${toolkit}/bin/nvcc")
  endif()
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real)
  endif()
  if(NOT DEFINED CMAKE_CUDA_HOST_COMPILER)
    set(CMAKE_CUDA_HOST_COMPILER "${CMAKE_CXX_COMPILER}")
  endif()
  if(DILOCO_CUDA STREQUAL "ON")
    enable_language(CUDA)
  else()
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
      enable_language(CUDA)
    endif()
  endif()
endif()
foreach(component IN LISTS DILOCO_DEV_COMPONENTS)
  if(NOT TARGET diloco::${component})
    diloco_find_component(${component})
    if(diloco_${component}_FOUND)
      add_library(diloco::${component} ALIAS diloco_${component})
    else()
      message(STATUS "diloco: without ${component}: ${diloco_${component}_hint}")
    endif()
  endif()
endforeach()

# Our own flags. No contraction: replicated code spells its fma, and everything else is computed as written.
add_library(diloco_dev INTERFACE)
set(host_only "$<COMPILE_LANGUAGE:CXX>")
target_compile_options(
  diloco_dev
  INTERFACE "$<${host_only}:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion;-Wno-sign-conversion;-Werror;-ffp-contract=off>"
            "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-ffp-contract=off>")
if(NOT DILOCO_ARCH)
  target_compile_options(diloco_dev INTERFACE "$<${host_only}:-march=native>"
                                              "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-march=native>")
endif()
# g++ 12 reports its own AVX-512 intrinsics as uninitialized (GCC bug 105593) and any sum of two strings as overlapping
# (105651). clang's build finds the real cases.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(diloco_dev INTERFACE "$<${host_only}:-Wno-uninitialized;-Wno-maybe-uninitialized;-Wno-restrict>")
endif()
if(DILOCO_SANITIZE)
  target_compile_options(diloco_dev INTERFACE -fsanitize=${DILOCO_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(diloco_dev INTERFACE -fsanitize=${DILOCO_SANITIZE})
endif()

# The compiled core, once for each set of flags: a file that links it does not compile the half that is not a template, which
# takes 3 s. DILOCO_TEST_CORE. Without it, programs are header-only, as most users' are: presets release, clang, fuzz, host.
function(diloco_add_dev_core name)
  add_library(${name} STATIC "${diloco_core_source}")
  target_link_libraries(${name} PUBLIC diloco::diloco PRIVATE diloco_dev)
  target_compile_definitions(${name} PUBLIC DILOCO_COMPILED_CORE)
  target_compile_options(${name} PRIVATE ${ARGN})
endfunction()
if(DILOCO_TEST_CORE)
  diloco_add_dev_core(diloco_dev_core)
endif()

# A file with a check level of its own stays header-only, as does one for nvcc.
function(diloco_link_core name)
  if(NOT DILOCO_TEST_CORE)
    return()
  endif()
  get_target_property(sources ${name} SOURCES)
  foreach(source IN LISTS sources)
    file(STRINGS ${source} own REGEX "^#define DILOCO_CHECKS" LIMIT_COUNT 1)
    if(own OR NOT source MATCHES "[.]cpp$")
      return()
    endif()
  endforeach()
  set(core ${ARGN} diloco_dev_core)
  list(GET core 0 core)
  target_link_libraries(${name} PRIVATE ${core})
endfunction()

# A program of this project: diloco, our flags, and the named optional parts that are available.
function(diloco_add_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;COMPONENTS")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE diloco::diloco diloco_dev)
  foreach(component IN LISTS arg_COMPONENTS)
    if(TARGET diloco::${component})
      string(TOUPPER ${component} upper)
      target_link_libraries(${name} PRIVATE diloco::${component})
      target_compile_definitions(${name} PRIVATE DILOCO_HAS_${upper}=1)
    endif()
  endforeach()
endfunction()

# nvcc takes minutes at -O3 and for several kinds of devices. So it compiles for the device of this machine, or for one
# kind. The host part uses -O1, on which no bits depend.
function(diloco_for_one_device name)
  find_program(nvidia_smi nvidia-smi NO_CACHE)
  if(nvidia_smi)
    set_target_properties(${name} PROPERTIES CUDA_ARCHITECTURES native)
  else()
    set_target_properties(${name} PROPERTIES CUDA_ARCHITECTURES 90-real)
  endif()
  target_compile_options(${name} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-O1>")
endfunction()

# The folders of NCCL and the CUDA runtime, as options. They are separate, because no other *.hpp may see them.
function(diloco_nccl_flags out)
  set(flags "")
  foreach(target IN ITEMS diloco::nccl_library CUDA::cudart)
    get_target_property(dirs ${target} INTERFACE_INCLUDE_DIRECTORIES)
    list(REMOVE_ITEM dirs ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
    foreach(dir IN LISTS dirs)
      list(APPEND flags -isystem "${dir}")
    endforeach()
  endforeach()
  set(${out} ${flags} PARENT_SCOPE)
endfunction()

# Language and include folders, with those of MPI and Eigen, for checks that run a compiler themselves.
function(diloco_check_flags out)
  set(flags -std=c++20 -DDILOCO_ALLOW_SLOW_FMA "-I${PROJECT_SOURCE_DIR}/include")
  set(dirs "")
  foreach(target IN ITEMS diloco::thrust MPI::MPI_CXX Eigen3::Eigen)
    if(TARGET ${target})
      get_target_property(found ${target} INTERFACE_INCLUDE_DIRECTORIES)
      list(APPEND dirs ${found})
    endif()
  endforeach()
  # Naming /usr/include again would put it before the C++ library's own folder and break #include_next.
  list(REMOVE_ITEM dirs ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
  foreach(dir IN LISTS dirs)
    list(APPEND flags -isystem "${dir}")
  endforeach()
  set(${out} ${flags} PARENT_SCOPE)
endfunction()

# Environment of a test that runs under mpirun. An MPI other than Open MPI ignores it. Root and more ranks than cores
# are allowed (containers).
# Waiting ranks yield their core. No single copy by process_vm_readv, which containers forbid. No ssh is searched.
set(DILOCO_MPI_ENVIRONMENT
    OMPI_ALLOW_RUN_AS_ROOT=1
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    OMPI_MCA_rmaps_base_oversubscribe=1
    OMPI_MCA_hwloc_base_binding_policy=none
    OMPI_MCA_mpi_yield_when_idle=1
    OMPI_MCA_btl_vader_single_copy_mechanism=none
    OMPI_MCA_plm=isolated
    OMP_NUM_THREADS=1)

include(cmake/dev_dependencies.cmake)
# Ninja starts what comes first in its file. So benches and the longest tests come first, and no long file is left for
# the end.
if(DILOCO_TESTS)
  enable_testing()
endif()
if(DILOCO_BENCH)
  add_subdirectory(bench)
endif()
if(DILOCO_BENCH_CUDA AND TARGET diloco::cuda)
  add_subdirectory(bench/cuda)
endif()
if(DILOCO_EXAMPLES)
  add_subdirectory(examples)
endif()
if(DILOCO_TESTS)
  add_subdirectory(tests)
endif()
# The last step of `cmake --workflow --preset demo`: build and run, with the terminal available for the progress bar.
if(TARGET diloco_gpt)
  add_custom_target(demo COMMAND diloco_gpt --out "${PROJECT_BINARY_DIR}/gpt" USES_TERMINAL VERBATIM)
endif()

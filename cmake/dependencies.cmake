# SPDX-License-Identifier: Apache-2.0
# What diloco needs and where it is found. This project's build uses it, and after installation diloco-config.cmake
# does.

# Imported target diloco::thrust. It looks in this order: DILOCO_THRUST_INCLUDE_DIR, the CCCL of a CUDA toolkit (unless
# DILOCO_CUDA is OFF), and a Thrust of the system (Debian's libthrust-dev). With FETCH it then downloads CCCL. If it
# finds none, there is no target.
function(diloco_provide_thrust)
  if(TARGET diloco::thrust)
    return()
  endif()
  set(dirs ${DILOCO_THRUST_INCLUDE_DIR})
  set(origin "DILOCO_THRUST_INCLUDE_DIR")
  if(NOT dirs AND NOT "${DILOCO_CUDA}" STREQUAL "OFF")
    diloco_toolkit_root(root)
    find_path(
      found thrust/version.h
      PATHS "${root}/include" "${root}/targets/x86_64-linux/include" "${root}/targets/sbsa-linux/include"
      PATH_SUFFIXES cccl
      NO_CACHE NO_DEFAULT_PATH)
    if(found)
      set(dirs "${found}")
      set(origin "CUDA toolkit")
    endif()
  endif()
  if(NOT dirs)
    # Ignores the directories around $PATH, because nvcc in there would let a hidden toolkit back in.
    find_path(system thrust/version.h NO_CACHE NO_SYSTEM_ENVIRONMENT_PATH)
    if(system)
      set(dirs "${system}")
      set(origin "system")
    endif()
  endif()
  if(NOT dirs AND "FETCH" IN_LIST ARGV)
    diloco_fetch_cccl(dirs)
    set(origin "download")
  endif()
  if(NOT dirs)
    return()
  endif()
  # find_path may keep the slash, and /usr/include/ would not match the implicit directories
  list(TRANSFORM dirs REPLACE "/$" "")
  add_library(diloco::thrust INTERFACE IMPORTED GLOBAL)
  target_include_directories(diloco::thrust SYSTEM INTERFACE ${dirs})
  list(GET dirs 0 first)
  file(STRINGS "${first}/thrust/version.h" version REGEX "^#define THRUST_VERSION [0-9]+")
  string(REGEX MATCH "[0-9]+" version "${version}")
  message(STATUS "diloco: Thrust ${version} of the ${origin}: ${dirs}")
endfunction()

function(diloco_toolkit_root out)
  find_program(nvcc nvcc NO_CACHE)
  set(from_path "")
  if(nvcc)
    file(REAL_PATH "${nvcc}" nvcc)
    cmake_path(GET nvcc PARENT_PATH from_path)
    cmake_path(GET from_path PARENT_PATH from_path)
  endif()
  foreach(root IN ITEMS "${CUDAToolkit_ROOT}" "$ENV{CUDA_HOME}" "$ENV{CUDA_PATH}" "${from_path}" /usr/local/cuda)
    if(root AND EXISTS "${root}/include/cuda_runtime_api.h")
      set(${out} "${root}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
  set(${out} "${out}-NOTFOUND" PARENT_SCOPE)
endfunction()

# Headers only, because CCCL's own CMake project would add its targets and options to the consumer's.
function(diloco_fetch_cccl out)
  include(FetchContent)
  FetchContent_Declare(
    diloco_cccl
    GIT_REPOSITORY https://github.com/NVIDIA/cccl.git
    GIT_TAG v3.0.1
    GIT_SHALLOW TRUE
    SOURCE_SUBDIR thrust/thrust) # holds no CMakeLists.txt
  FetchContent_MakeAvailable(diloco_cccl)
  set(base "${diloco_cccl_SOURCE_DIR}")
  set(${out} "${base}/thrust;${base}/libcudacxx/include;${base}/cub" PARENT_SCOPE)
endfunction()

# Imported target diloco::nccl_library, with CUDA::cudart. If NCCL_ROOT or NCCL_HOME is set (as variable or in the
# environment), NCCL is searched there only. Otherwise in the CUDA toolkit and then in the system. If none is found,
# there is no target.
function(diloco_provide_nccl)
  if(TARGET diloco::nccl_library OR "${DILOCO_CUDA}" STREQUAL "OFF")
    return()
  endif()
  if(NOT CUDAToolkit_ROOT)
    diloco_toolkit_root(CUDAToolkit_ROOT)
  endif()
  find_package(CUDAToolkit QUIET GLOBAL)
  if(NOT TARGET CUDA::cudart)
    return()
  endif()
  set(options HINTS ${CUDAToolkit_INCLUDE_DIRS} ${CUDAToolkit_LIBRARY_DIR})
  foreach(root IN ITEMS "${NCCL_ROOT}" "$ENV{NCCL_ROOT}" "${NCCL_HOME}" "$ENV{NCCL_HOME}")
    if(root)
      set(options PATHS "${root}" NO_DEFAULT_PATH)  # search there only
      break()
    endif()
  endforeach()
  unset(nccl_dir)  # a cached variable would prevent the search
  unset(nccl_file)
  find_path(nccl_dir nccl.h ${options} PATH_SUFFIXES include NO_CACHE)
  find_library(nccl_file nccl ${options} PATH_SUFFIXES lib64 lib lib/${CMAKE_LIBRARY_ARCHITECTURE} NO_CACHE)
  string(REGEX REPLACE "/$" "" nccl_dir "${nccl_dir}") # as above
  if(nccl_dir AND nccl_file)
    add_library(diloco::nccl_library UNKNOWN IMPORTED GLOBAL)
    set_target_properties(diloco::nccl_library PROPERTIES IMPORTED_LOCATION "${nccl_file}")
    target_include_directories(diloco::nccl_library SYSTEM INTERFACE "${nccl_dir}")
  endif()
endfunction()

# Looks up the package behind diloco::<component> and sets diloco_<component>_FOUND. A macro, because find_package
# leaves variables in the caller's scope that the imported targets' own files read.
macro(diloco_find_component component)
  set(diloco_${component}_FOUND FALSE)
  set(diloco_${component}_hint "there is no such component; there are mpi, omp, tbb, eigen, cuda and nccl")
  if("${component}" STREQUAL "mpi")
    set(MPI_CXX_SKIP_MPICXX TRUE)
    find_package(MPI QUIET GLOBAL COMPONENTS CXX)
    set(diloco_mpi_FOUND ${MPI_CXX_FOUND})
    set(diloco_mpi_hint "MPI was not found; Debian: libopenmpi-dev openmpi-bin")
  elseif("${component}" STREQUAL "omp")
    find_package(OpenMP QUIET GLOBAL COMPONENTS CXX)
    set(diloco_omp_FOUND ${OpenMP_CXX_FOUND})
    set(diloco_omp_hint "OpenMP was not found; Debian: libomp-dev for clang")
  elseif("${component}" STREQUAL "tbb")
    find_package(TBB QUIET GLOBAL)
    set(diloco_tbb_FOUND ${TBB_FOUND})
    set(diloco_tbb_hint "oneTBB was not found; Debian: libtbb-dev")
  elseif("${component}" STREQUAL "eigen")
    find_package(Eigen3 3.4 QUIET GLOBAL NO_MODULE)
    set(diloco_eigen_FOUND ${Eigen3_FOUND})
    set(diloco_eigen_hint "Eigen 3.4 was not found; Debian: libeigen3-dev")
  elseif("${component}" STREQUAL "cuda")
    if(CMAKE_CUDA_COMPILER)
      set(diloco_cuda_FOUND TRUE)
    endif()
    set(diloco_cuda_hint "the project has no CUDA language; call enable_language(CUDA) first")
  elseif("${component}" STREQUAL "nccl")
    diloco_provide_nccl()
    if(TARGET diloco::nccl_library)
      set(diloco_nccl_FOUND TRUE)
    endif()
    set(diloco_nccl_hint "NCCL and a CUDA toolkit were not both found; NVIDIA's packages: libnccl-dev cuda-toolkit, \
or set NCCL_ROOT to the folder that holds include/nccl.h")
  endif()
  if(NOT diloco_${component}_FOUND AND "${ARGN}" STREQUAL "REQUIRED")
    message(FATAL_ERROR "diloco: component ${component}: ${diloco_${component}_hint}")
  endif()
endmacro()

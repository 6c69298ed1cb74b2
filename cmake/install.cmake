# SPDX-License-Identifier: Apache-2.0
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/diloco")
install(
  TARGETS diloco
  EXPORT diloco-targets
  FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT diloco)
install(
  EXPORT diloco-targets
  NAMESPACE diloco::
  DESTINATION "${package_dir}"
  COMPONENT diloco)
# One export each: a file that names MPI::MPI_CXX is read only by who asked for mpi.
foreach(component IN ITEMS mpi omp tbb eigen cuda nccl)
  install(TARGETS diloco_${component} EXPORT diloco-${component}-targets COMPONENT diloco)
  install(
    EXPORT diloco-${component}-targets
    NAMESPACE diloco::
    DESTINATION "${package_dir}"
    COMPONENT diloco)
endforeach()

configure_package_config_file(cmake/diloco-config.cmake.in diloco-config.cmake INSTALL_DESTINATION "${package_dir}")
# Before 1.0 a minor version may break the API.
write_basic_package_version_file(diloco-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(
  FILES "${PROJECT_BINARY_DIR}/diloco-config.cmake" "${PROJECT_BINARY_DIR}/diloco-config-version.cmake"
        cmake/dependencies.cmake
  DESTINATION "${package_dir}"
  COMPONENT diloco)

# pkg-config has nothing like a search, so its file names the Thrust of this configuration.
get_target_property(thrust_dirs diloco::thrust INTERFACE_INCLUDE_DIRECTORIES)
list(REMOVE_ITEM thrust_dirs ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
list(TRANSFORM thrust_dirs PREPEND "-isystem ")
list(JOIN thrust_dirs " " DILOCO_PC_THRUST)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR BASE_DIRECTORY "${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig"
           OUTPUT_VARIABLE DILOCO_PC_INCLUDEDIR)
configure_file(cmake/diloco.pc.in diloco.pc @ONLY)
install(
  FILES "${PROJECT_BINARY_DIR}/diloco.pc"
  DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig"
  COMPONENT diloco)

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
# One export per component. A file that names MPI::MPI_CXX is read only by a consumer that asked for mpi.
foreach(component IN ITEMS mpi omp tbb eigen cuda nccl)
  install(TARGETS diloco_${component} EXPORT diloco-${component}-targets COMPONENT diloco)
  install(
    EXPORT diloco-${component}-targets
    NAMESPACE diloco::
    DESTINATION "${package_dir}"
    COMPONENT diloco)
endforeach()

if(DILOCO_COMPILED_CORE)
  install(TARGETS diloco_core EXPORT diloco-core-targets DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT diloco)
  install(
    EXPORT diloco-core-targets
    NAMESPACE diloco::
    DESTINATION "${package_dir}"
    COMPONENT diloco)
endif()

configure_package_config_file(cmake/diloco-config.cmake.in diloco-config.cmake INSTALL_DESTINATION "${package_dir}")
# Before 1.0 a minor version may break the API.
write_basic_package_version_file(diloco-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(
  FILES "${PROJECT_BINARY_DIR}/diloco-config.cmake" "${PROJECT_BINARY_DIR}/diloco-config-version.cmake"
        cmake/dependencies.cmake
  DESTINATION "${package_dir}"
  COMPONENT diloco)

# The pkg-config file leaves the language, the architecture and the location of Thrust to the consumer's flags.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR BASE_DIRECTORY "${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig"
           OUTPUT_VARIABLE DILOCO_PC_INCLUDEDIR)
configure_file(cmake/diloco.pc.in diloco.pc @ONLY)
install(
  FILES "${PROJECT_BINARY_DIR}/diloco.pc"
  DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig"
  COMPONENT diloco)

# SPDX-License-Identifier: Apache-2.0
# SystemC by pkg-config: Debian ships systemc.pc and no CMake package. Gives SystemC::SystemC.
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(SYSTEMC_PC QUIET systemc)
endif()
find_path(SystemC_INCLUDE_DIR systemc HINTS ${SYSTEMC_PC_INCLUDE_DIRS})
find_library(SystemC_LIBRARY systemc HINTS ${SYSTEMC_PC_LIBRARY_DIRS})
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(SystemC REQUIRED_VARS SystemC_LIBRARY SystemC_INCLUDE_DIR)
if(SystemC_FOUND AND NOT TARGET SystemC::SystemC)
  add_library(SystemC::SystemC UNKNOWN IMPORTED)
  set_target_properties(SystemC::SystemC PROPERTIES
    IMPORTED_LOCATION ${SystemC_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${SystemC_INCLUDE_DIR}
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${SystemC_INCLUDE_DIR}
    # Debian's library is built as C++17; without this, C++20 code asks for a symbol it does not have.
    INTERFACE_COMPILE_DEFINITIONS "SC_CPLUSPLUS=201703L;SC_INCLUDE_DYNAMIC_PROCESSES")
endif()

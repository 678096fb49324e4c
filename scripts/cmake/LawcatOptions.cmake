# SPDX-License-Identifier: Apache-2.0
# Options of the build, the warnings of our own code, and the summary that configuring prints.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_package(SystemC QUIET)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(nlohmann_json REQUIRED)
find_package(fmt REQUIRED)
find_package(Eigen3 REQUIRED NO_MODULE)

option(LAWCAT_WITH_SYSTEMC "The SystemC platform (backend systemc)" ${SystemC_FOUND})
option(LAWCAT_WITH_RTL "The Verilated unit (backend rtl)" OFF)
option(LAWCAT_WITH_CUDA "The CUDA kernels (backend cuda)" OFF)
option(LAWCAT_BUILD_TESTS "Tests and benchmarks" ${PROJECT_IS_TOP_LEVEL})
option(LAWCAT_HEADERS_ONLY "Link no library but the compiler's: fmt from its headers (slower to build)" OFF)
option(LAWCAT_NATIVE "Use every instruction of the building machine's processor" ON)
if(LAWCAT_WITH_SYSTEMC AND NOT SystemC_FOUND)
  message(FATAL_ERROR "LAWCAT_WITH_SYSTEMC is ON but SystemC was not found (Debian: libsystemc-dev)")
endif()
foreach(part RTL CUDA)
  if(LAWCAT_WITH_${part})
    message(FATAL_ERROR "LAWCAT_WITH_${part} is ON but this version has no such backend yet")
  endif()
endforeach()

# Everything that our own code compiles with; linked by every room.
add_library(lawcat_flags INTERFACE)
target_compile_features(lawcat_flags INTERFACE cxx_std_20)
target_include_directories(lawcat_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(lawcat_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Werror
  # Exact definitions must not depend on whether a product and a sum were fused.
  -ffp-contract=off)
if(LAWCAT_NATIVE)
  # GCC prefers 256-bit vectors on server parts; the state update gains from the full width.
  target_compile_options(lawcat_flags INTERFACE -march=native
    $<$<CXX_COMPILER_ID:GNU>:-mprefer-vector-width=512>)
endif()
target_link_libraries(lawcat_flags INTERFACE OpenMP::OpenMP_CXX)

add_library(lawcat_fmt INTERFACE)
add_library(lawcat::fmt ALIAS lawcat_fmt)
target_link_libraries(lawcat_fmt INTERFACE $<IF:$<BOOL:${LAWCAT_HEADERS_ONLY}>,fmt::fmt-header-only,fmt::fmt>)

# Rooms that read, format and decide rather than compute: half the time to build, no slower to use.
set(LAWCAT_LIGHT_FLAGS $<$<CONFIG:Release>:-O1>)

# lawcat_room(NAME [LIGHT] SOURCES ... LINKS ...): one library per room.
function(lawcat_room name)
  cmake_parse_arguments(ROOM "LIGHT" "" "SOURCES;LINKS" ${ARGN})
  add_library(lawcat_${name} STATIC ${ROOM_SOURCES})
  add_library(lawcat::${name} ALIAS lawcat_${name})
  target_link_libraries(lawcat_${name} PUBLIC ${ROOM_LINKS} lawcat_flags)
  if(ROOM_LIGHT)
    target_compile_options(lawcat_${name} PRIVATE ${LAWCAT_LIGHT_FLAGS})
    if(NOT TARGET lawcat_light_headers)
      add_library(lawcat_light_headers OBJECT ${PROJECT_SOURCE_DIR}/scripts/cmake/light_headers.cc)
      target_link_libraries(lawcat_light_headers PRIVATE lawcat::fmt nlohmann_json::nlohmann_json lawcat_flags)
      target_compile_options(lawcat_light_headers PRIVATE ${LAWCAT_LIGHT_FLAGS})
      target_precompile_headers(lawcat_light_headers PRIVATE <fmt/format.h> <nlohmann/json.hpp>)
    endif()
    target_link_libraries(lawcat_${name} PRIVATE lawcat::fmt nlohmann_json::nlohmann_json)
    target_precompile_headers(lawcat_${name} REUSE_FROM lawcat_light_headers)
  endif()
endfunction()

function(lawcat_print_summary)
  message(STATUS "lawcat ${PROJECT_VERSION} (${CMAKE_BUILD_TYPE}, ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION})")
  message(STATUS "  reference, fixed   yes")
  foreach(part SYSTEMC RTL CUDA)
    string(TOLOWER ${part} lower)
    if(LAWCAT_WITH_${part})
      message(STATUS "  ${lower}   yes")
    elseif(part STREQUAL "SYSTEMC")
      message(STATUS "  ${lower}   no (SystemC not found, or switched off)")
    else()
      message(STATUS "  ${lower}   no (not part of this version)")
    endif()
  endforeach()
  message(STATUS "  sentencepiece   ${LAWCAT_SENTENCEPIECE_STATUS}")
  message(STATUS "  tests   ${LAWCAT_BUILD_TESTS}, native instructions   ${LAWCAT_NATIVE}")
endfunction()

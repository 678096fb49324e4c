# SPDX-License-Identifier: Apache-2.0
add_executable(fixed_vs_float32 EXCLUDE_FROM_ALL
  ${CMAKE_CURRENT_SOURCE_DIR}/fixed_vs_float32.cc ${CMAKE_CURRENT_SOURCE_DIR}/float32_unit.cc)
target_link_libraries(fixed_vs_float32 PRIVATE lawcat::backend lawcat::model lawcat::trace)
set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/float32_unit.cc PROPERTIES COMPILE_OPTIONS "-ffast-math")
add_dependencies(perf fixed_vs_float32)

# SPDX-License-Identifier: Apache-2.0
if(LAWCAT_WITH_SYSTEMC)
  add_executable(systemc_speed EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/systemc_speed.cc)
  target_link_libraries(systemc_speed PRIVATE lawcat::systemc lawcat::fmt)
  add_dependencies(perf systemc_speed)
endif()

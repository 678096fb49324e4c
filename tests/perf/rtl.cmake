# SPDX-License-Identifier: Apache-2.0
if(TARGET lawcat_rtl)
  add_executable(rtl_speed EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/rtl_speed.cc)
  target_link_libraries(rtl_speed PRIVATE lawcat::rtl lawcat::arch lawcat::backend lawcat::fmt)
  add_dependencies(perf rtl_speed)
endif()

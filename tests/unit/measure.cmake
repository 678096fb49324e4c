# SPDX-License-Identifier: Apache-2.0
# Tests of kernels/measure; what needs a GPU skips without one.
if(TARGET lawcat_measure)
  add_executable(measure_test measure_test.cc)
  target_link_libraries(measure_test PRIVATE lawcat::measure GTest::gmock_main)
  gtest_discover_tests(measure_test)
endif()

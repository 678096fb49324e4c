# SPDX-License-Identifier: Apache-2.0
add_executable(timing_test ${CMAKE_CURRENT_LIST_DIR}/timing_test.cc)
target_link_libraries(timing_test PRIVATE lawcat::arch GTest::gtest_main)
gtest_discover_tests(timing_test)

# SPDX-License-Identifier: Apache-2.0
# Tests of hostlib/ops.
add_executable(ops_test ops_test.cc)
target_link_libraries(ops_test PRIVATE lawcat::ops GTest::gtest_main)
gtest_discover_tests(ops_test)

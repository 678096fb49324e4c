# SPDX-License-Identifier: Apache-2.0
# Tests of hostlib/numerics.
add_executable(numerics_test numerics_format_test.cc numerics_rounding_test.cc numerics_functions_test.cc)
target_link_libraries(numerics_test PRIVATE lawcat::numerics GTest::gmock GTest::gtest_main)
gtest_discover_tests(numerics_test)

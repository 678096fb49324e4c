# SPDX-License-Identifier: Apache-2.0
# Tests of hostlib/report and of the energy tables that it reads.
add_executable(report_test report_energy_test.cc report_error_test.cc report_figures_test.cc)
target_link_libraries(report_test PRIVATE lawcat::report GTest::gmock_main)
gtest_discover_tests(report_test)

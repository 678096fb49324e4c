# SPDX-License-Identifier: Apache-2.0
# Tests of hostlib/report with the energy tables that it reads, and of hostlib/run.
add_executable(report_test report_energy_test.cc report_error_test.cc report_figures_test.cc
  report_gpu_test.cc report_heat_map_test.cc)
target_link_libraries(report_test PRIVATE lawcat::report GTest::gmock_main)
gtest_discover_tests(report_test)

add_executable(run_test report_run_test.cc)
target_link_libraries(run_test PRIVATE lawcat::run GTest::gmock_main)
gtest_discover_tests(run_test)

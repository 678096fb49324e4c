# SPDX-License-Identifier: Apache-2.0
# Tests of hostlib/arch: presets, what RTL takes from them.
add_executable(arch_test arch_preset_test.cc arch_rtl_package_test.cc)
target_link_libraries(arch_test PRIVATE lawcat::arch GTest::gmock GTest::gtest_main)
gtest_discover_tests(arch_test)

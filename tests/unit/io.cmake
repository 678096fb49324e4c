# SPDX-License-Identifier: Apache-2.0
# Tests of hostlib/io.
add_executable(io_test io_file_test.cc io_strict_json_test.cc io_safetensors_test.cc)
target_link_libraries(io_test PRIVATE lawcat::io GTest::gmock GTest::gtest_main)
gtest_discover_tests(io_test)

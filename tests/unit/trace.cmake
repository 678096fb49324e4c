# SPDX-License-Identifier: Apache-2.0
# Tests of hostlib/trace.
add_executable(trace_test trace_passkey_test.cc trace_file_test.cc trace_task_test.cc trace_vectors_test.cc)
target_link_libraries(trace_test PRIVATE lawcat::trace GTest::gmock_main)
gtest_discover_tests(trace_test)

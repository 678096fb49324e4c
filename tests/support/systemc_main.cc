// SPDX-License-Identifier: Apache-2.0
// `main` of tests that link SystemC: libsystemc brings a main of its own, which would win over gtest_main's
// and run nothing.
#include <gtest/gtest.h>

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

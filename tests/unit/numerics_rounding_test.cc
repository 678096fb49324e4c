// SPDX-License-Identifier: Apache-2.0
// Rounding shifts against exact arithmetic, and the statistics of stochastic rounding.
#include "hostlib/numerics/rounding.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lawcat {
namespace {

TEST(Shifts, EqualExactRoundingOnAllSmallIntegers) {
  for (std::int64_t x = -1100; x <= 1100; ++x) {
    for (int n = 0; n <= 12; ++n) {
      const double exact = std::ldexp(static_cast<double>(x), -n);
      EXPECT_EQ(shift_truncate(x, n), std::floor(exact));
      EXPECT_EQ(shift_nearest_even(x, n), std::nearbyint(exact)) << x << " >> " << n;
      EXPECT_EQ(shift_half_up(x, n), std::floor(exact + 0.5));
    }
    EXPECT_EQ(shift_half_up(x, -5), x * 32);
  }
}

TEST(Shifts, BeyondTheWordGiveZero) {
  EXPECT_EQ(shift_half_up(std::int64_t{1} << 61, 63), 0);
  EXPECT_EQ(shift_half_up(-(std::int64_t{1} << 61), 200), 0);
  EXPECT_EQ(shift_nearest_even(12345, 64), 0);
  EXPECT_EQ(shift_truncate(-1, 64), -1);
  EXPECT_EQ(shift_truncate(1, 64), 0);
}

TEST(LeadBits, BoundEveryInteger) {
  EXPECT_EQ(lead_bits(0), 0);
  EXPECT_EQ(lead_bits(-1), 1);
  EXPECT_EQ(lead_bits(1), 1);
  EXPECT_EQ(lead_bits(-32768), 15);
  EXPECT_EQ(lead_bits(32767), 15);
  for (std::int64_t x = -5000; x <= 5000; ++x) {
    EXPECT_LE(std::abs(x), std::int64_t{1} << lead_bits(x));
    if (x > 0) {
      EXPECT_LT(x, std::int64_t{1} << lead_bits(x));
    }
  }
}

TEST(Saturate, ClipsAtBothEndsAndSaysSo) {
  const Format format = Format::fixed(true, 8, 0);
  EXPECT_EQ(saturate(127, format).value, 127);
  EXPECT_FALSE(saturate(127, format).clipped);
  EXPECT_EQ(saturate(128, format).value, 127);
  EXPECT_TRUE(saturate(128, format).clipped);
  EXPECT_EQ(saturate(-129, format).value, -128);
  EXPECT_TRUE(saturate(-129, format).clipped);
}

TEST(Stochastic, RoundsUpAsOftenAsTheDroppedPartSays) {
  constexpr int kDraws = 200000;
  for (const int part : {0, 1, 64, 128, 200, 255}) {
    std::int64_t sum = 0;
    for (std::uint32_t i = 0; i < kDraws; ++i)
      sum += shift_stochastic(5 * 256 + part, 8,
                              random_element(random_row_key(random_token_key(3, i / 64), 7), i % 64)) -
             5;
    const double p = part / 256.0;
    // Five standard deviations of a binomial share.
    EXPECT_NEAR(static_cast<double>(sum) / kDraws, p, 5 * std::sqrt(p * (1 - p) / kDraws) + 1e-9);
  }
}

TEST(Stochastic, BitsDependOnEveryPartOfTheCounter) {
  const auto bits = [](std::uint32_t head, std::uint32_t token, std::uint32_t row, std::uint32_t column) {
    return random_element(random_row_key(random_token_key(head, token), row), column);
  };
  EXPECT_NE(bits(1, 2, 3, 4), bits(2, 2, 3, 4));
  EXPECT_NE(bits(1, 2, 3, 4), bits(1, 3, 3, 4));
  EXPECT_NE(bits(1, 2, 3, 4), bits(1, 2, 4, 4));
  EXPECT_NE(bits(1, 2, 3, 4), bits(1, 2, 3, 5));
}

TEST(Stochastic, OneElementsSequenceOverTokensIsUncorrelated) {
  constexpr int kTokens = 100000;
  for (const std::uint32_t column : {0U, 1U, 33U, 63U}) {
    double product = 0;
    const auto uniform = [&](std::uint32_t token) {
      return random_element(random_row_key(random_token_key(0, token), 5), column) * 0x1p-32 - 0.5;
    };
    for (std::uint32_t t = 0; t + 1 < kTokens; ++t) product += uniform(t) * uniform(t + 1);
    EXPECT_LT(std::abs(product / kTokens * 12), 5 / std::sqrt(kTokens));  // correlation of a uniform variable
  }
}

}  // namespace
}  // namespace lawcat

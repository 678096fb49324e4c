// SPDX-License-Identifier: Apache-2.0
// The function tables against long double: the error bounds that functions.h states, over every argument.
#include "hostlib/numerics/functions.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lawcat {
namespace {

using Real = long double;

Real value(UnsignedFloat x, int p) {
  return std::ldexp(static_cast<Real>(x.mantissa), x.exponent - p);
}

// The tables exist at compile time.
static_assert(make_exp2_table(6).entry[0] == 1 << kTableFraction);
static_assert(make_exp2_table(6).entry[64] == 2 << kTableFraction);
static_assert(make_reciprocal_table(7).entry[128] == 1 << (kTableFraction - 1));
static_assert(forget_gate(make_gate_table(4, 12), make_exp2_table(6), 0, 7, 15, -30).near_one);

class Exp2 : public testing::TestWithParam<int> {};
TEST_P(Exp2, StaysWithinItsStatedBoundForEveryArgument) {
  const int bits = GetParam(), p = 24, fraction = std::max(bits, 12);
  const Exp2Table table = make_exp2_table(bits);
  const Real bound = std::exp2(1.0L / (1 << bits)) * std::pow(std::log(2.0L) / (1 << bits), 2) / 8 +
                     std::ldexp(1.0L, -24) + std::ldexp(1.0L, -p);
  for (std::int64_t y = 0; y < (std::int64_t{20} << fraction); ++y) {
    const Real exact = std::exp2(-std::ldexp(static_cast<Real>(y), -fraction));
    const Real got = value(exp2_negative(table, y, fraction, p, -62), p);
    ASSERT_LE(std::abs(got / exact - 1), bound) << "y = " << y;
  }
}
INSTANTIATE_TEST_SUITE_P(TableBits, Exp2, testing::Values(3, 5, 6, 8, 10));

TEST(Exp2Results, FlushToZeroBelowTheSmallestExponent) {
  const Exp2Table table = make_exp2_table(6);
  EXPECT_EQ(exp2_negative(table, 62 << 12, 12, 15, -62).exponent, -61);  // 2^-62 itself
  EXPECT_EQ(exp2_negative(table, (62 << 12) + 5, 12, 15, -62).mantissa, 0);
  EXPECT_EQ(exp2_negative(table, 0, 12, 15, -62).mantissa, 1 << 14);
  EXPECT_EQ(exp2_negative(table, 0, 12, 15, -62).exponent, 1);
}

class Reciprocal : public testing::TestWithParam<int> {};
TEST_P(Reciprocal, StaysWithinItsStatedBound) {
  const int bits = GetParam(), p = 24;
  const ReciprocalTable table = make_reciprocal_table(bits);
  const Real n = 1 << bits;
  const Real bound = 1 / (4 * n * n) + std::ldexp(1.0L, -23) + std::ldexp(1.0L, -p);
  for (std::int64_t x = 1; x < 300000; x += x < 5000 ? 1 : 37) {
    const Real got = value(reciprocal(table, x, -11, p), p);
    ASSERT_LE(std::abs(got * std::ldexp(static_cast<Real>(x), -11) - 1), bound) << x;
  }
  for (const std::int64_t x :
       {std::int64_t{1} << 45, (std::int64_t{1} << 50) - 1, (std::int64_t{3} << 40) + 12345})
    EXPECT_LE(std::abs(value(reciprocal(table, x, 0, p), p) * x - 1), bound) << x;
}
INSTANTIATE_TEST_SUITE_P(TableBits, Reciprocal, testing::Values(3, 5, 7, 10));

class GateFunction : public testing::TestWithParam<std::pair<int, int>> {};
TEST_P(GateFunction, IsExactAtBothEnds) {
  const auto [bits, logit_fraction] = GetParam();
  const int p = 23, fraction = 19;
  const GateTable gates = make_gate_table(bits, fraction);
  const Exp2Table exp2 = make_exp2_table(10);
  const Real table_error = 0.06L / std::pow(static_cast<Real>(1 << bits), 2);
  const Real exp2_table_error = std::pow(std::log(2.0L) / 1024, 2) / 8 + 2 * std::ldexp(1.0L, -p);
  for (std::int64_t x = -(std::int64_t{256} << logit_fraction); x < (std::int64_t{18} << logit_fraction);
       ++x) {
    const Real logit = std::ldexp(static_cast<Real>(x), -logit_fraction);
    const Real softplus = logit > 0 ? std::log1p(std::exp(-logit)) : std::log1p(std::exp(logit)) - logit;
    const Gate gate = forget_gate(gates, exp2, x, logit_fraction, p, -62);
    const Real got = value(gate.factor, p);
    const Real exact = gate.near_one ? -std::expm1(-softplus / 16) : std::exp(-softplus / 16);
    const Real exp2_error = exp2_table_error + std::ldexp(1 + std::abs(std::log2(exact)), -fraction - 1);
    const Real bound = gate.near_one ? table_error + exp2_error : exp2_error;
    ASSERT_LE(std::abs(got / exact - 1), bound) << "logit " << logit;
    ASSERT_EQ(gate.near_one, logit >= kGateSplit);
  }
}
INSTANTIATE_TEST_SUITE_P(TableBits, GateFunction,
                         testing::Values(std::pair{3, 7}, std::pair{4, 7}, std::pair{6, 9}, std::pair{4, 3}));

TEST(GateFunction, ReachesOneMinusATo2ToMinus24AndLogATo16) {
  const GateTable gates = make_gate_table(4, 12);
  const Exp2Table exp2 = make_exp2_table(6);
  const Gate keep = forget_gate(gates, exp2, static_cast<std::int64_t>(13.863 * 128), 7, 12, -30);
  EXPECT_TRUE(keep.near_one);
  EXPECT_NEAR(static_cast<double>(value(keep.factor, 12)) * 0x1p24, 1, 0.01);
  const Gate forget = forget_gate(gates, exp2, -256 * 128, 7, 12, -30);
  EXPECT_FALSE(forget.near_one);
  EXPECT_NEAR(std::log(static_cast<double>(value(forget.factor, 12))), -16, 0.001);
}

TEST(PhiFloor, IsTheNearestFloatToTheDefinitionsClamp) {
  for (int p = 5; p <= 23; ++p)
    EXPECT_LE(std::abs(value(phi_floor(p, -62), p) / 1e-12L - 1), std::ldexp(1.0L, -p)) << p;
  EXPECT_EQ(phi_floor(12, -39).mantissa, 0);  // below the smallest exponent
}

TEST(Multiply, RoundsAndRenormalises) {
  const int p = 12;
  for (std::int32_t a = 2048; a < 4096; a += 13) {
    for (std::int32_t b = 2048; b < 4096; b += 17) {
      const UnsignedFloat product = multiply({a, 0}, {b, -3}, p, -62);
      const Real exact = std::ldexp(static_cast<Real>(a) * b, -3 - 2 * p);
      ASSERT_GE(product.mantissa, 2048);
      ASSERT_LT(product.mantissa, 4096);
      ASSERT_LE(std::abs(value(product, p) / exact - 1), std::ldexp(1.0L, -p));
    }
  }
  EXPECT_EQ(multiply({0, 0}, {4095, 0}, p, -62).mantissa, 0);
}

}  // namespace
}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The datapath's function tables: 2^x, 1/x and the forget gate sigmoid(x)^(1/16). Tables are generated here,
// constexpr, and are the only source: RTL look-ups and device code are made from the same arrays.
//
// Error bounds (checked exhaustively in tests/unit/numerics_functions_test.cc), table of N entries per unit,
// linear between entries, before the last rounding to the format's precision p:
//   exp2        relative  2^(1/N) (ln 2 / N)^2 / 8 + 2^-24
//   reciprocal  relative  1 / (4 N^2) + 2^-23
//   gate        relative  exp2's + 2^-(f+1) (1 + |log2 of the result|), f the places of exp2's argument,
//               and 0.06 / N^2 where 1 - a comes from the gate table
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "hostlib/numerics/format.h"
#include "hostlib/numerics/rounding.h"

namespace lawcat {

/// A non-negative number as hardware holds it: value = mantissa * 2^(exponent - p), mantissa in
/// [2^(p-1), 2^p), so that value < 2^exponent; or mantissa 0. p is the precision of the point's Format.
struct UnsignedFloat {
  std::int32_t mantissa = 0;
  std::int32_t exponent = 0;
};

namespace detail {
// The standard library's functions are not constexpr until C++26. Arguments here are small.
constexpr double const_exp(double x) {  // |x| <= 1
  double term = 1, sum = 1;
  for (int i = 1; i < 24; ++i) sum += term *= x / i;
  return sum;
}
constexpr double const_log(double x) {  // x > 0
  int n = 0;
  while (x > 1.5) x /= 2, ++n;
  while (x < 0.75) x *= 2, --n;
  const double y = (x - 1) / (x + 1), y2 = y * y;
  double power = y, sum = 0;
  for (int i = 1; i < 60; i += 2, power *= y2) sum += power / i;
  return 2 * sum + n * 0.693147180559945309417;
}
constexpr double kLn2 = 0.693147180559945309417;
constexpr double const_exp2(double x) {
  int n = 0;
  while (x < -0.5) x += 1, --n;
  while (x > 0.5) x -= 1, ++n;
  double value = const_exp(x * kLn2);
  for (; n < 0; ++n) value /= 2;
  for (; n > 0; --n) value *= 2;
  return value;
}
constexpr std::int32_t const_round(double x) {
  return static_cast<std::int32_t>(x < 0 ? x - 0.5 : x + 0.5);
}
}  // namespace detail

/// log2(1 / (1 - sigmoid(x)^(1/16))): how many binary places of forgetting a gate logit x stands for.
/// 1 - exp(-L) with L = log(1 + e^-x) / 16 loses nothing at small L: both logs have their series.
constexpr double gate_log2_forget(double x) {
  using namespace detail;
  const double e = x >= 0 ? const_exp2(-x / kLn2) : const_exp2(x / kLn2);
  double log1p = 0;  // log(1 + e), e in (0, 1]
  if (e < 0x1p-10) {
    log1p = e * (1 - e * (0.5 - e * (1.0 / 3)));
  } else {
    log1p = const_log(1 + e);
  }
  const double softplus = x >= 0 ? log1p : log1p - x;
  const double l = softplus / 16;
  double forget = 0;  // 1 - exp(-l)
  if (l < 0x1p-6) {
    forget = l * (1 - l / 2 * (1 - l / 3 * (1 - l / 4 * (1 - l / 5))));
  } else {
    forget = 1 - const_exp2(-l / kLn2);
  }
  return -const_log(forget) / kLn2;
}

/// Gates below this logit are handled as a itself, others as 1 - a; a is 0.472 here.
inline constexpr int kGateSplit = -12;
/// From here on 1 - a = e^-x / 16 within 2^-24: no table needed.
inline constexpr int kGateLinear = 18;

inline constexpr int kTableFraction = 24;  ///< binary places of exp2 and reciprocal entries
inline constexpr int kMaxExp2Bits = 10;
inline constexpr int kMaxReciprocalBits = 10;
inline constexpr int kMaxGateBits = 6;

/// 2^f for f in [0, 1): entries 2^(i/N), i = 0..N, as integers with 24 binary places.
struct Exp2Table {
  int bits = 0;
  std::array<std::int32_t, (1 << kMaxExp2Bits) + 1> entry{};
};
constexpr Exp2Table make_exp2_table(int bits) {
  Exp2Table table{bits, {}};
  const int n = 1 << bits;
  for (int i = 0; i <= n; ++i)
    table.entry[static_cast<std::size_t>(i)] =
        detail::const_round(detail::const_exp2(static_cast<double>(i) / n) * (1 << kTableFraction));
  return table;
}

/// 1/s for s in [1, 2): entries 1/(1 + i/N), 24 binary places.
struct ReciprocalTable {
  int bits = 0;
  std::array<std::int32_t, (1 << kMaxReciprocalBits) + 1> entry{};
};
constexpr ReciprocalTable make_reciprocal_table(int bits) {
  ReciprocalTable table{bits, {}};
  const int n = 1 << bits;
  for (int i = 0; i <= n; ++i)
    table.entry[static_cast<std::size_t>(i)] =
        detail::const_round((1 << kTableFraction) / (1 + static_cast<double>(i) / n));
  return table;
}

/// gate_log2_forget(x) for x in [kGateSplit, kGateLinear], N entries per unit, `fraction` binary places.
struct GateTable {
  int bits = 0;
  int fraction = 0;
  std::array<std::int32_t, ((kGateLinear - kGateSplit) << kMaxGateBits) + 1> entry{};
};
constexpr GateTable make_gate_table(int bits, int fraction) {
  GateTable table{bits, fraction, {}};
  const int n = (kGateLinear - kGateSplit) << bits;
  for (int i = 0; i <= n; ++i) {
    const double x = kGateSplit + static_cast<double>(i) / (1 << bits);
    table.entry[static_cast<std::size_t>(i)] =
        detail::const_round(gate_log2_forget(x) * static_cast<double>(std::int64_t{1} << fraction));
  }
  return table;
}

/// Rounds a positive integer times 2^exponent2 to a float of precision p, ties up: finds the lead, shifts,
/// renormalises on carry. Below `min_exponent` the result is 0.
constexpr UnsignedFloat to_unsigned_float(std::int64_t integer, int exponent2, int p, int min_exponent) {
  if (integer <= 0) return {0, 0};
  const int lead = lead_bits(integer);
  std::int64_t mantissa = shift_half_up(integer, lead - p);
  int exponent = lead + exponent2;
  if (mantissa >> p) {
    mantissa >>= 1;
    ++exponent;
  }
  if (exponent - 1 < min_exponent) return {0, 0};
  return {static_cast<std::int32_t>(mantissa), exponent};
}

/// 2^-y, y >= 0 in units of 2^-fraction (fraction >= table.bits), as a float of precision p <= 24.
constexpr UnsignedFloat exp2_negative(const Exp2Table& table, std::int64_t y, int fraction, int p,
                                      int min_exponent) {
  const std::int64_t t = -y;
  const std::int64_t integer = t >> fraction;
  const std::int64_t f = t - (integer << fraction);
  const int rest_bits = fraction - table.bits;
  const auto i = static_cast<std::size_t>(f >> rest_bits);
  const std::int64_t rest = f & ((std::int64_t{1} << rest_bits) - 1);
  const std::int64_t base = table.entry[i];
  const std::int64_t value = base + shift_half_up((table.entry[i + 1] - base) * rest, rest_bits);
  if (integer < min_exponent - 2) return {0, 0};
  return to_unsigned_float(value, static_cast<int>(integer) - kTableFraction, p, min_exponent);
}

/// 1 / (integer * 2^exponent2), integer > 0, as a float of precision p <= 24.
constexpr UnsignedFloat reciprocal(const ReciprocalTable& table, std::int64_t integer, int exponent2, int p) {
  const int lead = lead_bits(integer);
  const int normal = 30;  // s = integer / 2^(lead-1) in [1, 2), with 30 binary places
  const std::int64_t s =
      (lead - 1 <= normal ? integer << (normal - lead + 1) : integer >> (lead - 1 - normal)) -
      (std::int64_t{1} << normal);
  const int rest_bits = normal - table.bits;
  const auto i = static_cast<std::size_t>(s >> rest_bits);
  const std::int64_t rest = s & ((std::int64_t{1} << rest_bits) - 1);
  const std::int64_t base = table.entry[i];
  const std::int64_t value = base + shift_half_up((table.entry[i + 1] - base) * rest, rest_bits);
  return to_unsigned_float(value, -kTableFraction - (lead - 1) - exponent2, p,
                           std::numeric_limits<std::int32_t>::min() / 2);
}

/// What phi is clamped at from below: 1e-12 as a float of precision p. 1e-12 = 1.0995... * 2^-40.
constexpr UnsignedFloat phi_floor(int p, int min_exponent) {
  return to_unsigned_float(detail::const_round(1e-12 * 0x1p70), -70, p, min_exponent);
}

/// x * y of precision p each, rounded to p, ties up.
constexpr UnsignedFloat multiply(UnsignedFloat x, UnsignedFloat y, int p, int min_exponent) {
  return to_unsigned_float(static_cast<std::int64_t>(x.mantissa) * y.mantissa,
                           x.exponent + y.exponent - 2 * p, p, min_exponent);
}

/// The forget gate as the state update wants it: a itself, or 1 - a, whichever keeps its leading bits.
struct Gate {
  bool near_one = true;  ///< true: `factor` is 1 - a, else a
  UnsignedFloat factor;
};

/// Constants of 1/ln 2 scaled for a gate logit: y = |x| * log2(e).
constexpr std::int64_t log2e_constant(int fraction) {
  return static_cast<std::int64_t>(1.44269504088896340736 * static_cast<double>(std::int64_t{1} << fraction) +
                                   0.5);
}

/// a(x) = sigmoid(x)^(1/16); x in units of 2^-logit_fraction. The exp2 argument has table.fraction places.
constexpr Gate forget_gate(const GateTable& gates, const Exp2Table& exp2, std::int64_t x, int logit_fraction,
                           int p, int min_exponent) {
  const int f = gates.fraction;
  const std::int64_t one = std::int64_t{1} << logit_fraction;
  if (x < kGateSplit * one) {  // a = e^(x/16) within e^-12/16 relative
    const std::int64_t y = shift_half_up(-x * log2e_constant(f), logit_fraction + 4);
    return {false, exp2_negative(exp2, y, f, p, min_exponent)};
  }
  std::int64_t y = 0;
  if (x >= kGateLinear * one) {  // 1 - a = e^-x / 16
    y = shift_half_up(x * log2e_constant(f), logit_fraction) + (std::int64_t{4} << f);
  } else if (logit_fraction >= gates.bits) {
    const std::int64_t at = x - kGateSplit * one;
    const int rest_bits = logit_fraction - gates.bits;
    const auto i = static_cast<std::size_t>(at >> rest_bits);
    const std::int64_t rest = at & ((std::int64_t{1} << rest_bits) - 1);
    y = gates.entry[i] +
        shift_half_up((static_cast<std::int64_t>(gates.entry[i + 1]) - gates.entry[i]) * rest, rest_bits);
  } else {
    y = gates.entry[static_cast<std::size_t>((x - kGateSplit * one) << (gates.bits - logit_fraction))];
  }
  return {true, exp2_negative(exp2, y, f, p, min_exponent)};
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Shifts that round, saturation that counts, the random bits of stochastic rounding. Integer only, constexpr,
// the same on host and device (nvcc: --expt-relaxed-constexpr).
#pragma once

#include <bit>
#include <cstdint>

#include "hostlib/numerics/format.h"

namespace lawcat {

/// The bits of |x| that matter for its size: |x| <= 2^bit_width(magnitude_bits(x)), equality only for
/// negative powers of two. Two gates per bit in hardware, where |x| would take an adder; OR over a row bounds
/// the row.
constexpr std::int64_t magnitude_bits(std::int64_t x) {
  const std::int64_t sign = x >> 63;
  return (x ^ sign) | (sign & 1);
}
constexpr int lead_bits(std::int64_t x) {
  return static_cast<int>(std::bit_width(static_cast<std::uint64_t>(magnitude_bits(x))));
}

/// x * 2^-n, ties towards plus infinity: one adder in front of a shifter. n <= 0 shifts left (the caller
/// knows that it fits); n >= 63 gives 0 for |x| < 2^62.
constexpr std::int64_t shift_half_up(std::int64_t x, int n) {
  if (n <= 0) return n <= -63 ? 0 : static_cast<std::int64_t>(static_cast<std::uint64_t>(x) << -n);
  if (n >= 63) return 0;
  return (x + (std::int64_t{1} << (n - 1))) >> n;
}

/// x * 2^-n towards minus infinity, n >= 0.
constexpr std::int64_t shift_truncate(std::int64_t x, int n) {
  return n >= 63 ? x >> 63 : x >> n;
}

/// x * 2^-n to nearest, ties to even, n >= 0.
constexpr std::int64_t shift_nearest_even(std::int64_t x, int n) {
  if (n == 0) return x;
  if (n >= 63) return 0;
  const std::int64_t half = std::int64_t{1} << (n - 1);
  return (x + (half - 1) + ((x >> n) & 1)) >> n;
}

/// x * 2^-n, n in 0..32, rounded up with probability of the dropped part; `random` is uniform in 0..2^32-1.
constexpr std::int64_t shift_stochastic(std::int64_t x, int n, std::uint32_t random) {
  if (n == 0) return x;
  return (x + static_cast<std::int64_t>(random >> (32 - n))) >> n;
}

/// A result cut to a format's mantissa range, and whether that changed it.
struct Saturated {
  std::int64_t value;
  bool clipped;
};
constexpr Saturated saturate(std::int64_t x, const Format& format) {
  if (x > format.max_mantissa()) return {format.max_mantissa(), true};
  if (x < format.min_mantissa()) return {format.min_mantissa(), true};
  return {x, false};
}

/// Mixes 32 bits (the finaliser of MurmurHash3, Appleby 2011; public domain).
constexpr std::uint32_t mix32(std::uint32_t h) {
  h ^= h >> 16;
  h *= 0x85ebca6bU;
  h ^= h >> 13;
  h *= 0xc2b2ae35U;
  return h ^ (h >> 16);
}

/// Counter-based generator of stochastic rounding: no state, so any order of evaluation and any number of
/// lanes give the same bits. One mix per row and token; an element's bits are the row's, rotated and flipped
/// by constants of its column: wires and inverters in a lane. Neighbouring columns share bits, which costs
/// nothing: what must be independent is one element's sequence over the tokens.
constexpr std::uint32_t random_token_key(std::uint32_t head, std::uint32_t token) {
  return mix32(token + 0x9e3779b9U * (head + 1));
}
constexpr std::uint32_t random_row_key(std::uint32_t token_key, std::uint32_t row) {
  return mix32(token_key + 0x7f4a7c15U * row);
}
constexpr std::uint32_t random_element(std::uint32_t row_key, std::uint32_t column) {
  return std::rotl(row_key, static_cast<int>(column % 32)) ^ (0x9e3779b9U * column);
}

}  // namespace lawcat

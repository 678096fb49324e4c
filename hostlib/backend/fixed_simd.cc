// SPDX-License-Identifier: Apache-2.0
// The bit-true datapath, sixteen elements at a time with AVX-512, eight with AVX2, else four: see
// fixed_simd.h.
//
// Written in the compiler's vector type: the same source gives AVX-512, AVX2 or plain code, in vectors that
// the machine has (of longer ones GCC makes scalars wherever they are compared or converted). The few
// operations that need an instruction by name have a general form beside it. Shifts by a row's own amount are
// the price of block floating point; everything row-wise is prepared for all rows before the first row is
// touched, and rows that a token leaves as they are (most rows of a trained model) are only read.
#include "hostlib/backend/fixed_simd.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "hostlib/backend/fixed.h"

#if defined(__AVX512BW__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace lawcat {

bool has_simd_form(const Datapath& d) {
  const int conv_shift = d.conv_weight.fraction + d.query_key.fraction - d.conv.fraction;
  const int feature_shift = d.conv.fraction + d.feature_weight.fraction - d.feature.fraction;
  return d.state.kind == FormatKind::block && d.state.width <= 16 && d.normaliser.kind == FormatKind::block &&
         d.normaliser.width + d.guard_bits <= 40 && d.normaliser.width + d.gate.precision() <= 44 &&
         (d.state_rounding == Rounding::nearest_even || d.state_rounding == Rounding::stochastic) &&
         d.guard_bits <= 8 && d.query_key.width <= 16 && d.value.width <= 16 && d.gate_logit.width <= 16 &&
         d.gate_logit.fraction <= 9 && d.gate_table_bits <= d.gate_logit.fraction &&
         d.conv_weight.width + d.query_key.width <= 30 && d.conv.width <= 16 && conv_shift >= 1 &&
         conv_shift <= 30 && d.feature_weight.width <= 16 && d.feature.width <= 16 &&
         d.feature.fraction <= 9 && feature_shift >= 8 && feature_shift <= 24 &&
         d.probability.precision() <= 15 && d.gate.precision() <= 15 && d.readout_weight_bits <= 15 &&
         d.exp2_table_bits >= 5;
}

bool simd_fits(const UnitShape& shape) {
  return shape.head_dim % 32 == 0 && shape.head_dim <= 128 && shape.feature_dim % 16 == 0 &&
         shape.feature_dim <= 64;
}

namespace {

constexpr int kMaxD = 128;
constexpr int kMaxF = 64;
constexpr int kMaxK = 2 * kMaxF;
#if defined(__AVX512BW__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
constexpr int kLanes = kBytes / 4;
using Vec = std::int32_t __attribute__((vector_size(kBytes)));
using Unsigned = std::uint32_t __attribute__((vector_size(kBytes)));
using Wide = std::int64_t __attribute__((vector_size(kBytes)));
using Double = double __attribute__((vector_size(kBytes)));
using Narrow = std::int32_t __attribute__((vector_size(kBytes / 2)));
constexpr int kWideLanes = kBytes / 8;

template <class V>
V load(const void* from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
Vec load(const std::int32_t* from) {
  return load<Vec>(from);
}
template <class V>
void store(void* to, V v) {
  std::memcpy(to, &v, sizeof v);
}
Vec splat(std::int32_t x) {
  return Vec{} + x;
}
template <class V>
V min(V a, V b) {
  return a < b ? a : b;
}
template <class V>
V max(V a, V b) {
  return a > b ? a : b;
}

/// Reduces lanes with `f`, half of them with the other half.
template <int kHalf = kLanes / 2, class F>
std::int32_t reduce(Vec v, F f) {
  const Vec turned = [&]<int... I>(std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, ((I + kHalf) % kLanes)...);
  }
  (std::make_integer_sequence<int, kLanes>());
  v = f(v, turned);
  if constexpr (kHalf > 1)
    return reduce<kHalf / 2>(v, f);
  else
    return v[0];
}
#ifdef __AVX512BW__
std::int32_t reduce_or(Vec v) {
  return _mm512_reduce_or_epi32((__m512i)v);
}
std::int32_t reduce_add(Vec v) {
  return _mm512_reduce_add_epi32((__m512i)v);
}
std::int32_t reduce_max(Vec v) {
  return _mm512_reduce_max_epi32((__m512i)v);
}
std::int32_t reduce_min(Vec v) {
  return _mm512_reduce_min_epi32((__m512i)v);
}
#else
std::int32_t reduce_or(Vec v) {
  return reduce(v, [](auto a, auto b) { return a | b; });
}
std::int32_t reduce_add(Vec v) {
  return reduce(v, [](auto a, auto b) { return a + b; });
}
std::int32_t reduce_max(Vec v) {
  return reduce(v, [](auto a, auto b) { return max(a, b); });
}
std::int32_t reduce_min(Vec v) {
  return reduce(v, [](auto a, auto b) { return min(a, b); });
}
#endif

/// table[index], lane by lane.
Vec gather(const std::int32_t* table, Vec index) {
#ifdef __AVX512BW__
  return (Vec)_mm512_i32gather_epi32((__m512i)index, table, 4);
#elif defined(__AVX2__)
  return (Vec)_mm256_i32gather_epi32(table, (__m256i)index, 4);
#else
  Vec v;
  for (int i = 0; i < kLanes; ++i) v[i] = table[index[i]];
  return v;
#endif
}

/// acc + a.low16 * b.low16 + a.high16 * b.high16, signed halves of each 32-bit lane.
Vec pair_multiply_add(Vec acc, Vec a, Vec b) {
#if defined(__AVX512VNNI__)
  return (Vec)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)a, (__m512i)b);
#elif defined(__AVX512BW__)
  return acc + (Vec)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return acc + (Vec)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#else
  return acc + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

/// acc + a * b for lanes of a and a scalar b within 16 signed bits: b's upper half is cleared, so that it
/// does not meet the sign of a.
Vec multiply_add(Vec acc, Vec a, std::int32_t b) {
  return pair_multiply_add(acc, a, splat(b & 0xffff));
}

/// shift_half_up() for |x| <= 2^30 and any n that leaves the result inside 32 bits.
Vec shift_half_up(Vec x, Vec n) {
  const Vec left = max(-n, Vec{});
  const Vec right = min(max(n, Vec{}), splat(31));
  const Vec half = ((splat(1) << right) >> 1) & 0x7fffffff;  // a shift by 31 has half 2^30, not its sign
  return ((x << left) + half) >> right;
}
Wide shift_half_up(Wide x, Wide n) {
  const Wide left = min(max(-n, Wide{}), Wide{} + 63);
  const Wide right = min(max(n, Wide{}), Wide{} + 62);
  const Wide half = ((Wide{} + 1) << right) >> 1;
  return ((x << left) + half) >> right;
}
/// bit_width() of x >= 0, x < 2^53, by the exponent of its conversion.
Wide bit_width(Wide x) {
  const auto bits = (Wide) __builtin_convertvector(x, Double);
  return max((bits >> 52) - 1022, Wide{});
}

/// sum * 2^-guard to nearest even.
Vec round_nearest_even(Vec sum, std::int32_t guard) {
  sum += 1 << (guard - 1);
  const Vec rounded = sum >> guard;
  const std::int32_t low = (1 << guard) - 1;
#ifdef __AVX512BW__
  const __mmask16 tie = _mm512_testn_epi32_mask((__m512i)sum, (__m512i)splat(low));
  return (Vec)_mm512_mask_and_epi32((__m512i)rounded, tie, (__m512i)rounded, (__m512i)splat(~1));
#else
  return (sum & low) == 0 ? rounded & ~1 : rounded;
#endif
}

/// random_row_key() of kLanes rows from `row` on.
Vec row_keys(std::uint32_t token_key, std::int32_t row) {
  Unsigned h;
  for (int i = 0; i < kLanes; ++i) h[i] = token_key + 0x7f4a7c15U * static_cast<std::uint32_t>(row + i);
  h ^= h >> 16;
  h *= 0x85ebca6bU;
  h ^= h >> 13;
  h *= 0xc2b2ae35U;
  return (Vec)(h ^ (h >> 16));
}

/// random_element() of kLanes columns, its first `guard` bits.
class ColumnNoise {
 public:
  ColumnNoise(std::int32_t first_column, std::int32_t guard) : drop_(32 - guard) {
    for (int i = 0; i < kLanes; ++i) {
      rotate_[i] = (first_column + i) % 32;
      flip_[i] = static_cast<std::int32_t>(0x9e3779b9U * static_cast<std::uint32_t>(first_column + i));
    }
  }
  Vec operator()(std::int32_t row_key) const {
#ifdef __AVX512BW__
    const auto rotated = (Unsigned)_mm512_rolv_epi32((__m512i)splat(row_key), (__m512i)rotate_);
#else
    const auto key = (Unsigned)splat(row_key), by = (Unsigned)rotate_;
    const Unsigned rotated = (key << by) | (key >> ((32 - by) & 31));
#endif
    return (Vec)((rotated ^ (Unsigned)flip_) >> drop_);
  }

 private:
  Vec rotate_, flip_;
  std::int32_t drop_;
};

/// x cut to [-most - 1, most]; counts the lanes that changed.
Vec clip(Vec x, std::int32_t most, std::int64_t& saturations) {
  const Vec cut = min(max(x, splat(-most - 1)), splat(most));
#ifdef __AVX512BW__
  saturations += std::popcount(static_cast<unsigned>(_mm512_cmpneq_epi32_mask((__m512i)cut, (__m512i)x)));
#elif defined(__AVX2__)
  saturations += std::popcount(static_cast<unsigned>(_mm256_movemask_ps((__m256)(cut != x))));
#else
  saturations -= reduce_add(cut != x);
#endif
  return cut;
}

/// quantise() for `count` values.
void quantise_run(const float* from, std::int32_t* to, std::size_t count, const Format& format,
                  std::int64_t& saturations) {
  const float scale = std::ldexp(1.0F, format.fraction);
  const auto max = static_cast<float>(format.max_mantissa());
  const auto min = static_cast<float>(format.min_mantissa());
  std::int32_t clipped = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float rounded = std::nearbyintf(from[i] * scale);
    clipped += (rounded > max ? 1 : 0) + (rounded < min ? 1 : 0);
    to[i] = static_cast<std::int32_t>(std::min(std::max(rounded, min), max));
  }
  saturations += clipped;
}

/// A vector of UnsignedFloat.
struct Floats {
  Vec mantissa;
  Vec exponent;
};

/// exp2_negative() for y >= 0.
class Exp2 {
 public:
  Exp2(const DatapathRules& rules, std::int32_t p, std::int32_t min_exponent)
      : table_(rules.exp2.entry.data()),
        fraction_(rules.formats.exponent_fraction()),
        rest_bits_(rules.formats.exponent_fraction() - rules.exp2.bits),
        p_(p),
        min_exponent_(min_exponent) {}

  Floats operator()(Vec y) const {
    const Vec t = -y;
    const Vec integer = t >> fraction_;
    const Vec f = t & ((1 << fraction_) - 1);
    const Vec i = f >> rest_bits_;
    const Vec rest = f & ((1 << rest_bits_) - 1);
    const Vec base = gather(table_, i);
    const Vec step = gather(table_ + 1, i) - base;
    const Vec value = base + ((step * rest + ((1 << rest_bits_) >> 1)) >> rest_bits_);
    const std::int32_t drop = kTableFraction + 1 - p_;
    const Vec rounded = (value + (1 << (drop - 1))) >> drop;
    const Vec carry = rounded >> p_;
    const Vec exponent = integer + 1 + carry;
    const Vec keep = exponent - 1 >= min_exponent_;
    return {(rounded >> carry) & keep, exponent & keep};
  }

 private:
  const std::int32_t* table_;
  std::int32_t fraction_, rest_bits_, p_, min_exponent_;
};

/// dual_softmax() into separate arrays of mantissas and exponents, [K] each.
void dual_softmax_run(const DatapathRules& rules, const std::int32_t* z, std::int32_t f,
                      std::int32_t* mantissas, std::int32_t* exponents) {
  const std::int32_t p = rules.probability_p, min_exponent = rules.probability_min;
  const std::int32_t fraction = rules.formats.feature.fraction;
  const auto constant = static_cast<std::int32_t>(log2e_constant(fraction + 5));
  const std::int32_t limit = (1 << (fraction + 6)) - 1;
  const std::int32_t shift = 2 * fraction + 5 - rules.formats.exponent_fraction();
  const std::int32_t floor_m = rules.phi_floor.mantissa, floor_e = rules.phi_floor.exponent;
  const Exp2 exp2(rules, p, min_exponent);
  Vec low = load(z), high = load(z);
  for (std::int32_t i = kLanes; i < f; i += kLanes) {
    low = min(low, load(z + i));
    high = max(high, load(z + i));
  }
  for (std::int32_t side = 0; side < 2; ++side) {
    const std::int32_t reference = side == 0 ? reduce_max(high) : reduce_min(low);
    Floats e[kMaxF / kLanes];
    Vec sum{};
    for (std::int32_t i = 0; i < f / kLanes; ++i) {
      const Vec x = load(z + i * kLanes);
      const Vec below = min(side == 0 ? reference - x : x - reference, splat(limit));
      e[i] = exp2((below * constant + (1 << (shift - 1))) >> shift);
      sum += shift_half_up(e[i].mantissa, -4 - e[i].exponent);
    }
    const UnsignedFloat inverse = reciprocal(rules.reciprocal, reduce_add(sum), -(p + 4), p);
    for (std::int32_t i = 0; i < f / kLanes; ++i) {
      const Vec product = e[i].mantissa * inverse.mantissa;
      const Vec top = product >> (2 * p - 1);
      const Vec drop = p - 1 + top;
      const Vec rounded = (product + (splat(1) << (drop - 1))) >> drop;
      const Vec carry = rounded >> p;
      const Vec mantissa = rounded >> carry;
      const Vec exponent = e[i].exponent + (inverse.exponent - 1) + top + carry;
      const Vec keep = (e[i].mantissa != 0) & (exponent - 1 >= min_exponent) &
                       ((exponent > floor_e) | ((exponent == floor_e) & (mantissa >= floor_m)));
      store(mantissas + side * f + i * kLanes, keep ? mantissa : splat(floor_m));
      store(exponents + side * f + i * kLanes, keep ? exponent : splat(floor_e));
    }
  }
}

/// align_readout() on arrays.
int align_readout_run(const DatapathRules& rules, std::int32_t k, const std::int32_t* mantissas,
                      const std::int32_t* phi_exponents, const std::int32_t* exponents,
                      std::int32_t* weights) {
  Vec tops = splat(kEmptyRow);
  for (std::int32_t r = 0; r < k; r += kLanes) {
    const Vec e = load(exponents + r);
    tops = max(tops, e == kEmptyRow ? splat(kEmptyRow) : load(phi_exponents + r) + e);
  }
  const std::int32_t top = reduce_max(tops);
  if (top == kEmptyRow) {
    std::fill(weights, weights + k, 0);
    return 0;
  }
  Vec sums{};
  for (std::int32_t r = 0; r < k; r += kLanes)
    sums += load(mantissas + r) >> min(top - load(phi_exponents + r) - load(exponents + r), splat(31));
  const std::int32_t bits = rules.formats.readout_weight_bits;
  const std::int32_t scale = lead_bits(reduce_add(sums)) - bits;
  for (std::int32_t r = 0; r < k; r += kLanes) {
    const Vec n = top - load(phi_exponents + r) - load(exponents + r) + scale;
    const Vec shifted = min(shift_half_up(load(mantissas + r), n), splat((1 << bits) - 1));
    store(weights + r, load(exponents + r) == kEmptyRow ? Vec{} : shifted);
  }
  return top + scale - rules.probability_p;
}

/// round_output() for a row: products of 31 and 15 bits are exact in float64, which is then rounded by its
/// bits.
void round_output_run(const DatapathRules& rules, const std::int32_t* numerator, std::int32_t d,
                      int exponent2, UnsignedFloat inverse, float* output, std::int64_t& saturations) {
  const Format& format = rules.formats.output;
  const double scale =
      std::ldexp(static_cast<double>(inverse.mantissa), exponent2 + inverse.exponent - rules.probability_p);
  std::int32_t clipped = 0;
  if (format.kind == FormatKind::fixed) {
    const double up = std::ldexp(1.0, format.fraction), down = std::ldexp(1.0, -format.fraction);
    const auto most = static_cast<double>(format.max_mantissa());
    for (std::int32_t c = 0; c < d; ++c) {
      const double rounded = std::nearbyint(numerator[c] * scale * up);
      const double value = std::min(std::max(rounded, -most), most);
      clipped += value != rounded ? 1 : 0;
      output[c] = static_cast<float>(value * down);
    }
  } else {
    const double normal = std::ldexp(1.0, format.min_exponent());
    // Adding this constant leaves just the bits that a subnormal of the format has.
    const double subnormal = std::ldexp(1.5, 52 + format.min_exponent() - format.mantissa_bits);
    const double most = std::ldexp(2.0 - std::ldexp(1.0, -format.mantissa_bits), format.max_exponent());
    const int drop = 52 - format.mantissa_bits;
    const std::uint64_t half = (std::uint64_t{1} << (drop - 1)) - 1;
    const std::uint64_t mask = ~((std::uint64_t{1} << drop) - 1);
    for (std::int32_t c = 0; c < d; ++c) {
      const double x = numerator[c] * scale;
      const auto bits = std::bit_cast<std::uint64_t>(x);
      const double big = std::bit_cast<double>((bits + half + ((bits >> drop) & 1)) & mask);
      const double magnitude = (std::abs(x) + subnormal) - subnormal;
      const double small = x < 0 ? -magnitude : magnitude;  // what rounds to zero keeps its sign
      const double rounded = std::abs(x) < normal ? small : big;
      const double value = std::min(std::max(rounded, -most), most);
      clipped += value != rounded ? 1 : 0;
      output[c] = static_cast<float>(value);
    }
  }
  saturations += clipped;
}

/// Scalars of one token, one entry per row, laid out by what the row loop reads.
struct RowPlan {
  alignas(64) std::int32_t phi_k_m[kMaxK], phi_k_e[kMaxK], phi_q_m[kMaxK], phi_q_e[kMaxK];
  alignas(
      64) std::int32_t readable[kMaxK];  ///< exponent after the update; kEmptyRow for rows that hold nothing
  alignas(64) std::int32_t shift_old[kMaxK], shift_decay[kMaxK], shift_new[kMaxK];
  alignas(64) std::int32_t still[kMaxK];  ///< not 0: the token leaves the row's bits as they are
  alignas(64) std::int32_t weight[kMaxK];
  alignas(64) std::int32_t key[kMaxK];  ///< random_row_key(), where rounding is stochastic
};

/// Updates and reads out all rows. NV vectors make a row.
template <int NV, bool kStochastic>
void update_rows(const DatapathRules& rules, std::int32_t k, const RowPlan& plan,
                 const std::int32_t* gate_factor, const std::int32_t* value, std::int32_t* words,
                 std::int32_t* leads, std::int32_t* numerator, std::int64_t& saturations) {
  const std::int32_t guard = rules.formats.guard_bits;
  const std::int32_t width = rules.formats.state.width;
  const auto most = static_cast<std::int32_t>(rules.formats.state.max_mantissa());
  std::array<ColumnNoise, NV> noise = [&]<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<ColumnNoise, NV>{ColumnNoise(static_cast<std::int32_t>(I) * kLanes, guard)...};
  }
  (std::make_index_sequence<NV>());
  Vec v[NV], u[NV];
  for (int i = 0; i < NV; ++i) {
    v[i] = load(value + i * kLanes);
    u[i] = Vec{};
  }
  for (std::int32_t r = 0; r < k; ++r) {
    std::int32_t* const row = words + r * NV * kLanes;
    Vec x[NV];
    for (int i = 0; i < NV; ++i) x[i] = load(row + i * kLanes);
    if (plan.still[r] == 0) {
      const std::int32_t factor = gate_factor[r], phi = plan.phi_k_m[r];
      const std::int32_t n_old = plan.shift_old[r], n_decay = plan.shift_decay[r], n_new = plan.shift_new[r];
      Vec bits{}, signs{};
      const auto finish = [&](Vec sum, int i) {
        Vec& out = x[i];
        if constexpr (kStochastic) {
          out = (sum + noise[static_cast<std::size_t>(i)](plan.key[r])) >> guard;
        } else {
          out = round_nearest_even(sum, guard);
        }
        const Vec sign = out >> 31;
        bits |= out ^ sign;
        signs |= sign;
      };
      if (n_old <= 0 && n_decay > 0 && n_new > 0) {
        const Vec half_decay = splat(1 << (n_decay - 1)), half_new = splat(1 << (n_new - 1));
        for (int i = 0; i < NV; ++i) {
          const Vec decay = multiply_add(half_decay, x[i], factor) >> n_decay;
          const Vec added = multiply_add(half_new, v[i], phi) >> n_new;
          finish((x[i] << -n_old) + decay + added, i);
        }
      } else {
        const auto shift = [](Vec y, std::int32_t n) { return n <= 0 ? y << -n : (y + (1 << (n - 1))) >> n; };
        for (int i = 0; i < NV; ++i) {
          const Vec decay = shift(multiply_add(Vec{}, x[i], factor), n_decay);
          const Vec added = shift(multiply_add(Vec{}, v[i], phi), n_new);
          finish(shift(x[i], n_old) + decay + added, i);
        }
      }
      std::int32_t all = reduce_or(bits | (signs & 1));
      if ((all >> (width - 1)) != 0) [[unlikely]] {
        for (int i = 0; i < NV; ++i) x[i] = clip(x[i], most, saturations);
        all = most;
      }
      leads[r] = lead_bits(all);
      for (int i = 0; i < NV; ++i) store(row + i * kLanes, x[i]);
    }
    const std::int32_t weight = plan.weight[r];
    for (int i = 0; i < NV; ++i) u[i] = multiply_add(u[i], x[i], weight);
  }
  for (int i = 0; i < NV; ++i) store(numerator + i * kLanes, u[i]);
}

}  // namespace

void SimdGroupBlock::prepare(const DatapathRules& rules, const UnitShape& shape, const Job& job,
                             int first_token, int tokens, int kv_head, Saturations& saturations) {
  const auto d = static_cast<std::size_t>(shape.head_dim);
  const auto k = static_cast<std::size_t>(shape.key_features());
  const auto sat = [&](Point point) -> std::int64_t& { return saturations[static_cast<std::size_t>(point)]; };
  const auto n = static_cast<std::size_t>(tokens);
  count = tokens;
  key.resize(n * d);
  value.resize(n * d);
  value_lead.resize(n);
  gate_factor.resize(n * k);
  gate_exponent.resize(n * k);
  gate_near_one.resize(n * k);

  const Format& logit = rules.formats.gate_logit;
  const std::int32_t f = rules.formats.exponent_fraction();
  const std::int32_t one = 1 << logit.fraction;
  const auto log2e = static_cast<std::int32_t>(log2e_constant(f));
  const std::int32_t rest_bits = logit.fraction - rules.gate.bits;
  const std::int32_t last = ((kGateLinear - kGateSplit) << rules.gate.bits) - 1;
  const std::int32_t low_shift = logit.fraction + 4;
  const Exp2 exp2(rules, rules.gate_p, rules.formats.gate.min_exponent());
  alignas(64) std::int32_t logits[kMaxK];
  for (std::size_t t = 0; t < n; ++t) {
    const std::size_t at =
        (static_cast<std::size_t>(first_token) + t) * static_cast<std::size_t>(shape.kv_heads) +
        static_cast<std::size_t>(kv_head);
    quantise_run(job.k.data() + at * d, &key[t * d], d, rules.formats.query_key, sat(Point::key));
    quantise_run(job.v.data() + at * d, &value[t * d], d, rules.formats.value, sat(Point::value));
    Vec bits{};
    for (std::size_t c = 0; c < d; c += kLanes) {
      const Vec v = load(&value[t * d + c]), sign = v >> 31;
      bits |= (v ^ sign) | (sign & 1);
    }
    value_lead[t] = lead_bits(reduce_or(bits));

    quantise_run(job.gk.data() + at * k, logits, k, logit, sat(Point::gate_logit));
    for (std::size_t r = 0; r < k; r += kLanes) {
      const Vec x = load(logits + r);
      const Vec near_one = x >= kGateSplit * one;
      const Vec low = (-x * log2e + (1 << (low_shift - 1))) >> low_shift;
      const Vec high = ((x * log2e + (one >> 1)) >> logit.fraction) + (4 << f);
      const Vec offset = x - kGateSplit * one;
      const Vec i = min(max(offset >> rest_bits, Vec{}), splat(last));
      const Vec base = gather(rules.gate.entry.data(), i);
      const Vec step = gather(rules.gate.entry.data() + 1, i) - base;
      const Vec rest = offset & ((1 << rest_bits) - 1);
      const Vec table = base + ((step * rest + ((1 << rest_bits) >> 1)) >> rest_bits);
      const Floats gate = exp2(near_one ? (x >= kGateLinear * one ? high : table) : low);
      store(&gate_factor[t * k + r], near_one ? -gate.mantissa : gate.mantissa);
      store(&gate_exponent[t * k + r], gate.exponent);
      store(&gate_near_one[t * k + r], near_one);
    }
  }
}

SimdHead::SimdHead(const DatapathRules& rules, const UnitShape& shape, const HeadWeights& weights,
                   std::uint32_t head)
    : head_(head) {
  const auto d = static_cast<std::size_t>(shape.head_dim);
  const auto f = static_cast<std::size_t>(shape.feature_dim);
  q_taps_.resize(kConvTaps * d);
  k_taps_.resize(kConvTaps * d);
  for (std::size_t c = 0; c < d; ++c) {
    for (std::size_t j = 0; j < kConvTaps; ++j) {
      q_taps_[j * d + c] = weights.q_taps[c * kConvTaps + j];
      k_taps_[j * d + c] = weights.k_taps[c * kConvTaps + j];
    }
  }
  feature_high_.resize(d / 2 * f);
  feature_low_.resize(d / 2 * f);
  for (std::size_t c = 0; c < d; c += 2) {
    for (std::size_t i = 0; i < f; ++i) {
      const std::int32_t even = weights.feature[c * f + i], odd = weights.feature[(c + 1) * f + i];
      const std::size_t at = c / 2 * f + i;
      feature_high_[at] =
          ((even >> 8) & 0xffff) | static_cast<std::int32_t>(static_cast<std::uint32_t>(odd >> 8) << 16);
      feature_low_[at] = (even & 0xff) | ((odd & 0xff) << 16);
    }
  }
  leads_.resize(static_cast<std::size_t>(shape.key_features()));
  set_state(HeadState(rules.formats, shape));
}

HeadState SimdHead::state(const DatapathRules& rules, const UnitShape& shape) const {
  HeadState out(rules.formats, shape);
  out.words.assign(words_.begin(), words_.end());
  out.exponents.assign(exponents_.begin(), exponents_.end());
  out.norm_words.assign(norm_words_.begin(), norm_words_.end());
  out.norm_exponents.assign(norm_exponents_.begin(), norm_exponents_.end());
  out.q_tail.assign(q_tail_.begin(), q_tail_.end());
  out.k_tail.assign(k_tail_.begin(), k_tail_.end());
  out.tokens = tokens_;
  return out;
}

void SimdHead::set_state(const HeadState& from) {
  words_.resize(from.words.size());
  std::transform(from.words.begin(), from.words.end(), words_.begin(),
                 [](std::int64_t word) { return static_cast<std::int32_t>(word); });
  exponents_.assign(from.exponents.begin(), from.exponents.end());
  norm_words_.assign(from.norm_words.begin(), from.norm_words.end());
  norm_exponents_.assign(from.norm_exponents.begin(), from.norm_exponents.end());
  q_tail_.assign(from.q_tail.begin(), from.q_tail.end());
  k_tail_.assign(from.k_tail.begin(), from.k_tail.end());
  tokens_ = from.tokens;
  const std::size_t d = words_.size() / leads_.size();
  for (std::size_t r = 0; r < leads_.size(); ++r) {
    std::int64_t all = 0;
    for (std::size_t c = 0; c < d; ++c) all |= magnitude_bits(words_[r * d + c]);
    leads_[r] = lead_bits(all);
  }
}

void SimdHead::run(const DatapathRules& rules, const UnitShape& shape, const Job& job, int first_token,
                   const SimdGroupBlock& block, Saturations& saturations) {
  const Datapath& formats = rules.formats;
  const std::int32_t d = shape.head_dim, f = shape.feature_dim, k = 2 * f;
  const auto sat = [&](Point point) -> std::int64_t& { return saturations[static_cast<std::size_t>(point)]; };
  alignas(64) std::int32_t input[2][kMaxD], conv[2][kMaxD], z[2][kMaxF], numerator[kMaxD];
  alignas(64) std::int32_t norm_weight[kMaxK], norm_noise[kMaxK];
  const bool stochastic = formats.state_rounding == Rounding::stochastic;
  RowPlan plan;

  const std::int32_t conv_shift =
      formats.conv_weight.fraction + formats.query_key.fraction - formats.conv.fraction;
  const auto conv_max = static_cast<std::int32_t>(formats.conv.max_mantissa());
  const std::int32_t z_shift =
      formats.conv.fraction + formats.feature_weight.fraction - formats.feature.fraction;
  const auto z_max = static_cast<std::int32_t>(formats.feature.max_mantissa());
  const std::int32_t p = rules.probability_p, gate_p = rules.gate_p, guard = formats.guard_bits;
  const std::int32_t value_fraction = formats.value.fraction;

  for (int t = 0; t < block.count; ++t) {
    const auto token = static_cast<std::size_t>(t);
    const std::size_t at =
        ((static_cast<std::size_t>(first_token) + token) * shape.heads + head_) * static_cast<std::size_t>(d);
    quantise_run(job.q.data() + at, input[0], static_cast<std::size_t>(d), formats.query_key,
                 sat(Point::query));
    std::memcpy(input[1], &block.key[token * static_cast<std::size_t>(d)],
                sizeof(std::int32_t) * static_cast<std::size_t>(d));

    // Convolution.
    for (int side = 0; side < 2; ++side) {
      const std::int32_t* const taps = side == 0 ? q_taps_.data() : k_taps_.data();
      std::int32_t* const tail = side == 0 ? q_tail_.data() : k_tail_.data();
      const std::int32_t* const in = input[side];
      std::int32_t* const out = conv[side];
      std::int64_t& clipped = sat(side == 0 ? Point::conv_query : Point::conv_key);
      for (std::int32_t c = 0; c < d; c += kLanes) {
        Vec sum = load(taps + 3 * d + c) * load(in + c);
        for (std::int32_t j = 0; j < 3; ++j) sum += load(taps + j * d + c) * load(tail + j * d + c);
        store(out + c, clip((sum + (1 << (conv_shift - 1))) >> conv_shift, conv_max, clipped));
      }
      std::memmove(tail, tail + d, sizeof(std::int32_t) * 2 * static_cast<std::size_t>(d));
      std::memcpy(tail + 2 * d, in, sizeof(std::int32_t) * static_cast<std::size_t>(d));
    }

    // Feature map: q and k together, so that each weight is loaded once.
    for (std::int32_t i = 0; i < f; i += kLanes) {
      Vec high_q{}, low_q{}, high_k{}, low_k{};
      for (std::int32_t c = 0; c < d / 2; ++c) {
        const Vec high = load(&feature_high_[static_cast<std::size_t>(c * f + i)]);
        const Vec low = load(&feature_low_[static_cast<std::size_t>(c * f + i)]);
        const auto pair = [c](const std::int32_t* x) {
          return splat((x[2 * c] & 0xffff) |
                       static_cast<std::int32_t>(static_cast<std::uint32_t>(x[2 * c + 1]) << 16));
        };
        const Vec q = pair(conv[0]), key = pair(conv[1]);
        high_q = pair_multiply_add(high_q, high, q);
        low_q = pair_multiply_add(low_q, low, q);
        high_k = pair_multiply_add(high_k, high, key);
        low_k = pair_multiply_add(low_k, low, key);
      }
      const std::int32_t half = 1 << (z_shift - 1);
      store(z[0] + i,
            clip((high_q + ((low_q + half) >> 8)) >> (z_shift - 8), z_max, sat(Point::feature_query)));
      store(z[1] + i,
            clip((high_k + ((low_k + half) >> 8)) >> (z_shift - 8), z_max, sat(Point::feature_key)));
    }
    dual_softmax_run(rules, z[0], f, plan.phi_q_m, plan.phi_q_e);
    dual_softmax_run(rules, z[1], f, plan.phi_k_m, plan.phi_k_e);

    const std::int32_t* const gate_factor = &block.gate_factor[token * static_cast<std::size_t>(k)];
    const std::int32_t* const gate_exponent = &block.gate_exponent[token * static_cast<std::size_t>(k)];
    const std::int32_t* const gate_near_one = &block.gate_near_one[token * static_cast<std::size_t>(k)];
    const std::int32_t value_lead = block.value_lead[token];

    if (stochastic) {
      const std::uint32_t token_key = random_token_key(head_, tokens_);
      for (std::int32_t r = 0; r < k; r += kLanes) {
        const Vec keys = row_keys(token_key, r);
        store(plan.key + r, keys);
        // The normaliser's element is column 0 of the complemented key: no rotation, no flip.
        store(norm_noise + r, (Vec)((Unsigned)~keys >> (32 - guard)));
      }
    }

    // The normaliser column: one element per row, in 64 bits.
    {
      const Format& format = formats.normaliser;
      const std::int64_t most = format.max_mantissa();
      const auto widen = [](const std::int32_t* from) {
        return __builtin_convertvector(load<Narrow>(from), Wide);
      };
      Wide clipped{};
      for (std::int32_t r = 0; r < k; r += kWideLanes) {
        const Wide near_one = widen(gate_near_one + r), ge = widen(gate_exponent + r);
        const Wide phi_m = widen(plan.phi_k_m + r), phi_e = widen(plan.phi_k_e + r);
        const Wide word = load<Wide>(norm_words_.data() + r);
        const Wide e = widen(norm_exponents_.data() + r);
        const Wide sign = word >> 63;
        const Wide lead = bit_width((word ^ sign) | (sign & 1));
        const Wide old_bound = lead == 0 ? Wide{} + kEmptyRow : e + lead + (ge & ~near_one);
        const Wide bound = max(old_bound, phi_e + 1);
        const Wide next = min(max(bound + (2 - format.width), Wide{} + format.min_exponent()),
                              Wide{} + format.max_exponent());
        const Wide unit = next - guard;
        const Wide old = shift_half_up(word, unit - e) & near_one;
        const Wide decay = shift_half_up(word * widen(gate_factor + r), unit - (e + ge - gate_p));
        const Wide added = shift_half_up(phi_m, unit - (phi_e - p));
        const Wide sum = old + decay + added;
        const Wide up = stochastic ? __builtin_convertvector(load<Narrow>(norm_noise + r), Wide)
                                   : ((sum >> guard) & 1) + ((1 << (guard - 1)) - 1);
        const Wide rounded = (sum + up) >> guard;
        const Wide value = min(max(rounded, Wide{} + (-most - 1)), Wide{} + most);
        clipped -= value != rounded;
        store(norm_words_.data() + r, value);
        store(norm_exponents_.data() + r, __builtin_convertvector(next, Narrow));
      }
      for (int i = 0; i < kWideLanes; ++i) sat(Point::normaliser) += clipped[i];
    }

    // Scalars of the rows.
    {
      const Format& format = formats.state;
      const Vec has_value = splat(value_lead == 0 ? 0 : -1);
      for (std::int32_t r = 0; r < k; r += kLanes) {
        const Vec near_one = load(gate_near_one + r), ge = load(gate_exponent + r),
                  factor = load(gate_factor + r);
        const Vec phi_e = load(plan.phi_k_e + r);
        const Vec e = load(exponents_.data() + r), lead = load(leads_.data() + r);
        const Vec old_bound = lead == 0 ? splat(kEmptyRow) : e + lead + (ge & ~near_one);
        const Vec new_bound = has_value ? phi_e + (value_lead - value_fraction) : splat(kEmptyRow);
        const Vec bound = max(old_bound, new_bound);
        const Vec next =
            min(max(bound + (2 - format.width), splat(format.min_exponent())), splat(format.max_exponent()));
        const Vec unit = next - guard;
        // Shifts by 31 give zero; so do terms that must not be seen.
        const Vec zero = splat(31);
        const Vec n_old = near_one ? min(unit - e, zero) : zero;
        const Vec n_decay = factor == 0 ? zero : min(unit - (e + ge - gate_p), zero);
        const Vec n_new = has_value ? min(unit - (phi_e - (p + value_fraction)), zero) : zero;
        // Then the sum is the old word with zeros below it, which every rounding gives back.
        const Vec unchanged = near_one & (next == e) & (lead + gate_p < n_decay) & (p + value_lead < n_new);
        store(plan.readable + r, bound == kEmptyRow ? splat(kEmptyRow) : next);
        store(plan.shift_old + r, n_old);
        store(plan.shift_decay + r, n_decay);
        store(plan.shift_new + r, n_new);
        store(plan.still + r, unchanged | (bound == kEmptyRow));
        store(exponents_.data() + r, next);
      }
    }

    const int denominator_exponent =
        align_readout_run(rules, k, plan.phi_q_m, plan.phi_q_e, norm_exponents_.data(), norm_weight);
    const int numerator_exponent =
        align_readout_run(rules, k, plan.phi_q_m, plan.phi_q_e, plan.readable, plan.weight);
    std::int64_t denominator = 0;
    for (std::int32_t r = 0; r < k; ++r)
      denominator += norm_weight[r] * norm_words_[static_cast<std::size_t>(r)];

    const auto update = [&]<int NV>() {
      const auto rows = stochastic ? update_rows<NV, true> : update_rows<NV, false>;
      rows(rules, k, plan, gate_factor, &block.value[token * static_cast<std::size_t>(d)], words_.data(),
           leads_.data(), numerator, sat(Point::state));
    };
    constexpr int k32 = 32 / kLanes;
    switch (d / 32) {
      case 1:
        update.operator()<k32>();
        break;
      case 2:
        update.operator()<2 * k32>();
        break;
      case 3:
        update.operator()<3 * k32>();
        break;
      default:
        update.operator()<4 * k32>();
    }
    ++tokens_;

    const UnsignedFloat inverse = denominator > 0
                                      ? reciprocal(rules.reciprocal, denominator, denominator_exponent, p)
                                      : UnsignedFloat{};
    round_output_run(rules, numerator, d, numerator_exponent, inverse, job.o.data() + at, sat(Point::output));
  }
}

}  // namespace lawcat

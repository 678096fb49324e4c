// SPDX-License-Identifier: Apache-2.0
// The bit-true definition of the unit's arithmetic (steps 3-8 of the LAWCAT layer), one head and one token at
// a time, in plain 64-bit integers. Every other integer form is held to this one bit for bit.
//
// The state of a head is K rows of D mantissas and K normalisers. A row update is one read-modify-write:
//   old, decayed and new term are aligned to 2^-guard_bits of the row's last bit, added, rounded once.
// Block floating point: before a row is touched its new exponent is known from scalars alone,
//   e' = max(old bound, new bound) + 1 - (W - 1)
//   old bound = e + lead bits of the row's OR (+ exponent of a, when the gate forgets)
//   new bound = exponent of phi + lead bits of the token's values
// so no lane waits for another, nothing can overflow, and a row that fades gets its precision back.
// Read-out: the weights phi(q) 2^e' of a token are aligned to each other once (they are scalars), scaled so
// that they sum to less than 2^readout_weight_bits; lanes then multiply and add integers.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "hostlib/arch/preset.h"
#include "hostlib/backend/job.h"
#include "hostlib/numerics/functions.h"

namespace lawcat {

/// Points of the datapath at which ranges, saturations and differences are reported, in order.
enum class Point {
  query,
  key,
  value,
  gate_logit,
  conv_weight,
  feature_weight,
  conv_query,
  conv_key,
  feature_query,
  feature_key,
  probability_query,
  probability_key,
  gate,
  normaliser,
  state,
  denominator,
  numerator,
  output,
};
inline constexpr int kPointCount = static_cast<int>(Point::output) + 1;
std::string_view to_string(Point point);

/// Values that a format could not hold, by point.
using Saturations = std::array<std::int64_t, kPointCount>;

/// What one step of one head computed at each point, as real numbers (for diagnosis).
struct HeadTrace {
  std::array<std::vector<double>, kPointCount> values;
  std::vector<double>& at(Point point) { return values[static_cast<std::size_t>(point)]; }
  const std::vector<double>& at(Point point) const { return values[static_cast<std::size_t>(point)]; }
};

/// A preset's formats with everything that is derived from them once.
struct DatapathRules {
  explicit DatapathRules(const Datapath& datapath);

  Datapath formats;
  Exp2Table exp2;
  ReciprocalTable reciprocal;
  GateTable gate;
  int probability_p;        ///< precision of phi
  int probability_min;      ///< smallest exponent of phi
  int gate_p;               ///< precision of the gate
  UnsignedFloat phi_floor;  ///< the clamp of phi at 1e-12
};

/// Rounds a real number to a fixed format: to nearest, ties to even, saturating.
std::int32_t quantise(double x, const Format& format, std::int64_t& saturations);

/// Weights of one head as integers of their formats.
struct HeadWeights {
  HeadWeights(const DatapathRules& rules, const UnitShape& shape, const UnitWeights& weights, int head,
              Saturations& saturations);
  std::vector<std::int32_t> q_taps;   ///< [D, 4]
  std::vector<std::int32_t> k_taps;   ///< [D, 4]
  std::vector<std::int32_t> feature;  ///< [D, F]
};

/// What the G heads of a group share of one token.
struct GroupToken {
  std::vector<std::int32_t> key;     ///< [D]
  std::vector<std::int32_t> value;   ///< [D]
  int value_lead = 0;                ///< lead bits of the OR over `value`
  std::vector<std::int32_t> logits;  ///< [K]
  std::vector<Gate> gates;           ///< [K]
};
void quantise_group_token(const DatapathRules& rules, const UnitShape& shape, const Job& job, int token,
                          int kv_head, GroupToken& out, Saturations& saturations);

/// Three past inputs of a convolution, oldest first. [3, D]
using Tail = std::vector<std::int32_t>;

/// State and tails of one head. `words` hold mantissas (with error feedback: and guard bits below them).
struct HeadState {
  HeadState(const Datapath& formats, const UnitShape& shape);
  std::vector<std::int64_t> words;           ///< [K, D]
  std::vector<std::int32_t> exponents;       ///< block: [K]; floating: [K, D]; fixed: empty
  std::vector<std::int64_t> norm_words;      ///< [K]
  std::vector<std::int32_t> norm_exponents;  ///< [K]; fixed: empty
  Tail q_tail, k_tail;
  std::uint32_t tokens = 0;  ///< tokens seen: the counter of stochastic rounding

  /// Real value of state[row, column], column D being the normaliser.
  double real(const Datapath& formats, int row, int column, int head_dim) const;
  /// Rounds real numbers [K, D+1] into the state; tails and counter become zero.
  void assign(const Datapath& formats, const UnitShape& shape, std::span<const double> state,
              Saturations& saturations);
};

/// One token through one head. `query` [D] integers, `output` [D] floats (values of the output format).
/// `head` is only the stochastic rounding's stream. `trace` may be null.
void step_head(const DatapathRules& rules, const UnitShape& shape, const HeadWeights& weights,
               std::uint32_t head, std::span<const std::int32_t> query, const GroupToken& token,
               HeadState& state, std::span<float> output, Saturations& saturations,
               HeadTrace* trace = nullptr);

// Scalar parts that every integer form shares.

/// phi of one head's q or k from z: both softmaxes, [K].
void dual_softmax(const DatapathRules& rules, std::span<const std::int32_t> z, std::span<UnsignedFloat> phi);

/// phi(q) * 2^exponent per row, aligned so that the weights sum to less than about 2^readout_weight_bits;
/// returns the exponent of weight 1. Rows whose `exponent` is kEmptyRow count as zero.
inline constexpr std::int32_t kEmptyRow = -(1 << 20);
int align_readout(const DatapathRules& rules, std::span<const UnsignedFloat> phi,
                  std::span<const std::int32_t> exponents, std::span<std::int32_t> weights);

/// numerator * 2^exponent2 * inverse rounded to the output format.
float round_output(const DatapathRules& rules, std::int64_t numerator, int exponent2, UnsignedFloat inverse,
                   std::int64_t& saturations);

}  // namespace lawcat

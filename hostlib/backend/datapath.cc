// SPDX-License-Identifier: Apache-2.0
// The bit-true definition: see datapath.h.
#include "hostlib/backend/datapath.h"

#include <algorithm>
#include <cmath>

namespace lawcat {
namespace {

__extension__ using Int128 = __int128;

/// State arithmetic of S or of the normaliser.
struct StateRule {
  const Format& format;
  Rounding rounding;
  int guard;
  int phi_p;
  int gate_p;
  /// Bits kept below a stored mantissa's last bit.
  int residual() const { return rounding == Rounding::error_feedback ? guard : 0; }
};

std::int64_t round_state(const StateRule& rule, std::int64_t sum, int n, std::uint32_t random) {
  if (n <= 0) return shift_half_up(sum, n);
  switch (rule.rounding) {
    case Rounding::truncate:
      return shift_truncate(sum, n);
    case Rounding::stochastic:
      return n <= 32 ? shift_stochastic(sum, n, random) : shift_stochastic(sum >> (n - 32), 32, random);
    default:
      return shift_nearest_even(sum, n);
  }
}

/// What multipliers see of a stored word: with error feedback its leading bits, rounded.
std::int64_t multiplicand(const StateRule& rule, std::int64_t word) {
  if (rule.residual() == 0) return word;
  return std::min(shift_half_up(word, rule.residual()), rule.format.max_mantissa());
}

/// Old, decayed and new term in units of 2^unit, added. `exponent` is of the mantissa's last bit.
std::int64_t aligned_sum(const StateRule& rule, std::int64_t word, int exponent, UnsignedFloat phi,
                         const Gate& gate, std::int64_t value, int value_fraction, int unit) {
  // Near one the gate takes 1 - a of the mantissa away, otherwise it gives a of it.
  const std::int64_t factor = gate.near_one ? -gate.factor.mantissa : gate.factor.mantissa;
  const std::int64_t decayed = shift_half_up(multiplicand(rule, word) * factor,
                                             unit - (exponent + gate.factor.exponent - rule.gate_p));
  const std::int64_t added =
      shift_half_up(phi.mantissa * value, unit - (phi.exponent - rule.phi_p - value_fraction));
  const std::int64_t kept = gate.near_one ? shift_half_up(word, unit - (exponent - rule.residual())) : 0;
  return kept + decayed + added;
}

/// Upper bound (a power of two's exponent) of the old content after the gate, or kEmptyRow.
int old_bound(int lead, int exponent, const Gate& gate) {
  if (lead == 0) return kEmptyRow;
  return exponent + lead + (gate.near_one ? 0 : gate.factor.exponent);
}
int new_bound(UnsignedFloat phi, int value_lead, int value_fraction) {
  if (phi.mantissa == 0 || value_lead == 0) return kEmptyRow;
  return phi.exponent + value_lead - value_fraction;
}

/// Rounds sum * 2^unit to a signed float's mantissa and exponent (of its last bit), saturating.
void round_float(const StateRule& rule, std::int64_t sum, int unit, std::uint32_t random, std::int64_t& word,
                 std::int32_t& exponent, std::int64_t& saturations) {
  const Format& format = rule.format;
  const int p = format.precision();
  const int least = format.min_exponent() - format.mantissa_bits;
  if (sum == 0) {
    word = 0;
    exponent = least;
    return;
  }
  int last = std::max(lead_bits(std::abs(sum)) + unit - p, least);
  word = round_state(rule, sum, last - unit, random);
  if (std::abs(word) >> p) {
    word /= 2;  // exact: only a carry gets here
    ++last;
  }
  if (last + format.mantissa_bits > format.max_exponent()) {
    word = word < 0 ? -((std::int64_t{1} << p) - 1) : (std::int64_t{1} << p) - 1;
    last = format.max_exponent() - format.mantissa_bits;
    ++saturations;
  }
  exponent = last;
}

std::int64_t clip_word(const StateRule& rule, std::int64_t word, std::int64_t& saturations) {
  const int residual = rule.residual();
  const std::int64_t max = ((rule.format.max_mantissa() + 1) << residual) - 1;
  const std::int64_t min = rule.format.min_mantissa() * (std::int64_t{1} << residual);
  if (word > max || word < min) {
    ++saturations;
    return word > max ? max : min;
  }
  return word;
}

/// Advances the `words` of one row, which for block formats share `exponents[0]`, for floats have one each.
/// Returns the exponent of the mantissas as the read-out sees them (kEmptyRow when the row holds nothing).
int update_row(const StateRule& rule, std::span<std::int64_t> words, std::span<std::int32_t> exponents,
               UnsignedFloat phi, const Gate& gate, std::span<const std::int32_t> value, int value_lead,
               int value_fraction, std::uint32_t row_key, std::int64_t& saturations) {
  const Format& format = rule.format;
  const int residual = rule.residual();
  const auto random = [&](std::size_t c) { return random_element(row_key, static_cast<std::uint32_t>(c)); };

  if (format.kind == FormatKind::floating) {
    int top = kEmptyRow;
    for (std::size_t c = 0; c < words.size(); ++c) {
      const int bound = std::max(old_bound(lead_bits(std::abs(words[c])), exponents[c], gate),
                                 new_bound(phi, lead_bits(value[c]), value_fraction));
      if (bound == kEmptyRow) {
        round_float(rule, 0, 0, 0, words[c], exponents[c], saturations);
        continue;
      }
      const int unit = bound + 1 - format.precision() - 1 - rule.guard;
      const std::int64_t sum =
          aligned_sum(rule, words[c], exponents[c], phi, gate, value[c], value_fraction, unit);
      round_float(rule, sum, unit, random(c), words[c], exponents[c], saturations);
      if (words[c] != 0) top = std::max(top, exponents[c]);
    }
    return top == kEmptyRow ? kEmptyRow : top - rule.guard;
  }

  int next = -format.fraction;
  int exponent = next;
  bool empty = false;
  if (format.kind == FormatKind::block) {
    std::int64_t all = 0;
    for (const std::int64_t word : words) all |= magnitude_bits(word);
    exponent = exponents[0];
    const int bound = std::max(old_bound(lead_bits(all), exponent - residual, gate),
                               new_bound(phi, value_lead, value_fraction));
    empty = bound == kEmptyRow;
    next = std::clamp(bound + 1 - (format.width - 1), format.min_exponent(), format.max_exponent());
    exponents[0] = next;
  }
  const int unit = next - rule.guard;
  for (std::size_t c = 0; c < words.size(); ++c) {
    const std::int64_t sum = aligned_sum(rule, words[c], exponent, phi, gate, value[c], value_fraction, unit);
    const std::int64_t word = residual != 0 ? sum : round_state(rule, sum, rule.guard, random(c));
    words[c] = clip_word(rule, word, saturations);
  }
  return empty ? kEmptyRow : next;
}

/// Mantissas of a row as the read-out multiplies them, all with the exponent that update_row returned.
std::int64_t readout_mantissa(const StateRule& rule, std::span<const std::int64_t> words,
                              std::span<const std::int32_t> exponents, std::size_t c, int row_exponent) {
  if (rule.format.kind == FormatKind::floating) return shift_half_up(words[c], row_exponent - exponents[c]);
  return multiplicand(rule, words[c]);
}

std::vector<std::int32_t> convolve(const DatapathRules& rules, std::span<const std::int32_t> taps, Tail& tail,
                                   std::span<const std::int32_t> input, std::int64_t& saturations) {
  const std::size_t d = input.size();
  const Format& out = rules.formats.conv;
  const int shift = rules.formats.conv_weight.fraction + rules.formats.query_key.fraction - out.fraction;
  std::vector<std::int32_t> result(d);
  for (std::size_t c = 0; c < d; ++c) {
    std::int64_t sum = static_cast<std::int64_t>(taps[4 * c + 3]) * input[c];
    for (std::size_t j = 0; j < 3; ++j) sum += static_cast<std::int64_t>(taps[4 * c + j]) * tail[j * d + c];
    const Saturated value = saturate(shift_half_up(sum, shift), out);
    saturations += value.clipped;
    result[c] = static_cast<std::int32_t>(value.value);
  }
  std::copy(tail.begin() + static_cast<std::ptrdiff_t>(d), tail.end(), tail.begin());
  std::copy(input.begin(), input.end(), tail.end() - static_cast<std::ptrdiff_t>(d));
  return result;
}

std::vector<std::int32_t> map_features(const DatapathRules& rules, std::span<const std::int32_t> weights,
                                       std::span<const std::int32_t> input, std::size_t f,
                                       std::int64_t& saturations) {
  const Format& out = rules.formats.feature;
  const int shift = rules.formats.conv.fraction + rules.formats.feature_weight.fraction - out.fraction;
  std::vector<std::int32_t> z(f);
  for (std::size_t i = 0; i < f; ++i) {
    std::int64_t sum = 0;
    for (std::size_t c = 0; c < input.size(); ++c)
      sum += static_cast<std::int64_t>(input[c]) * weights[c * f + i];
    const Saturated value = saturate(shift_half_up(sum, shift), out);
    saturations += value.clipped;
    z[i] = static_cast<std::int32_t>(value.value);
  }
  return z;
}

double real(UnsignedFloat x, int p) {
  return std::ldexp(x.mantissa, x.exponent - p);
}

void record(std::vector<double>& out, std::span<const std::int32_t> integers, int fraction) {
  out.clear();
  for (const std::int32_t x : integers) out.push_back(std::ldexp(x, -fraction));
}
void record(std::vector<double>& out, std::span<const UnsignedFloat> floats, int p) {
  out.clear();
  for (const UnsignedFloat& x : floats) out.push_back(real(x, p));
}

}  // namespace

std::string_view to_string(Point point) {
  constexpr std::array<std::string_view, kPointCount> names{
      "query",      "key",        "value",         "gate_logit",  "conv_weight",       "feature_weight",
      "conv_query", "conv_key",   "feature_query", "feature_key", "probability_query", "probability_key",
      "gate",       "normaliser", "state",         "denominator", "numerator",         "output"};
  return names[static_cast<std::size_t>(point)];
}

DatapathRules::DatapathRules(const Datapath& datapath)
    : formats(datapath),
      exp2(make_exp2_table(datapath.exp2_table_bits)),
      reciprocal(make_reciprocal_table(datapath.reciprocal_table_bits)),
      gate(make_gate_table(datapath.gate_table_bits, datapath.exponent_fraction())),
      probability_p(datapath.probability.precision()),
      probability_min(datapath.probability.min_exponent()),
      gate_p(datapath.gate.precision()),
      phi_floor(lawcat::phi_floor(probability_p, probability_min)) {}

std::int32_t quantise(double x, const Format& format, std::int64_t& saturations) {
  const double scaled = std::ldexp(x, format.fraction);
  const auto max = static_cast<double>(format.max_mantissa());
  const auto min = static_cast<double>(format.min_mantissa());
  const double rounded = std::nearbyint(scaled);
  if (rounded > max || rounded < min) {
    ++saturations;
    return static_cast<std::int32_t>(rounded > max ? max : min);
  }
  return static_cast<std::int32_t>(rounded);
}

HeadWeights::HeadWeights(const DatapathRules& rules, const UnitShape& shape, const UnitWeights& weights,
                         int head, Saturations& saturations) {
  const auto d = static_cast<std::size_t>(shape.head_dim);
  const auto take = [&](const std::vector<float>& from, std::size_t count, const Format& format,
                        Point point) {
    std::vector<std::int32_t> out(count);
    for (std::size_t i = 0; i < count; ++i)
      out[i] = quantise(from[static_cast<std::size_t>(head) * count + i], format,
                        saturations[static_cast<std::size_t>(point)]);
    return out;
  };
  q_taps = take(weights.q_conv1d, d * kConvTaps, rules.formats.conv_weight, Point::conv_weight);
  k_taps = take(weights.k_conv1d, d * kConvTaps, rules.formats.conv_weight, Point::conv_weight);
  feature = take(weights.feature_map, d * static_cast<std::size_t>(shape.feature_dim),
                 rules.formats.feature_weight, Point::feature_weight);
}

void quantise_group_token(const DatapathRules& rules, const UnitShape& shape, const Job& job, int token,
                          int kv_head, GroupToken& out, Saturations& saturations) {
  const auto d = static_cast<std::size_t>(shape.head_dim);
  const auto k = static_cast<std::size_t>(shape.key_features());
  const std::size_t at = static_cast<std::size_t>(token) * static_cast<std::size_t>(shape.kv_heads) +
                         static_cast<std::size_t>(kv_head);
  const auto count = [&](Point point) -> std::int64_t& {
    return saturations[static_cast<std::size_t>(point)];
  };
  out.key.resize(d);
  out.value.resize(d);
  out.logits.resize(k);
  out.gates.resize(k);
  std::int64_t all = 0;
  for (std::size_t c = 0; c < d; ++c) {
    out.key[c] = quantise(job.k[at * d + c], rules.formats.query_key, count(Point::key));
    out.value[c] = quantise(job.v[at * d + c], rules.formats.value, count(Point::value));
    all |= magnitude_bits(out.value[c]);
  }
  out.value_lead = lead_bits(all);
  for (std::size_t r = 0; r < k; ++r) {
    out.logits[r] = quantise(job.gk[at * k + r], rules.formats.gate_logit, count(Point::gate_logit));
    out.gates[r] = forget_gate(rules.gate, rules.exp2, out.logits[r], rules.formats.gate_logit.fraction,
                               rules.gate_p, rules.formats.gate.min_exponent());
  }
}

HeadState::HeadState(const Datapath& formats, const UnitShape& shape) {
  const auto d = static_cast<std::size_t>(shape.head_dim);
  const auto k = static_cast<std::size_t>(shape.key_features());
  words.assign(k * d, 0);
  norm_words.assign(k, 0);
  const auto exponents_of = [](const Format& format, std::size_t rows, std::size_t elements) {
    if (format.kind == FormatKind::fixed) return std::vector<std::int32_t>{};
    if (format.kind == FormatKind::block) return std::vector<std::int32_t>(rows, format.min_exponent());
    return std::vector<std::int32_t>(elements, format.min_exponent() - format.mantissa_bits);
  };
  exponents = exponents_of(formats.state, k, k * d);
  norm_exponents = exponents_of(formats.normaliser, k, k);
  q_tail.assign((kConvTaps - 1) * d, 0);
  k_tail.assign((kConvTaps - 1) * d, 0);
}

double HeadState::real(const Datapath& formats, int row, int column, int head_dim) const {
  const bool norm = column == head_dim;
  const Format& format = norm ? formats.normaliser : formats.state;
  const auto r = static_cast<std::size_t>(row);
  const std::size_t i = norm ? r : r * static_cast<std::size_t>(head_dim) + static_cast<std::size_t>(column);
  const auto word = static_cast<double>(norm ? norm_words[i] : words[i]);
  const int residual = formats.state_rounding == Rounding::error_feedback ? formats.guard_bits : 0;
  int exponent = -format.fraction;
  if (format.kind != FormatKind::fixed) {
    const std::size_t e = format.kind == FormatKind::block ? r : i;
    exponent = norm ? norm_exponents[e] : exponents[e];
  }
  return std::ldexp(word, exponent - residual);
}

void HeadState::assign(const Datapath& formats, const UnitShape& shape, std::span<const double> state,
                       Saturations& saturations) {
  *this = HeadState(formats, shape);
  const auto d = static_cast<std::size_t>(shape.head_dim);
  const int residual = formats.state_rounding == Rounding::error_feedback ? formats.guard_bits : 0;
  const auto put = [&](const Format& format, std::span<const double> from, std::span<std::int64_t> to,
                       std::int32_t* exponent, std::int64_t& count) {
    if (format.kind == FormatKind::floating) {
      for (std::size_t i = 0; i < from.size(); ++i) {
        int lead = 0;
        const double fraction = std::frexp(from[i], &lead);
        const StateRule rule{format, Rounding::nearest_even, 0, 0, 0};
        round_float(rule, static_cast<std::int64_t>(std::ldexp(fraction, 53)), lead - 53, 0, to[i],
                    exponent[i], count);
      }
      return;
    }
    int e = -format.fraction;
    if (format.kind == FormatKind::block) {
      double largest = 0;
      for (const double x : from) largest = std::max(largest, std::abs(x));
      if (largest == 0) return;
      int lead = 0;
      std::frexp(largest, &lead);
      e = std::clamp(lead + 1 - (format.width - 1), format.min_exponent(), format.max_exponent());
      *exponent = e;
    }
    for (std::size_t i = 0; i < from.size(); ++i) {
      const double scaled = std::nearbyint(std::ldexp(from[i], residual - e));
      const double max = std::ldexp(1.0, format.width - 1 + residual) - 1;
      const double clipped = std::clamp(scaled, -max - 1, max);
      count += clipped != scaled;
      to[i] = static_cast<std::int64_t>(clipped);
    }
  };
  std::vector<double> row(d);
  for (std::size_t r = 0; r < norm_words.size(); ++r) {
    const auto from = state.subspan(r * (d + 1), d + 1);
    std::int32_t* exponent = nullptr;
    if (formats.state.kind != FormatKind::fixed)
      exponent = &exponents[formats.state.kind == FormatKind::block ? r : r * d];
    put(formats.state, from.first(d), std::span(words).subspan(r * d, d), exponent,
        saturations[static_cast<std::size_t>(Point::state)]);
    put(formats.normaliser, from.last(1), std::span(norm_words).subspan(r, 1),
        formats.normaliser.kind == FormatKind::fixed ? nullptr : &norm_exponents[r],
        saturations[static_cast<std::size_t>(Point::normaliser)]);
  }
}

void dual_softmax(const DatapathRules& rules, std::span<const std::int32_t> z, std::span<UnsignedFloat> phi) {
  const std::size_t f = z.size();
  const int p = rules.probability_p;
  const int fraction = rules.formats.feature.fraction;
  const int constant_fraction = fraction + 5;
  const std::int64_t constant = log2e_constant(constant_fraction);
  const std::int64_t limit = (std::int64_t{1} << (fraction + 6)) - 1;  // 2^-92 and below are all the clamp
  const auto [low, high] = std::minmax_element(z.begin(), z.end());
  const int sum_fraction = p + 4;
  for (int side = 0; side < 2; ++side) {
    const auto out = phi.subspan(side == 0 ? 0 : f, f);
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < f; ++i) {
      const std::int64_t below = std::min<std::int64_t>(side == 0 ? *high - z[i] : z[i] - *low, limit);
      const std::int64_t y =
          shift_half_up(below * constant, fraction + constant_fraction - rules.formats.exponent_fraction());
      out[i] = exp2_negative(rules.exp2, y, rules.formats.exponent_fraction(), p, rules.probability_min);
      sum += shift_half_up(out[i].mantissa, p - out[i].exponent - sum_fraction);
    }
    const UnsignedFloat inverse = reciprocal(rules.reciprocal, sum, -sum_fraction, p);
    for (UnsignedFloat& x : out) {
      x = multiply(x, inverse, p, rules.probability_min);
      const bool below_floor =
          x.exponent < rules.phi_floor.exponent ||
          (x.exponent == rules.phi_floor.exponent && x.mantissa < rules.phi_floor.mantissa);
      if (x.mantissa == 0 || below_floor) x = rules.phi_floor;
    }
  }
}

int align_readout(const DatapathRules& rules, std::span<const UnsignedFloat> phi,
                  std::span<const std::int32_t> exponents, std::span<std::int32_t> weights) {
  int top = kEmptyRow;
  for (std::size_t r = 0; r < phi.size(); ++r)
    if (exponents[r] != kEmptyRow) top = std::max(top, phi[r].exponent + exponents[r]);
  if (top == kEmptyRow) {
    std::fill(weights.begin(), weights.end(), 0);
    return 0;
  }
  std::int64_t sum = 0;
  for (std::size_t r = 0; r < phi.size(); ++r)
    if (exponents[r] != kEmptyRow)
      sum += shift_truncate(phi[r].mantissa, top - phi[r].exponent - exponents[r]);
  const int bits = rules.formats.readout_weight_bits;
  const int scale = lead_bits(sum) - bits;
  const std::int64_t most = (std::int64_t{1} << bits) - 1;
  for (std::size_t r = 0; r < phi.size(); ++r)
    weights[r] =
        exponents[r] == kEmptyRow
            ? 0
            : static_cast<std::int32_t>(std::min(
                  shift_half_up(phi[r].mantissa, top - phi[r].exponent - exponents[r] + scale), most));
  return top + scale - rules.probability_p;
}

float round_output(const DatapathRules& rules, std::int64_t numerator, int exponent2, UnsignedFloat inverse,
                   std::int64_t& saturations) {
  const Format& format = rules.formats.output;
  const Int128 product = static_cast<Int128>(numerator) * inverse.mantissa;
  if (product == 0) return 0.0F;
  const bool negative = product < 0;
  const Int128 magnitude = negative ? -product : product;
  const auto high = static_cast<std::uint64_t>(magnitude >> 64);
  const int lead = static_cast<int>(high != 0 ? 64 + std::bit_width(high)
                                              : std::bit_width(static_cast<std::uint64_t>(magnitude)));
  const int exponent = exponent2 + inverse.exponent - rules.probability_p;  // of the product's last bit
  int last = -format.fraction;  // exponent of the result's last bit
  if (format.kind == FormatKind::floating)
    last = std::max(lead + exponent - format.precision(), format.min_exponent() - format.mantissa_bits);
  const int n = last - exponent;
  std::int64_t rounded = 0;
  if (n <= 0) {
    if (lead - n > 62) {
      rounded = std::int64_t{1} << 62;  // far beyond any format: saturates below
    } else {
      rounded = static_cast<std::int64_t>(magnitude) << -n;
    }
  } else if (n < 126) {
    rounded =
        static_cast<std::int64_t>((magnitude + ((Int128{1} << (n - 1)) - 1) + ((magnitude >> n) & 1)) >> n);
  }
  double value = std::ldexp(static_cast<double>(rounded), last);
  const double most = format.kind == FormatKind::fixed
                          ? std::ldexp(static_cast<double>(format.max_mantissa()), -format.fraction)
                          : std::ldexp(2.0 - std::ldexp(1.0, -format.mantissa_bits), format.max_exponent());
  if (value > most) {
    value = most;
    ++saturations;
  }
  return static_cast<float>(negative ? -value : value);
}

void step_head(const DatapathRules& rules, const UnitShape& shape, const HeadWeights& weights,
               std::uint32_t head, std::span<const std::int32_t> query, const GroupToken& token,
               HeadState& state, std::span<float> output, Saturations& saturations, HeadTrace* trace) {
  const Datapath& formats = rules.formats;
  const auto d = static_cast<std::size_t>(shape.head_dim);
  const auto f = static_cast<std::size_t>(shape.feature_dim);
  const std::size_t k = 2 * f;
  const int p = rules.probability_p;
  const auto count = [&](Point point) -> std::int64_t& {
    return saturations[static_cast<std::size_t>(point)];
  };

  // Convolution, feature map, dual softmax.
  const auto conv_q = convolve(rules, weights.q_taps, state.q_tail, query, count(Point::conv_query));
  const auto conv_k = convolve(rules, weights.k_taps, state.k_tail, token.key, count(Point::conv_key));
  const auto z_q = map_features(rules, weights.feature, conv_q, f, count(Point::feature_query));
  const auto z_k = map_features(rules, weights.feature, conv_k, f, count(Point::feature_key));
  std::vector<UnsignedFloat> phi_q(k), phi_k(k);
  dual_softmax(rules, z_q, phi_q);
  dual_softmax(rules, z_k, phi_k);

  // State update: the normaliser column first, then the rows.
  const StateRule norm_rule{formats.normaliser, formats.state_rounding, formats.guard_bits, p, rules.gate_p};
  const StateRule rule{formats.state, formats.state_rounding, formats.guard_bits, p, rules.gate_p};
  constexpr std::array<std::int32_t, 1> one{1};
  std::vector<std::int32_t> norm_exponents(k), row_exponents(k), norm_weights(k), row_weights(k);
  const auto row_exponent_span = [&](std::size_t r) {
    if (formats.state.kind == FormatKind::fixed) return std::span<std::int32_t>{};
    if (formats.state.kind == FormatKind::block) return std::span(state.exponents).subspan(r, 1);
    return std::span(state.exponents).subspan(r * d, d);
  };
  const auto norm_exponent_span = [&](std::size_t r) {
    return formats.normaliser.kind == FormatKind::fixed ? std::span<std::int32_t>{}
                                                        : std::span(state.norm_exponents).subspan(r, 1);
  };
  const std::uint32_t token_key = random_token_key(head, state.tokens);
  for (std::size_t r = 0; r < k; ++r) {
    const std::uint32_t key = random_row_key(token_key, static_cast<std::uint32_t>(r));
    norm_exponents[r] =
        update_row(norm_rule, std::span(state.norm_words).subspan(r, 1), norm_exponent_span(r), phi_k[r],
                   token.gates[r], one, 1, 0, ~key, count(Point::normaliser));
    row_exponents[r] = update_row(rule, std::span(state.words).subspan(r * d, d), row_exponent_span(r),
                                  phi_k[r], token.gates[r], token.value, token.value_lead,
                                  formats.value.fraction, key, count(Point::state));
  }
  ++state.tokens;

  // Read-out.
  const int denominator_exponent = align_readout(rules, phi_q, norm_exponents, norm_weights);
  const int numerator_exponent = align_readout(rules, phi_q, row_exponents, row_weights);
  std::int64_t denominator = 0;
  std::vector<std::int64_t> numerator(d, 0);
  for (std::size_t r = 0; r < k; ++r) {
    denominator += norm_weights[r] * readout_mantissa(norm_rule, std::span(state.norm_words).subspan(r, 1),
                                                      norm_exponent_span(r), 0, norm_exponents[r]);
    for (std::size_t c = 0; row_weights[r] != 0 && c < d; ++c)
      numerator[c] += row_weights[r] * readout_mantissa(rule, std::span(state.words).subspan(r * d, d),
                                                        row_exponent_span(r), c, row_exponents[r]);
  }

  // Normalise. A denominator of zero means that nothing was ever written.
  const UnsignedFloat inverse =
      denominator > 0 ? reciprocal(rules.reciprocal, denominator, denominator_exponent, p) : UnsignedFloat{};
  for (std::size_t c = 0; c < d; ++c)
    output[c] = round_output(rules, numerator[c], numerator_exponent, inverse, count(Point::output));

  if (trace == nullptr) return;
  record(trace->at(Point::query), query, formats.query_key.fraction);
  record(trace->at(Point::key), token.key, formats.query_key.fraction);
  record(trace->at(Point::value), token.value, formats.value.fraction);
  record(trace->at(Point::gate_logit), token.logits, formats.gate_logit.fraction);
  record(trace->at(Point::conv_query), conv_q, formats.conv.fraction);
  record(trace->at(Point::conv_key), conv_k, formats.conv.fraction);
  record(trace->at(Point::feature_query), z_q, formats.feature.fraction);
  record(trace->at(Point::feature_key), z_k, formats.feature.fraction);
  record(trace->at(Point::probability_query), phi_q, p);
  record(trace->at(Point::probability_key), phi_k, p);
  auto& gates = trace->at(Point::gate);
  gates.clear();
  for (const Gate& gate : token.gates)
    gates.push_back(gate.near_one ? 1 - real(gate.factor, rules.gate_p) : real(gate.factor, rules.gate_p));
  auto& norm = trace->at(Point::normaliser);
  auto& rows = trace->at(Point::state);
  norm.clear();
  rows.clear();
  for (int r = 0; r < shape.key_features(); ++r) {
    norm.push_back(state.real(formats, r, shape.head_dim, shape.head_dim));
    for (int c = 0; c < shape.head_dim; ++c) rows.push_back(state.real(formats, r, c, shape.head_dim));
  }
  trace->at(Point::denominator) = {std::ldexp(static_cast<double>(denominator), denominator_exponent)};
  auto& numerators = trace->at(Point::numerator);
  numerators.clear();
  for (const std::int64_t x : numerator)
    numerators.push_back(std::ldexp(static_cast<double>(x), numerator_exponent));
  trace->at(Point::output).assign(output.begin(), output.end());
}

}  // namespace lawcat

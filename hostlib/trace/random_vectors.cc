// SPDX-License-Identifier: Apache-2.0
// Generator of random unit vectors.
#include "hostlib/trace/random_vectors.h"

#include <cmath>

#include "hostlib/io/error.h"
#include "hostlib/io/interrupt.h"
#include "hostlib/trace/random.h"

namespace lawcat {

GateRegime parse_gate_regime(std::string_view text) {
  if (text == "plain") return GateRegime::plain;
  if (text == "long") return GateRegime::long_;
  if (text == "spiky") return GateRegime::spiky;
  throw InputError("gate regime", "plain, long or spiky", std::string(text));
}

UnitVectors random_vectors(const UnitShape& shape, int tokens, GateRegime regime, std::uint64_t seed) {
  validate(shape);
  if (tokens < 1) throw InputError("random vectors: tokens", "at least 1", std::to_string(tokens));
  const auto size = [](auto... factors) { return (static_cast<std::size_t>(factors) * ...); };
  const auto fill = [seed](std::uint64_t stream, std::size_t count, double mean, double deviation) {
    Random random(seed, stream);
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (i % (1 << 20) == 0) check_interrupt();
      values[i] = static_cast<float>(mean + deviation * random.normal());
    }
    return values;
  };
  const int d = shape.head_dim;
  UnitVectors vectors{
      .shape = shape, .tokens = tokens, .weights = {}, .q = {}, .k = {}, .v = {}, .gk = {}, .state = {}};
  vectors.q = fill(1, size(tokens, shape.heads, d), 0, 1);
  vectors.k = fill(2, size(tokens, shape.kv_heads, d), 0, 1);
  vectors.v = fill(3, size(tokens, shape.kv_heads, d), 0, 1);
  vectors.gk = fill(4, size(tokens, shape.kv_heads, shape.key_features()),
                    regime == GateRegime::long_ ? 9 : 0, regime == GateRegime::spiky ? 8 : 2);
  const auto taps = [&](std::uint64_t stream) {
    std::vector<float> values = fill(stream, size(shape.heads, d, kConvTaps), 0, 0.1);
    for (std::size_t i = kConvTaps - 1; i < values.size(); i += kConvTaps) values[i] += 1;
    return values;
  };
  vectors.weights.q_conv1d = taps(5);
  vectors.weights.k_conv1d = taps(6);
  // Columns of independent entries of variance 1/D are orthonormal up to 1/sqrt(D).
  vectors.weights.feature_map = fill(7, size(shape.heads, d, shape.feature_dim), 0, 1 / std::sqrt(d));
  return vectors;
}

}  // namespace lawcat

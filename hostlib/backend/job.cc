// SPDX-License-Identifier: Apache-2.0
// Checks of what is put to the unit.
#include "hostlib/backend/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "hostlib/io/error.h"

namespace lawcat {
namespace {

/// One pass without early exit, so that the common case is vectorised; the place is found afterwards.
bool all_finite(std::span<const float> values) {
  float sum = 0;
  for (const float x : values) sum += x * 0.0F;  // 0, or NaN for infinities and NaN
  return sum == 0.0F;
}

void require_weights(std::string_view name, const std::vector<float>& values, std::size_t size) {
  if (values.size() != size)
    throw InputError(fmt::format("unit weights {}", name), fmt::format("{} values", size),
                     fmt::format("{}", values.size()));
  if (all_finite(values)) return;
  const auto bad = std::find_if_not(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
  throw InputError(fmt::format("unit weights {}[{}]", name, bad - values.begin()), "a finite number",
                   fmt::format("{}", *bad));
}

void require_input(std::string_view name, std::span<const float> values, int tokens, int heads,
                   int channels) {
  const std::size_t size = static_cast<std::size_t>(tokens) * heads * channels;
  if (values.size() != size)
    throw InputError(fmt::format("job input {}", name),
                     fmt::format("[{}, {}, {}] = {} values", tokens, heads, channels, size),
                     fmt::format("{}", values.size()));
  if (all_finite(values)) return;
  const auto bad = std::find_if_not(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
  const auto at = static_cast<std::size_t>(bad - values.begin());
  throw InputError(fmt::format("job input {}[token {}, head {}, channel {}]", name, at / (heads * channels),
                               at / channels % heads, at % channels),
                   "a finite number", fmt::format("{}", *bad));
}

}  // namespace

void validate(const UnitShape& shape) {
  const auto require = [](std::string_view field, int value) {
    if (value < 1 || value > 65536)
      throw InputError(fmt::format("unit shape: {}", field), "1 to 65536", fmt::format("{}", value));
  };
  require("heads", shape.heads);
  require("kv_heads", shape.kv_heads);
  require("head_dim", shape.head_dim);
  require("feature_dim", shape.feature_dim);
  if (shape.heads % shape.kv_heads != 0)
    throw InputError("unit shape: heads", fmt::format("a multiple of kv_heads = {}", shape.kv_heads),
                     fmt::format("{}", shape.heads));
}

void validate(const UnitShape& shape, const UnitWeights& weights) {
  const auto channels = static_cast<std::size_t>(shape.heads) * shape.head_dim;
  require_weights("q_conv1d", weights.q_conv1d, channels * kConvTaps);
  require_weights("k_conv1d", weights.k_conv1d, channels * kConvTaps);
  require_weights("feature_map", weights.feature_map, channels * shape.feature_dim);
}

void validate(const UnitShape& shape, const Job& job) {
  if (job.tokens < 0) throw InputError("job: tokens", "0 or more", fmt::format("{}", job.tokens));
  if (job.layer < 0) throw InputError("job: layer", "0 or more", fmt::format("{}", job.layer));
  if (job.timing_only()) return;
  require_input("q", job.q, job.tokens, shape.heads, shape.head_dim);
  require_input("k", job.k, job.tokens, shape.kv_heads, shape.head_dim);
  require_input("v", job.v, job.tokens, shape.kv_heads, shape.head_dim);
  require_input("gk", job.gk, job.tokens, shape.kv_heads, shape.key_features());
  const std::size_t outputs = static_cast<std::size_t>(job.tokens) * shape.heads * shape.head_dim;
  if (job.o.size() != outputs)
    throw InputError("job output o", fmt::format("{} values", outputs), fmt::format("{}", job.o.size()));
}

}  // namespace lawcat

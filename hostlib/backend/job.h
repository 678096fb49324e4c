// SPDX-License-Identifier: Apache-2.0
// The question put to the unit: shapes, weights and one run of tokens (steps 3-8 of the LAWCAT layer).
#pragma once

#include <span>
#include <vector>

namespace lawcat {

/// Taps of the causal depthwise convolution; tap 3 meets the current token.
inline constexpr int kConvTaps = 4;

/// Geometry of one layer's attention as the unit sees it. H = heads, Hkv = kv_heads, D = head_dim,
/// F = feature_dim, K = key_features() = 2F, G = group() = H / Hkv.
struct UnitShape {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int feature_dim = 0;

  int group() const { return heads / kv_heads; }
  int key_features() const { return 2 * feature_dim; }
  bool operator==(const UnitShape&) const = default;
};

/// Throws InputError unless all fields are positive and heads is a multiple of kv_heads.
void validate(const UnitShape& shape);

/// Weights of one layer's unit, float32 and row-major as in the checkpoint.
struct UnitWeights {
  std::vector<float> q_conv1d;     ///< [H*D, 4]
  std::vector<float> k_conv1d;     ///< [H*D, 4], one set of taps per query head on the shared k
  std::vector<float> feature_map;  ///< [H, D, F], shared by q and k
};

/// Throws InputError unless every tensor has its size and all values are finite.
void validate(const UnitShape& shape, const UnitWeights& weights);

/// One call of the unit: `tokens` consecutive tokens of one sequence through one layer. The session that
/// runs it continues from the state and convolution tails that the previous job of this layer left.
/// With all spans empty the job asks for timing only (a backend without time refuses it).
struct Job {
  int layer = 0;
  int tokens = 0;               ///< T
  std::span<const float> q{};   ///< [T, H, D]
  std::span<const float> k{};   ///< [T, Hkv, D]
  std::span<const float> v{};   ///< [T, Hkv, D]
  std::span<const float> gk{};  ///< [T, Hkv, K], gate logits
  std::span<float> o{};         ///< [T, H, D], written

  bool timing_only() const { return q.empty() && k.empty() && v.empty() && gk.empty() && o.empty(); }
};

/// Throws InputError, naming tensor, token, head and channel, unless spans fit the shape and every
/// input is finite.
void validate(const UnitShape& shape, const Job& job);

}  // namespace lawcat

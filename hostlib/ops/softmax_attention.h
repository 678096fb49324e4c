// SPDX-License-Identifier: Apache-2.0
// Causal softmax attention with grouped heads, an optional sliding window, and its key-value cache.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace lawcat {

/// Softmax attention of one layer and one sequence. Memory: 8 * Hkv * D bytes per token kept, and up to half
/// as much again as room to grow; with a window, about twice the window is kept, otherwise every token.
class SoftmaxAttention {
 public:
  /// With `window` w a token sees itself and the w - 1 tokens before it.
  SoftmaxAttention(int heads, int kv_heads, int head_dim, std::optional<int> window);

  /// Room for `tokens` more tokens, so that a long prompt does not move the cache as it grows, nor each of
  /// the tokens that follow it one by one.
  void reserve(std::int64_t tokens);

  /// Appends k, v [tokens, Hkv, D] to the cache and writes o [tokens, H, D] for q [tokens, H, D].
  void run(std::span<const float> q, std::span<const float> k, std::span<const float> v, std::span<float> o);

 private:
  /// Output of queries [query, query + count) of one head; `queries` tokens are new in the cache.
  void attend(const float* q, float* o, int head, std::int64_t query, std::int64_t count,
              std::int64_t queries) const;

  int heads_;
  int kv_heads_;
  int head_dim_;
  std::optional<int> window_;
  std::vector<float> keys_;    // [tokens kept, Hkv, D]
  std::vector<float> values_;  // [tokens kept, Hkv, D]
};

}  // namespace lawcat

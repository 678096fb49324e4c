// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding in the layout of Hugging Face checkpoints: channel i turns with channel i + D/2.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace lawcat {

/// The `llama3` scaling of frequencies, fields as in config.json.
struct RopeScaling {
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  double original_max_position_embeddings = 8192;  ///< tokens
};

class Rope {
 public:
  /// `head_dim` even.
  Rope(int head_dim, double theta, const std::optional<RopeScaling>& scaling);

  /// Rotates x [tokens, heads, head_dim] in place; the first token stands at `position`.
  void apply(std::span<float> x, int tokens, std::int64_t position) const;

  /// Radians per token, [head_dim / 2].
  const std::vector<double>& frequencies() const { return frequencies_; }

 private:
  std::vector<double> frequencies_;
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding; angles in double, as positions run to tens of thousands.
#include "hostlib/ops/rope.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>

namespace lawcat {

Rope::Rope(int head_dim, double theta, const std::optional<RopeScaling>& scaling) {
  for (int i = 0; i < head_dim / 2; ++i) {
    double frequency = std::pow(theta, -2.0 * i / head_dim);
    if (scaling) {
      // Turns within the original context: few are slowed by `factor`, many are kept, between is linear.
      const double turns = scaling->original_max_position_embeddings * frequency / (2 * std::numbers::pi);
      const double keep = std::clamp(
          (turns - scaling->low_freq_factor) / (scaling->high_freq_factor - scaling->low_freq_factor), 0.0,
          1.0);
      frequency *= keep + (1 - keep) / scaling->factor;
    }
    frequencies_.push_back(frequency);
  }
}

void Rope::apply(std::span<float> x, int tokens, std::int64_t position) const {
  const std::int64_t half = std::ssize(frequencies_);
  const std::int64_t row = std::ssize(x) / tokens;
  assert(std::ssize(x) == row * tokens && row % (2 * half) == 0);
#pragma omp parallel if (tokens > 16)
  {
    std::vector<float> cosine(static_cast<std::size_t>(half)), sine(cosine);
#pragma omp for
    for (int t = 0; t < tokens; ++t) {
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(position + t) * frequencies_[i];
        cosine[i] = static_cast<float>(std::cos(angle));
        sine[i] = static_cast<float>(std::sin(angle));
      }
      for (float* head = x.data() + t * row; head != x.data() + (t + 1) * row; head += 2 * half)
        for (std::int64_t i = 0; i < half; ++i) {
          const float a = head[i];
          const float b = head[i + half];
          head[i] = a * cosine[i] - b * sine[i];
          head[i + half] = b * cosine[i] + a * sine[i];
        }
    }
  }
}

}  // namespace lawcat

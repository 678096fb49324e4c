// SPDX-License-Identifier: Apache-2.0
// Random traffic for one tile: shapes, sequences, stalls, loads, clears, resets and malformed packets, all
// from one seed, held to the definition by a Scoreboard.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "tests/rtl/functional_coverage.h"
#include "tests/rtl/scoreboard.h"

namespace lawcat {

/// What the numbers look like.
enum class Regime {
  plain,        ///< of any size
  saturating,   ///< large: every point clips
  gates,        ///< gates at both ends
  zero_values,  ///< nothing is written
  extremes,     ///< least and greatest integers, 0, +-1
};
inline constexpr int kRegimeCount = 5;

class RandomNumbers {
 public:
  RandomNumbers(const Preset& preset, int head_dim, int feature_dim, std::uint64_t seed)
      : preset_(preset), d_(head_dim), f_(feature_dim), random_(seed) {}

  std::uint64_t bits() { return random_(); }
  int below(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }
  bool chance(int percent) { return below(100) < percent; }

  TokenInput token(int slot, int weight_slot, int heads, Regime regime);
  HeadWeights weights(Regime regime);
  /// A context as a LOAD may bring it, not as tokens would leave it.
  HeadState context(Regime regime);

 private:
  std::vector<std::int32_t> vector(int size, const Format& format, Regime regime);

  Preset preset_;
  int d_, f_;
  std::mt19937_64 random_;
};

struct Scenario {
  std::int64_t head_tokens = 0, packets = 0, cycles = 0;
  std::string text;  ///< shape and patterns
};

/// About `budget` cycles of traffic. Throws std::runtime_error, seed and scenario in its text, when the tile
/// differs.
Scenario run_scenario(const RtlLibrary& library, const Preset& preset, std::uint64_t seed,
                      std::int64_t budget, FunctionalCoverage& coverage);

}  // namespace lawcat

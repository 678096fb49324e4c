// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same on every machine: mt19937_64 under our own distributions.
#pragma once

#include <cstdint>
#include <random>

namespace lawcat {

/// A generator for one (seed, stream) pair; different streams of one seed are independent. The standard
/// fixes the engine's bits but not its distributions, hence these.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0);

  /// Uniform on 0 .. bound - 1; bound > 0.
  std::uint64_t below(std::uint64_t bound);
  /// Uniform on [0, 1), 53 bits.
  double uniform();
  /// Mean 0, variance 1: twelve uniforms less six, so tails end at +-6 and no math library is asked.
  double normal();

 private:
  std::mt19937_64 engine_;
};

}  // namespace lawcat

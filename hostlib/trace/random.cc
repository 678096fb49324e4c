// SPDX-License-Identifier: Apache-2.0
// Portable distributions over mt19937_64.
#include "hostlib/trace/random.h"

namespace lawcat {
namespace {

// SplitMix64: neighbouring seeds and streams must not give neighbouring engine states.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

Random::Random(std::uint64_t seed, std::uint64_t stream) : engine_(mix(mix(seed) ^ stream)) {}

std::uint64_t Random::below(std::uint64_t bound) {
  // Rejects the incomplete last period, so that every value is equally likely.
  const std::uint64_t rejected = (0 - bound) % bound;
  std::uint64_t bits = engine_();
  while (bits < rejected) bits = engine_();
  return bits % bound;
}

double Random::uniform() {
  return static_cast<double>(engine_() >> 11) * 0x1p-53;
}

double Random::normal() {
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += uniform();
  return sum;
}

}  // namespace lawcat

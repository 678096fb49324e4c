// SPDX-License-Identifier: Apache-2.0
// The one list of cases that every backend runs, and the bounds that each is held to.
#pragma once

#include <string>
#include <vector>

#include "hostlib/backend/job.h"
#include "hostlib/trace/random_vectors.h"

namespace lawcat::conformance {

struct Case {
  std::string name;
  UnitShape shape;
  int tokens;
  GateRegime regime;
  std::uint64_t seed;
  double gate_offset = 0;  ///< added to every gate logit: pushes gates to one end
};

inline std::vector<Case> cases() {
  return {
      // One token, and the tokens that fill the convolution.
      {"OneToken", {1, 1, 64, 32}, 1, GateRegime::plain, 1},
      {"TwoTokens", {2, 1, 64, 32}, 2, GateRegime::plain, 2},
      {"ThreeTokens", {2, 2, 64, 32}, 3, GateRegime::spiky, 3},
      {"FourTokens", {1, 1, 32, 16}, 4, GateRegime::long_, 4},
      // Odd lengths around the block sizes of the forms.
      {"OddLength63", {2, 1, 64, 32}, 63, GateRegime::plain, 5},
      {"OddLength65", {2, 1, 64, 32}, 65, GateRegime::spiky, 6},
      // Groups of 1, 4 and 8 query heads.
      {"Group1", {2, 2, 64, 32}, 130, GateRegime::plain, 7},
      {"Group4", {4, 1, 64, 32}, 130, GateRegime::spiky, 8},
      {"Group8", {8, 1, 64, 32}, 70, GateRegime::long_, 9},
      // Head dimensions, feature dimensions that are not half of them, and such that fill no whole vector.
      {"HeadDim32", {2, 1, 32, 16}, 200, GateRegime::plain, 10},
      {"HeadDim96", {2, 1, 96, 48}, 100, GateRegime::spiky, 11},
      {"HeadDim128", {2, 1, 128, 64}, 150, GateRegime::plain, 12},
      {"FewFeatures", {2, 1, 64, 16}, 100, GateRegime::plain, 13},
      {"HeadDim40NoWholeVector", {2, 1, 40, 20}, 60, GateRegime::spiky, 14},
      // Both ends of the gate: keeps everything, forgets everything.
      {"GatesNearOne", {2, 1, 64, 32}, 1024, GateRegime::long_, 15, 3.0},
      {"GatesNearZero", {2, 1, 64, 32}, 256, GateRegime::plain, 16, -120.0},
      {"GatesAtBothEnds", {2, 1, 64, 32}, 512, GateRegime::spiky, 17, 4.0},
      // Long.
      {"Long4096", {1, 1, 64, 32}, 4096, GateRegime::spiky, 18},
  };
}

inline UnitVectors make(const Case& c) {
  UnitVectors vectors = random_vectors(c.shape, c.tokens, c.regime, c.seed);
  for (float& x : vectors.gk) x += static_cast<float>(c.gate_offset);
  return vectors;
}

}  // namespace lawcat::conformance

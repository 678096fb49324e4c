// SPDX-License-Identifier: Apache-2.0
// Seeded random inputs of the unit, for tests and studies, by regime of the forget gate.
#pragma once

#include <cstdint>
#include <string_view>

#include "hostlib/trace/vectors.h"

namespace lawcat {

/// Distribution of the gate logits, mean +- standard deviation.
enum class GateRegime {
  plain,  ///< 0 +- 2: forgets within tens of tokens
  long_,  ///< 9 +- 2: keeps for a hundred thousand tokens
  spiky,  ///< 0 +- 8: both ends, as trained models show
};

/// `plain`, `long` or `spiky`; throws InputError otherwise.
GateRegime parse_gate_regime(std::string_view text);

/// q, k, v of standard normal values, taps near the identity, an approximately orthonormal feature map.
/// The same on every machine. Throws InputError for an impossible shape or tokens < 1.
UnitVectors random_vectors(const UnitShape& shape, int tokens, GateRegime regime, std::uint64_t seed);

}  // namespace lawcat

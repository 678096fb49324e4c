// SPDX-License-Identifier: Apache-2.0
// The bit-true datapath for formats that fit 16-bit multipliers, sixteen elements at a time. Same bits as
// datapath.h, which is its definition; tests/conformance holds it to that.
#pragma once

#include <cstdint>
#include <vector>

#include "hostlib/backend/datapath.h"

namespace lawcat {

/// True for shapes whose rows fill whole vectors.
inline bool simd_fits(const UnitShape&) { return false; }
inline bool has_simd_form(const Datapath&) { return false; }
struct SimdGroupBlock { void prepare(const DatapathRules&, const UnitShape&, const Job&, int, int, int, Saturations&) {} };
struct SimdHead {
  SimdHead(const DatapathRules& rules, const UnitShape& shape, const HeadWeights&, std::uint32_t) : s(rules.formats, shape) {}
  HeadState state() const { return s; }
  void set_state(const HeadState& x) { s = x; }
  void run(const DatapathRules&, const UnitShape&, const Job&, int, const SimdGroupBlock&, Saturations&) {}
  HeadState s;
};
}  // namespace lawcat

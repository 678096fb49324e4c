// SPDX-License-Identifier: Apache-2.0
// The bit-true backend: what SystemC, RTL and GPU checks of the fixed-point unit obey.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "hostlib/arch/preset.h"
#include "hostlib/backend/backend.h"

namespace lawcat {

/// The backend `fixed`: values only. Its sessions throw InputError for jobs that ask for timing alone.
std::unique_ptr<Backend> make_fixed_backend(const Preset& preset);

/// How FixedUnit computes: `automatic` takes the SIMD form where the preset's formats fit it; `plain` is the
/// definition itself (datapath.h). Both give the same bits.
enum class FixedForm { automatic, plain };

/// The bit-true datapath by heads, for simulators that decide themselves when which head runs.
class FixedUnit {
 public:
  /// Throws InputError when the preset's datapath cannot hold the shape.
  FixedUnit(const Preset& preset, const UnitShape& shape, std::span<const UnitWeights> layers,
            FixedForm form = FixedForm::automatic);
  ~FixedUnit();
  FixedUnit(const FixedUnit&) = delete;
  FixedUnit& operator=(const FixedUnit&) = delete;

  /// Throws InputError unless the layer is one of those given.
  void check_layer(int layer) const;

  /// Runs tokens [first_token, first_token + count) of the job for heads [first_head, first_head +
  /// head_count) and writes their o. Tokens of one head must come in order. Thread-safe for disjoint heads.
  /// The job must have been validated.
  void run(const Job& job, int first_token, int count, int first_head, int head_count);

  std::vector<double> state(int layer) const;
  void set_state(int layer, std::span<const double> state);
  UnitContext save(int layer) const;
  void restore(int layer, const UnitContext& context);

  /// `fixed.saturations.POINT` (events) for every datapath point where a value was clipped.
  Counters counters() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// Heads that a loop over heads gives a thread at a time: whole groups, which share their gates, k and v, or
/// single heads where groups are too few for the threads that the caller can have.
int heads_of_a_thread(const UnitShape& shape);

/// True when FixedForm::automatic takes the SIMD form for this preset.
bool has_simd_form(const Datapath& datapath);

}  // namespace lawcat

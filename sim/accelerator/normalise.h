// SPDX-License-Identifier: Apache-2.0
// The quotient of the read-out.
#pragma once

#include "sim/accelerator/pipeline_stage.h"

namespace lawcat {

/// In: numerators and denominator, [D+1]; the reciprocal is taken while they wait. Out: o, [D].
class Normalise : public PipelineStage {
 public:
  explicit Normalise(sc_core::sc_module_name name) : PipelineStage(name, Stage::normalise) {}
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The quotient of the read-out.
#pragma once

#include "sim/accelerator/pipeline_stage.h"

namespace lawcat {

/// In: numerators and denominator, [D+1]. Out: o, [D], to the stream buffer.
class Normalise : public PipelineStage {
 public:
  explicit Normalise(sc_core::sc_module_name name) : PipelineStage(name, Stage::normalise) {}
};

}  // namespace lawcat

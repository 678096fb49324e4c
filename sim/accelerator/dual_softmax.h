// SPDX-License-Identifier: Apache-2.0
// The two softmaxes over z and -z, of q and of k.
#pragma once

#include "sim/accelerator/pipeline_stage.h"

namespace lawcat {

/// In: z, [2, F]. Out: phi(q) and phi(k), [2, K].
class DualSoftmax : public PipelineStage {
 public:
  explicit DualSoftmax(sc_core::sc_module_name name) : PipelineStage(name, Stage::dual_softmax) {}
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The causal depthwise convolutions of q and k, four taps.
#pragma once

#include "sim/accelerator/pipeline_stage.h"

namespace lawcat {

/// In: q of the head, k of its group, [D], and the tails. Out: q~ and k~, [2, D].
class Convolution : public PipelineStage {
 public:
  explicit Convolution(sc_core::sc_module_name name) : PipelineStage(name, Stage::convolution) {}
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Sends the answers.
#pragma once

#include "sim/accelerator/pipeline_stage.h"

namespace lawcat {

/// In: o, [D], of every head. Out: one beat per cycle: the packet's header, then the heads' outputs.
class Pack : public PipelineStage {
 public:
  explicit Pack(sc_core::sc_module_name name) : PipelineStage(name, Stage::pack) {}
};

}  // namespace lawcat

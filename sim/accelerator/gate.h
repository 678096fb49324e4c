// SPDX-License-Identifier: Apache-2.0
// The forget gate, once per token of a key/value head; the heads of the group share the result.
#pragma once

#include "sim/accelerator/pipeline_stage.h"

namespace lawcat {

/// In: gk, [K]. Out: a, [K]; its slot is free again when row_prepare has read it for the last head of the
/// packet.
class GateStage : public PipelineStage {
 public:
  explicit GateStage(sc_core::sc_module_name name) : PipelineStage(name, Stage::gate) {}
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Takes the packets of the input stream apart.
#pragma once

#include "sim/accelerator/pipeline_stage.h"

namespace lawcat {

/// In: one beat per cycle of a packet: header, k, q of its first head, gk, v, q of its other heads. Out: k,
/// gk and v of the group, q of every head, to the buffers of the stages that read them.
class Unpack : public PipelineStage {
 public:
  explicit Unpack(sc_core::sc_module_name name) : PipelineStage(name, Stage::unpack) {}
};

}  // namespace lawcat

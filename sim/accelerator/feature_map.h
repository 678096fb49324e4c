// SPDX-License-Identifier: Apache-2.0
// The learned feature map, shared by q and k.
#pragma once

#include "sim/accelerator/pipeline_stage.h"

namespace lawcat {

/// In: q~ and k~, [2, D]. Out: z of both, [2, F].
class FeatureMap : public PipelineStage {
 public:
  explicit FeatureMap(sc_core::sc_module_name name) : PipelineStage(name, Stage::feature_map) {}
};

}  // namespace lawcat

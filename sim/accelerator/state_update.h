// SPDX-License-Identifier: Apache-2.0
// State update with read-out in one pass; the place where values are computed when a job has them.
#pragma once

#include <functional>
#include <utility>

#include "sim/accelerator/pipeline_stage.h"

namespace lawcat {

/// Computes tokens [first_token, first_token + count) of the job for heads [first_head, first_head + heads).
using BlockSink = std::function<void(int first_token, int count, int first_head, int heads)>;

/// In: descriptors of the rows, [K]; v, [D]. Out: numerators and denominator, [D+1].
class StateUpdate : public PipelineStage {
 public:
  explicit StateUpdate(sc_core::sc_module_name name) : PipelineStage(name, Stage::state_update) {}

  void begin(BlockSink values, int first_head, int heads) {
    values_ = std::move(values);
    first_head_ = first_head;
    heads_ = heads;
    passed_ = 0;
  }

  /// All heads of the tokens before `token` have been through.
  void passed_all_before(int token) {
    if (values_ && token > passed_) values_(passed_, token - passed_, first_head_, heads_);
    passed_ = token;
  }

 private:
  BlockSink values_;
  int first_head_ = 0;
  int heads_ = 0;
  int passed_ = 0;
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The forget gate, once per token of a key/value head; the heads of the group share the result.
#pragma once

#include "sim/accelerator/pipeline_stage.h"

namespace lawcat {

/// In: gk, [K], from the stream buffer. Out: a, [K]. A slot of its output FIFO is free when the state update
/// has read it for the last head of the group.
class GateStage : public PipelineStage {
 public:
  explicit GateStage(sc_core::sc_module_name name) : PipelineStage(name, Stage::gate) {}

  void begin(const StageTiming& timing, int fifo_tokens, Cycle at) {
    PipelineStage::begin(timing, fifo_tokens, at);
    fifo_tokens_ = fifo_tokens;
    freed_.assign(std::bit_ceil(static_cast<std::size_t>(fifo_tokens)), 0);
    group_tokens_ = 0;
  }

  /// Starts the next group-token; returns the cycle in which its gates are complete.
  Cycle start(Cycle input) {
    return PipelineStage::start(input, freed_[slot(group_tokens_++ - fifo_tokens_)]);
  }
  /// The state update has read the latest group-token's gates for the last time.
  void free_slot(Cycle at) { freed_[slot(group_tokens_ - 1)] = at; }

 private:
  std::size_t slot(std::int64_t n) const { return static_cast<std::size_t>(n) & (freed_.size() - 1); }

  int fifo_tokens_ = 1;
  std::int64_t group_tokens_ = 0;
  std::vector<Cycle> freed_;
};

}  // namespace lawcat

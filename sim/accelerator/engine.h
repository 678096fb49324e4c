// SPDX-License-Identifier: Apache-2.0
// One engine: six stages joined by FIFOs between the two sides of its stream buffer.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <systemc>

#include "sim/accelerator/convolution.h"
#include "sim/accelerator/dual_softmax.h"
#include "sim/accelerator/feature_map.h"
#include "sim/accelerator/gate.h"
#include "sim/accelerator/normalise.h"
#include "sim/accelerator/plan.h"
#include "sim/accelerator/state_update.h"
#include "sim/memory/stream_buffer.h"
#include "sim/memory/timeline.h"

namespace lawcat {

/// Takes the tokens in order and of each token its heads in order. One event per chunk of input or freed
/// output: it then evaluates every head-token whose times are determined by what is known, and no other. All
/// requests that follow lie ahead of the present cycle, so that the order at the DRAM is that of the
/// hardware.
class Engine : public sc_core::sc_module {
 public:
  Engine(sc_core::sc_module_name name, Dma& dma, int output_channel, int fifo_tokens, int block_tokens,
         Timeline& timeline);

  StreamBuffer stream_buffer;

  /// A job of `tokens` tokens that starts in cycle `at`. The input channel fills stream_buffer; the context's
  /// arrival is told by context_ready(). `done` is called once, with the cycle in which the last output is in
  /// DRAM.
  void begin(const UnitPlan& plan, const EngineShare& share, int tokens, Cycle at, BlockSink values,
             std::function<void(Cycle)> done);
  void context_ready(Cycle at);

  /// Where a stage's time went from begin() to `end`.
  StageCycles cycles(Stage stage, Cycle end) const { return stage_of(stage).cycles(end); }

 private:
  void advance();
  void start_head();
  bool normalise_head();
  void record(int chunk_side);
  const PipelineStage& stage_of(Stage stage) const;

  Convolution convolution_;
  FeatureMap feature_map_;
  DualSoftmax dual_softmax_;
  GateStage gate_;
  StateUpdate state_update_;
  Normalise normalise_;

  const int fifo_tokens_;
  const int block_tokens_;
  Timeline& timeline_;
  sc_core::sc_event again_;

  std::function<void(Cycle)> done_;
  int heads_ = 0;
  int tokens_ = 0;
  std::vector<bool> first_of_group_;  ///< per head: its gates are not computed yet
  std::vector<bool> last_of_group_;   ///< per head: no later head needs its gates
  bool context_known_ = false;
  Cycle context_ready_ = 0;

  // Up to and with the state update.
  std::int64_t updated_ = 0;  ///< head-tokens
  int token_ = 0;
  int head_ = 0;
  int chunk_ = 0;
  int index_ = 0;  ///< token in chunk
  Cycle arrival_ = 0;
  Cycle gates_ = 0;
  std::vector<Cycle> read_out_;  ///< ring: cycle in which numerators and denominator are complete

  // Normalise.
  std::int64_t normalised_ = 0;
  int out_head_ = 0;
  int out_chunk_ = 0;
  int out_index_ = 0;

  std::array<Cycle, kStageCount> span_start_{};
};

}  // namespace lawcat

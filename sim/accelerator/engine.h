// SPDX-License-Identifier: Apache-2.0
// One engine: a tile between the two sides of its stream buffer.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <systemc>

#include "sim/accelerator/convolution.h"
#include "sim/accelerator/dual_softmax.h"
#include "sim/accelerator/feature_map.h"
#include "sim/accelerator/gate.h"
#include "sim/accelerator/normalise.h"
#include "sim/accelerator/pack.h"
#include "sim/accelerator/plan.h"
#include "sim/accelerator/row_prepare.h"
#include "sim/accelerator/state_update.h"
#include "sim/accelerator/tile.h"
#include "sim/accelerator/unpack.h"
#include "sim/memory/stream_buffer.h"
#include "sim/memory/timeline.h"

namespace lawcat {

/// Gives the tile the tokens in order, of each token a packet per key/value head with the query heads that
/// the engine has of it. One event per chunk of input or freed output: the tile then evaluates all times that
/// are determined by what is known, and no other. All requests that follow lie ahead of the present cycle, so
/// that the order at the DRAM is that of the hardware.
class Engine : public sc_core::sc_module, private TilePort {
 public:
  /// Without a tile of its own it has TileModel.
  Engine(sc_core::sc_module_name name, std::unique_ptr<Tile> tile, Dma& dma, int output_channel,
         int block_tokens, Timeline& timeline);

  StreamBuffer stream_buffer;

  /// A job of `tokens` tokens that starts in cycle `at`. The input channel fills stream_buffer; the context's
  /// arrival is told by context_ready(). `done` is called once, with the cycle in which the last output is in
  /// DRAM.
  void begin(const UnitPlan& plan, const EngineShare& share, int tokens, Cycle at, BlockSink values,
             std::function<void(Cycle)> done);
  void context_ready(Cycle at);

  /// Where a stage's time went from begin() to `end`.
  StageCycles cycles(Stage stage, Cycle end) const { return tile_->cycles(stage, end); }

 private:
  /// Place among the job's packets, in order.
  struct Place {
    int token = 0;
    std::size_t group = 0;
    int chunk = 0;
    int index = 0;  ///< token in chunk
  };

  void advance();
  bool knows_input() const;
  bool ends_chunk(const Place& place) const;
  void step(Place& place) const;

  std::optional<TilePacket> next_packet() override;
  void taken(Cycle at) override;
  std::optional<Cycle> answer_room() override;
  void answered(Cycle at) override;
  void passed(Stage stage, std::int64_t packet, Cycle start, Cycle end) override;

  const std::unique_ptr<Tile> tile_;
  Unpack unpack_;
  Convolution convolution_;
  FeatureMap feature_map_;
  DualSoftmax dual_softmax_;
  GateStage gate_;
  RowPrepare row_prepare_;
  StateUpdate state_update_;
  Normalise normalise_;
  Pack pack_;
  const std::array<PipelineStage*, kStageCount> stages_;

  const int block_tokens_;
  Timeline& timeline_;
  sc_core::sc_event again_;

  std::function<void(Cycle)> done_;
  int tokens_ = 0;
  std::vector<TilePacket> groups_;  ///< of every token
  bool context_known_ = false;
  Cycle context_ready_ = 0;
  int budget_ = 0;        ///< tokens that may still begin at this event
  Place in_, out_;        ///< next packet, next answer
  bool release_ = false;  ///< the packet under way is its chunk's last
};

}  // namespace lawcat

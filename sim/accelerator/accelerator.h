// SPDX-License-Identifier: Apache-2.0
// The platform: engines, state buffers, DMA, interconnect, DRAM; runs one job after another in simulated
// time.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <systemc>

#include "sim/accelerator/engine.h"
#include "sim/memory/dram.h"
#include "sim/memory/interconnect.h"
#include "sim/memory/state_buffer.h"

namespace lawcat {

/// What was counted over jobs; the public counters follow from it and the shape.
struct JobCounts {
  std::int64_t jobs = 0;
  std::int64_t tokens = 0;
  std::int64_t cycles = 0;
  std::int64_t engine_cycles = 0;
  std::array<StageCycles, kStageCount> stages{};
  std::int64_t dram_read_bytes = 0, dram_write_bytes = 0, dram_busy_cycles = 0;
  std::int64_t bus_read_bytes = 0, bus_write_bytes = 0, bus_read_busy_cycles = 0, bus_write_busy_cycles = 0;
  std::int64_t transfers = 0;
  std::int64_t context_read_bytes = 0, context_write_bytes = 0;
};

class Accelerator : public sc_core::sc_module {
 public:
  /// `block_tokens` bounds the tokens that an engine evaluates at one event; no effect on cycles or values.
  /// `make_tile` gives each engine its tile; TileModel without.
  Accelerator(sc_core::sc_module_name name, const Preset& preset, int block_tokens, Timeline& timeline,
              const std::function<std::unique_ptr<Tile>(int engine)>& make_tile = {});

  /// Runs a job of `tokens` tokens of `sequence` in `layer`, whose inputs exist in DRAM now, until its last
  /// output is in DRAM, and adds what happened to `counts`. `next_layer` is loaded in advance if there is
  /// room. Must run in the simulation context that the platform was made in.
  void run(const UnitPlan& plan, std::int64_t sequence, int layer, int next_layer, int tokens,
           const BlockSink& values, JobCounts& counts);

  StateBuffer state_buffer;

 private:
  void finish() { sc_core::sc_pause(); }
  /// Running totals of everything that counts by itself; a job's share is the difference.
  JobCounts totals() const;

  Dram dram_;
  Interconnect interconnect_;
  Dma dma_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::vector<std::unique_ptr<InputChannel>> inputs_;
  sc_core::sc_event finished_;
  std::size_t running_ = 0;
  Cycle end_ = 0;
};

}  // namespace lawcat

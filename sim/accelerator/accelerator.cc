// SPDX-License-Identifier: Apache-2.0
// See accelerator.h.
#include "sim/accelerator/accelerator.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace lawcat {
namespace {

Cycle latency_cycles(const Preset& preset) {
  return std::max<Cycle>(1, static_cast<Cycle>(std::ceil(preset.memory.latency_s * preset.clock_hz - 1e-9)));
}

}  // namespace

Accelerator::Accelerator(sc_core::sc_module_name name, const Preset& preset, int block_tokens,
                         Timeline& timeline, const std::function<std::unique_ptr<Tile>(int)>& make_tile)
    : sc_module(name),
      // Channels in order of priority among requests of one cycle: engine by engine output before input, then
      // contexts.
      state_buffer("state_buffer", dma_, 2 * preset.engine.count,
                   static_cast<std::int64_t>(preset.buffers.state_kib * 8192), latency_cycles(preset),
                   preset.memory.burst_bytes),
      dram_("dram", preset.memory.bandwidth_bytes_per_s * preset.memory.efficiency / preset.clock_hz,
            latency_cycles(preset), timeline),
      interconnect_("interconnect", preset.memory.bus_bytes_per_cycle, timeline),
      dma_("dma") {
  dma_.port.bind(interconnect_.port);
  interconnect_.memory.bind(dram_.port);
  for (int e = 0; e < preset.engine.count; ++e) {
    engines_.push_back(std::make_unique<Engine>(("engine" + std::to_string(e)).c_str(),
                                                make_tile ? make_tile(e) : nullptr, dma_, 2 * e, block_tokens,
                                                timeline));
    inputs_.push_back(std::make_unique<InputChannel>(dma_, 2 * e + 1));
  }
  SC_HAS_PROCESS(Accelerator);
  SC_METHOD(finish);
  sensitive << finished_;
  dont_initialize();
}

JobCounts Accelerator::totals() const {
  JobCounts now;
  now.dram_read_bytes = dram_.read_bytes;
  now.dram_write_bytes = dram_.write_bytes;
  now.dram_busy_cycles = dram_.busy_cycles;
  now.bus_read_bytes = interconnect_.read.bytes;
  now.bus_write_bytes = interconnect_.write.bytes;
  now.bus_read_busy_cycles = interconnect_.read.busy_cycles;
  now.bus_write_busy_cycles = interconnect_.write.busy_cycles;
  now.transfers = dma_.transfers;
  now.context_read_bytes = state_buffer.read_bytes;
  now.context_write_bytes = state_buffer.write_bytes;
  return now;
}

void Accelerator::run(const UnitPlan& plan, std::int64_t sequence, int layer, int next_layer, int tokens,
                      const BlockSink& values, JobCounts& counts) {
  const Cycle start = now_cycle();
  const JobCounts before = totals();
  running_ = plan.shares.size();
  end_ = start;
  const auto done = [this](Cycle at) {
    end_ = std::max(end_, at);
    if (--running_ == 0) finished_.notify(to_sc_time(end_ - now_cycle()));
  };
  for (std::size_t e = 0; e < plan.shares.size(); ++e)
    engines_[e]->begin(plan, plan.shares[e], tokens, start, values, done);
  state_buffer.require({sequence, layer}, plan.context_bits, plan.context_bytes, [this, &plan](Cycle at) {
    for (std::size_t e = 0; e < plan.shares.size(); ++e) engines_[e]->context_ready(at);
  });
  for (const UnitPlan::Cluster& cluster : plan.clusters) {
    std::vector<StreamBuffer*> receivers;
    const auto first = static_cast<std::size_t>(cluster.first_engine);
    for (std::size_t e = first; e < first + static_cast<std::size_t>(cluster.engines); ++e) {
      StreamBuffer& buffer = engines_[e]->stream_buffer;
      buffer.begin(*inputs_[first], tokens, cluster.chunk_tokens, plan.outputs[e].dram_bytes,
                   plan.outputs[e].bus_bytes);
      receivers.push_back(&buffer);
    }
    inputs_[first]->begin(start, tokens, cluster.chunk_tokens, cluster.dram_bytes, cluster.bus_bytes,
                          std::move(receivers));
  }
  state_buffer.prefetch({sequence, next_layer}, plan.context_bits, plan.context_bytes);

  sc_core::sc_start();

  const JobCounts after = totals();
  const auto engines = static_cast<std::int64_t>(plan.shares.size());
  ++counts.jobs;
  counts.tokens += tokens;
  counts.cycles += end_ - start;
  counts.engine_cycles += (end_ - start) * engines;
  for (std::size_t s = 0; s < static_cast<std::size_t>(kStageCount); ++s) {
    for (std::size_t e = 0; e < plan.shares.size(); ++e) {
      const StageCycles cycles = engines_[e]->cycles(static_cast<Stage>(s), end_);
      counts.stages[s].busy += cycles.busy;
      counts.stages[s].stall += cycles.stall;
      counts.stages[s].starve += cycles.starve;
    }
  }
  for (const auto field :
       {&JobCounts::dram_read_bytes, &JobCounts::dram_write_bytes, &JobCounts::dram_busy_cycles,
        &JobCounts::bus_read_bytes, &JobCounts::bus_write_bytes, &JobCounts::bus_read_busy_cycles,
        &JobCounts::bus_write_busy_cycles, &JobCounts::transfers, &JobCounts::context_read_bytes,
        &JobCounts::context_write_bytes})
    counts.*field += after.*field - before.*field;
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// A machine as fast as its stages can be for heads of 16 and 8 features, whose memory is never in the way, to
// slow down where a test wants.
#pragma once

#include <algorithm>
#include <string>

#include "hostlib/arch/preset.h"
#include "hostlib/arch/timing.h"
#include "hostlib/io/error.h"
#include "sim/systemc_backend.h"

namespace lawcat {

inline Preset fast_machine() {
  const auto format = [](const char* text) { return parse_format(text, "fast_machine"); };
  Preset preset;
  preset.name = "fast-machine";
  preset.clock_hz = 1e9;
  // Intervals: convolution 4, feature_map 8, dual_softmax 4, gate 2, row_prepare 9, state_update 2,
  // normalise 2; beats of 64 numbers, so that every part of a packet is one.
  preset.engine = {.count = 1,
                   .state_lanes = 512,
                   .conv_lanes = 32,
                   .feature_lanes = 512,
                   .exp_lanes = 8,
                   .gate_lanes = 8,
                   .normalise_lanes = 8,
                   .max_head_dim = 64,
                   .max_feature_dim = 32,
                   .stage_fifo_tokens = 4};
  preset.datapath = {.query_key = format("s16.10"),
                     .value = format("s16.10"),
                     .gate_logit = format("s16.10"),
                     .conv_weight = format("s16.13"),
                     .conv = format("s16.10"),
                     .feature_weight = format("s16.12"),
                     .feature = format("s16.10"),
                     .probability = format("ue6m11"),
                     .gate = format("ue6m11"),
                     .state = format("bfp16e8"),
                     .normaliser = format("bfp24e8"),
                     .output = format("e5m10")};
  preset.buffers = {.state_kib = 1024, .stream_kib = 1024};
  preset.memory = {.dram = "test",
                   .bandwidth_bytes_per_s = 1e18,
                   .efficiency = 1,
                   .latency_s = 1e-9,
                   .burst_bytes = 32,
                   .bus_bytes_per_cycle = 1 << 28};
  return preset;
}

inline const StageTiming& timing_of(const std::array<StageTiming, kStageCount>& timing, Stage stage) {
  return timing[static_cast<std::size_t>(stage)];
}

/// Cycles from a token of one head in the buffer to its output in the buffer, all stages empty.
inline std::int64_t fill_cycles(const Preset& preset, const UnitShape& shape) {
  const TileLayout layout(preset);
  const auto timing = stage_timing(layout, shape.head_dim, shape.feature_dim);
  const PacketBeats beats = packet_beats(layout, shape.head_dim, shape.feature_dim);
  const auto latency = [&](Stage stage) { return timing_of(timing, stage).latency(); };
  // From the parts' last beats, header and port before them, registers behind them.
  const std::int64_t query = 1 + 1 + 2 * beats.head + 1;
  const std::int64_t logits = query + 2 * beats.half;
  const std::int64_t features =
      query + latency(Stage::convolution) + latency(Stage::feature_map) + latency(Stage::dual_softmax);
  return std::max(features, logits + latency(Stage::gate)) + latency(Stage::row_prepare) +
         latency(Stage::state_update) + 9 + latency(Stage::normalise) + 1 + latency(Stage::pack);
}

/// Counters of timing-only jobs of the given token counts, run in turn on layers 0, 1, ....
inline Counters run_jobs(const Preset& preset, const UnitShape& shape, const std::vector<int>& tokens,
                         int layers = 1, const SystemcOptions& options = {}) {
  const auto backend = make_systemc_backend(preset, options);
  const auto session = backend->open(shape, {}, layers);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    session->run({.layer = static_cast<int>(i) % layers, .tokens = tokens[i]});
  return session->counters();
}

/// The sentence of the InputError that `call` throws.
template <typename Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace lawcat

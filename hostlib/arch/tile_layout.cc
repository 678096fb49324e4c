// SPDX-License-Identifier: Apache-2.0
// See tile_layout.h.
#include "hostlib/arch/tile_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <tuple>

#include "hostlib/io/error.h"

namespace lawcat {
namespace {

constexpr int kMostSegmentColumns = 64, kMostFeatureOutputs = 32, kHeaderBits = 128;

}  // namespace

TileLayout::TileLayout(const Preset& preset) {
  const Preset::Engine& e = preset.engine;
  const Datapath& d = preset.datapath;
  const auto require = [&](bool holds, const char* key, const std::string& expected, int got) {
    if (!holds)
      throw InputError(fmt::format("preset {}, {}", preset.name, key), expected, fmt::format("{}", got));
  };
  for (const auto& [key, count, least] : {std::tuple{"engine.state_lanes", e.state_lanes, 1},
                                          {"engine.conv_lanes", e.conv_lanes, 4},
                                          {"engine.feature_lanes", e.feature_lanes, 2},
                                          {"engine.exp_lanes", e.exp_lanes, 1},
                                          {"engine.gate_lanes", e.gate_lanes, 1},
                                          {"engine.normalise_lanes", e.normalise_lanes, 1}})
    require(count >= least && std::has_single_bit(static_cast<unsigned>(count)), key,
            fmt::format("a power of two of at least {}", least), count);

  lanes = e.state_lanes;
  segment = std::min(lanes, kMostSegmentColumns);
  rows = lanes / segment;
  channels = e.conv_lanes / 4;
  feature_segment = std::min(e.feature_lanes / 2, kMostFeatureOutputs);
  feature_channels = e.feature_lanes / 2 / feature_segment;
  exp_lanes = e.exp_lanes;
  gate_lanes = e.gate_lanes;
  normalise_lanes = e.normalise_lanes;
  max_head_dim = e.max_head_dim;
  max_feature_dim = e.max_feature_dim;
  fifo_tokens = e.stage_fifo_tokens;
  engines = e.count;

  const int widest = std::max({d.query_key.width, d.value.width, d.gate_logit.width, d.output.width});
  require(widest <= 32, "datapath.output", "at most 32 bits",
          d.output.width);  // of inputs, presets allow fewer
  element_width = widest <= 16 ? 16 : 32;
  // A header takes one beat; a segment of the state takes whole beats of values.
  const auto share =
      static_cast<unsigned>(8 * static_cast<std::int64_t>(preset.memory.bus_bytes_per_cycle) / engines);
  stream_width = std::max(
      kHeaderBits,
      static_cast<int>(std::min(std::bit_floor(share), static_cast<unsigned>(segment * element_width))));

  require(channels >= feature_channels, "engine.conv_lanes",
          fmt::format("at least {} (one channel for each that the feature map takes per cycle)",
                      4 * feature_channels),
          e.conv_lanes);
  require(exp_lanes % rows == 0, "engine.exp_lanes",
          fmt::format("a multiple of the {} rows that the state lanes cover", rows), exp_lanes);
  require(gate_lanes <= exp_lanes, "engine.gate_lanes",
          fmt::format("at most engine.exp_lanes = {}", exp_lanes), gate_lanes);
  for (const auto& [key, count, most] :
       {std::tuple{"engine.conv_lanes", e.conv_lanes, 4 * elements()},
        {"engine.gate_lanes", gate_lanes, elements()},
        {"engine.normalise_lanes", normalise_lanes, std::min(segment, elements())},
        {"engine.exp_lanes", exp_lanes, feature_segment}})
    require(count <= most, key, fmt::format("at most {}", most), count);
  require(segment >= elements(), "engine.state_lanes",
          fmt::format("at least the {} numbers of a beat", elements()), lanes);
}

}  // namespace lawcat

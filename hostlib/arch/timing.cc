// SPDX-License-Identifier: Apache-2.0
// Formulas of timing.h.
#include "hostlib/arch/timing.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "hostlib/io/error.h"

namespace lawcat {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
int cycles(int work, int lanes) {
  return static_cast<int>(ceil_div(work, lanes));
}
int ceil_log2(int n) {
  return std::bit_width(static_cast<unsigned>(n - 1));
}

std::int64_t whole_bursts(std::int64_t bytes, int burst_bytes) {
  return ceil_div(bytes, burst_bytes) * burst_bytes;
}

constexpr int kLeadBits = 6;  // of magnitudes of up to 63 bits

double kib(std::int64_t bits) {
  return static_cast<double>(bits) / 8192.0;
}

}  // namespace

std::string_view to_string(Stage stage) {
  constexpr std::array<std::string_view, kStageCount> names{"unpack",       "convolution", "feature_map",
                                                            "dual_softmax", "gate",        "row_prepare",
                                                            "state_update", "normalise",   "pack"};
  return names[static_cast<std::size_t>(stage)];
}

PacketBeats packet_beats(const TileLayout& layout, int head_dim, int feature_dim) {
  return {cycles(head_dim, layout.elements()), cycles(feature_dim, layout.elements())};
}

std::array<StageTiming, kStageCount> stage_timing(const TileLayout& l, int head_dim, int feature_dim) {
  const int d = head_dim, f = feature_dim;
  const int beats = packet_beats(l, d, f).head;
  const int exp_words = cycles(f, l.exp_lanes), levels = l.exp_lanes <= 4 ? 1 : 2;
  const int drain = l.feature_segment / l.exp_lanes;
  return {{
      {beats, 1},
      {std::max(4, 2 * cycles(d, l.channels)), 9},
      {cycles(f, l.feature_segment) *
           std::max(cycles(d, l.feature_channels), drain + ceil_log2(l.exp_lanes) + 1),
       8 + ceil_log2(l.feature_channels) + drain + ceil_log2(l.exp_lanes)},
      {4 * exp_words, 35 + ceil_log2(l.exp_lanes) + exp_words},
      {2 * cycles(f, l.gate_lanes), 18},
      {4 * exp_words + 1 + 2 * levels, 5},
      {cycles(d, l.segment) * 2 * cycles(f, l.rows), 13},
      {cycles(d, l.normalise_lanes), 13},
      {beats, 2},
  }};
}

StageEvents stage_events(Stage stage, int head_dim, int feature_dim) {
  const double d = head_dim, f = feature_dim, k = 2 * f;
  switch (stage) {
    case Stage::convolution:
      return {8 * d, 0, 0};
    case Stage::feature_map:
      return {2 * d * f, 0, 0};
    case Stage::dual_softmax:
      return {6 * k + 4, 6 * k, 2 * k + 4};
    case Stage::gate:
      return {2 * k, 0, 2 * k};
    case Stage::row_prepare:
      return {0, 3 * k, 0};
    case Stage::state_update:
      return {k * (3 * d + 2), 0, 0};
    case Stage::normalise:
      return {d + 1, 0, 1};
    case Stage::unpack:
    case Stage::pack:
      return {};
  }
  return {};
}

std::vector<EngineShare> distribute_heads(int engines, int heads, int kv_heads) {
  const int used = std::min(engines, heads);
  const int group = heads / kv_heads;
  std::vector<EngineShare> shares;
  for (int e = 0; e < used; ++e) {
    EngineShare share;
    share.first_head = static_cast<int>(std::int64_t{e} * heads / used);
    share.heads = static_cast<int>(std::int64_t{e + 1} * heads / used) - share.first_head;
    share.first_kv_head = share.first_head / group;
    share.kv_heads = (share.first_head + share.heads - 1) / group - share.first_kv_head + 1;
    if (e > 0) {
      const EngineShare& before = shares.back();
      share.cluster =
          before.cluster + (share.first_kv_head == before.first_kv_head + before.kv_heads ? 1 : 0);
    }
    shares.push_back(share);
  }
  return shares;
}

std::vector<PacketHeads> packets_of(const EngineShare& share, int group, int most) {
  std::vector<PacketHeads> packets;
  const int end = share.first_head + share.heads;
  for (int head = share.first_head; head < end; head += packets.back().heads)
    packets.push_back({head, std::min({group - head % group, end - head, most})});
  return packets;
}

std::int64_t state_bits_per_head(const Datapath& datapath, int head_dim, int feature_dim) {
  const int residue = datapath.state_rounding == Rounding::error_feedback ? datapath.guard_bits : 0;
  // Lead bits stand beside the exponent, so that the next one is known before the row is read.
  const auto scalars = [](const Format& format) {
    return format.kind == FormatKind::block ? format.exponent_bits + kLeadBits : 0;
  };
  const std::int64_t row = std::int64_t{head_dim} * (datapath.state.width + residue) +
                           scalars(datapath.state) + datapath.normaliser.width + residue +
                           scalars(datapath.normaliser);
  return std::int64_t{2} * feature_dim * row;
}

std::int64_t tail_bits(const Datapath& datapath, int head_dim) {
  return std::int64_t{2 * 3} * head_dim * datapath.query_key.width;
}

std::int64_t context_bits(const Datapath& datapath, int heads, int head_dim, int feature_dim) {
  return heads * (state_bits_per_head(datapath, head_dim, feature_dim) + tail_bits(datapath, head_dim));
}

std::vector<EngineShare> place_layer(const Preset& preset, int heads, int kv_heads, int head_dim,
                                     int feature_dim) {
  const std::string place = fmt::format("preset {}", preset.name);
  if (head_dim > preset.engine.max_head_dim)
    throw InputError(place + ", engine.max_head_dim",
                     fmt::format("at least the model's head_dim {}", head_dim),
                     fmt::format("{}", preset.engine.max_head_dim));
  if (feature_dim > preset.engine.max_feature_dim)
    throw InputError(place + ", engine.max_feature_dim",
                     fmt::format("at least the model's feature_dim {}", feature_dim),
                     fmt::format("{}", preset.engine.max_feature_dim));
  const TileLayout layout(preset);
  auto shares = distribute_heads(preset.engine.count, heads, kv_heads);
  for (const EngineShare& share : shares) {
    const std::int64_t bits = context_bits(preset.datapath, share.heads, head_dim, feature_dim);
    if (kib(bits) > preset.buffers.state_kib)
      throw InputError(place + ", buffers.state_kib",
                       fmt::format("at least {:.2f} KiB for one layer's {} heads on each of {} engines",
                                   kib(bits), share.heads, shares.size()),
                       fmt::format("{:.2f} KiB", preset.buffers.state_kib));
    const std::int64_t token =
        input_token_bytes(layout, share.heads, share.kv_heads, share.kv_heads, head_dim, feature_dim) +
        output_token_bytes(layout, share.heads, share.kv_heads, head_dim);
    if (kib(16 * token) > preset.buffers.stream_kib)
      throw InputError(place + ", buffers.stream_kib",
                       fmt::format("at least {:.2f} KiB for two tokens each way of {} heads", kib(16 * token),
                                   share.heads),
                       fmt::format("{:.2f} KiB", preset.buffers.stream_kib));
  }
  return shares;
}

std::int64_t input_token_bytes(const TileLayout& layout, int heads, int kv_heads, int packets, int head_dim,
                               int feature_dim, int burst_bytes) {
  const PacketBeats beats = packet_beats(layout, head_dim, feature_dim);
  return whole_bursts(
      (packets + kv_heads * beats.shared() + std::int64_t{heads} * beats.head) * (layout.stream_width / 8),
      burst_bytes);
}

std::int64_t output_token_bytes(const TileLayout& layout, int heads, int packets, int head_dim,
                                int burst_bytes) {
  const PacketBeats beats = packet_beats(layout, head_dim, 1);
  return whole_bursts((packets + std::int64_t{heads} * beats.head) * (layout.stream_width / 8), burst_bytes);
}

std::vector<Utilization> utilization(const CounterReader& counter) {
  const double cycles = counter("unit.cycles"), engine_cycles = counter("unit.engine_cycles");
  std::vector<Utilization> units;
  if (cycles <= 0 || engine_cycles <= 0) return units;
  for (int s = 0; s < kStageCount; ++s) {
    const std::string name{to_string(static_cast<Stage>(s))};
    units.push_back({name, counter(name + ".busy_cycles") / engine_cycles});
  }
  units.push_back({"dram", counter("dram.busy_cycles") / cycles});
  units.push_back({"interconnect_read", counter("interconnect.read_busy_cycles") / cycles});
  units.push_back({"interconnect_write", counter("interconnect.write_busy_cycles") / cycles});
  return units;
}

Bottleneck find_bottleneck(const CounterReader& counter) {
  const auto units = utilization(counter);
  if (units.empty()) return {"", 0, "no cycles were counted"};
  // Of equal ones the later on the data's way: it is where the others would wait.
  const auto most = std::max_element(units.rbegin(), units.rend(),
                                     [](const auto& a, const auto& b) { return a.share < b.share; });
  Bottleneck found{most->unit, most->share, ""};
  const double engine_cycles = counter("unit.engine_cycles");
  const double starve = counter("state_update.starve_cycles") / engine_cycles;
  const double stall = counter("state_update.stall_cycles") / engine_cycles;
  const std::string waits =
      fmt::format("state_update waits for input {:.0f} % and for room downstream {:.0f} % of the time",
                  100 * starve, 100 * stall);
  const double dram_bytes = counter("dram.read_bytes") + counter("dram.write_bytes");
  const double context_bytes = counter("dma.state_read_bytes") + counter("dma.state_write_bytes");
  const std::string swaps =
      context_bytes > 0.01 * dram_bytes
          ? fmt::format("; swapped states are {:.0f} % of DRAM's bytes", 100 * context_bytes / dram_bytes)
          : "";
  if (found.share >= 0.9) {
    found.reason =
        fmt::format("{} is in use {:.0f} % of the time; {}{}", found.unit, 100 * found.share, waits, swaps);
  } else {
    found.reason = fmt::format(
        "no unit binds all the time ({} most, {:.0f} %): latency, fill and drain of jobs, or jobs of "
        "different kinds, take "
        "the rest; {}{}",
        found.unit, 100 * found.share, waits, swaps);
  }
  return found;
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Derives RTL's constants from a preset: see rtl_package.h.
#include "hostlib/arch/rtl_package.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "hostlib/arch/timing.h"
#include "hostlib/io/error.h"
#include "hostlib/numerics/functions.h"

namespace lawcat {
namespace {

/// Largest power of two that is no more than x, 0 below 1.
int power_below(double x) {
  return x < 1 ? 0 : static_cast<int>(std::bit_floor(static_cast<std::uint32_t>(std::min(x, 0x1p30))));
}

constexpr int kLargestHeadDim = 128, kLargestFeatureDim = 64, kMostSlots = 256;
/// Head-tokens in all buffers are counted in 10 bits; a register has 8 for the room of one.
constexpr int kMostFifoTokens = 128;

}  // namespace

RtlParameters::RtlParameters(const Preset& preset) : TileLayout(preset) {
  const Preset::Engine& e = preset.engine;
  const Datapath& d = preset.datapath;
  const auto require = [&](bool holds, const char* key, const std::string& expected, const std::string& got) {
    if (!holds) throw InputError(fmt::format("preset {} in RTL, {}", preset.name, key), expected, got);
  };
  const auto number = [](auto x) { return fmt::format("{}", x); };
  for (const auto& [key, format] :
       {std::pair{"datapath.state", d.state}, {"datapath.normaliser", d.normaliser}})
    require(format.kind == FormatKind::block, key, "block floating point", to_string(format));
  require(d.state_rounding != Rounding::error_feedback, "datapath.state_rounding",
          "truncate, nearest_even or stochastic", std::string(to_string(d.state_rounding)));
  require(e.max_head_dim <= kLargestHeadDim, "engine.max_head_dim",
          fmt::format("at most {}", kLargestHeadDim), number(e.max_head_dim));
  require(e.max_feature_dim <= kLargestFeatureDim, "engine.max_feature_dim",
          fmt::format("at most {}", kLargestFeatureDim), number(e.max_feature_dim));
  require(e.stage_fifo_tokens <= kMostFifoTokens, "engine.stage_fifo_tokens",
          fmt::format("at most {}", kMostFifoTokens), number(e.stage_fifo_tokens));
  require(std::int64_t{stream_width} * engines == std::int64_t{8} * preset.memory.bus_bytes_per_cycle,
          "memory.bus_bytes_per_cycle",
          fmt::format("{} engines times a power of two of at least 16 bytes", engines),
          number(preset.memory.bus_bytes_per_cycle));
  require(d.gate_table_bits >= 1, "datapath.gate_table_bits", "at least 1", number(d.gate_table_bits));
  require(2 * max_feature_dim <= 1 << (d.probability.precision() - 2), "datapath.probability",
          fmt::format("mantissa bits for sums over {} features", 2 * max_feature_dim),
          to_string(d.probability));
  for (const auto& [key, format] :
       {std::pair{"datapath.state", d.state}, {"datapath.normaliser", d.normaliser}})
    require(format.width + d.gate.precision() <= 62, key,
            fmt::format("at most {} bits beside the gate's {}", 62 - d.gate.precision(), d.gate.precision()),
            to_string(format));
  require(d.value.width - d.value.fraction + 2 - d.state.width < 1 << (d.state.exponent_bits - 1),
          "datapath.state", fmt::format("exponents that reach values of {}", to_string(d.value)),
          to_string(d.state));

  // Slots are counted in heads of D = 64, F = 32: state and tails; taps and map.
  const double state_bits = preset.buffers.state_kib * 8192, weight_bits = preset.buffers.weight_kib * 8192;
  context_slots = power_below(state_bits / static_cast<double>(context_bits(d, 1, 64, 32)));
  weight_slots =
      power_below(weight_bits / (64 * 32 * d.feature_weight.width + 2 * 64 * 4 * d.conv_weight.width));
  state_depth = power_below(state_bits / (lanes * d.state.width));
  // D above 64 halves the slots, F above 32 again: the largest head has one, too.
  const int least = (max_head_dim > 64 ? 2 : 1) * (max_feature_dim > 32 ? 2 : 1);
  const auto require_slots = [&](int slots, const char* key, double kib) {
    require(slots >= least && slots <= kMostSlots, key,
            fmt::format("room for {} to {} heads of D = 64, F = 32", least, kMostSlots),
            fmt::format("{} KiB", kib));
  };
  require_slots(context_slots, "buffers.state_kib", preset.buffers.state_kib);
  require_slots(weight_slots, "buffers.weight_kib", preset.buffers.weight_kib);

  qk_width = d.query_key.width;
  qk_fraction = d.query_key.fraction;
  value_width = d.value.width;
  value_fraction = d.value.fraction;
  logit_width = d.gate_logit.width;
  logit_fraction = d.gate_logit.fraction;
  tap_width = d.conv_weight.width;
  tap_fraction = d.conv_weight.fraction;
  conv_width = d.conv.width;
  conv_fraction = d.conv.fraction;
  weight_width = d.feature_weight.width;
  weight_fraction = d.feature_weight.fraction;
  feature_width = d.feature.width;
  feature_fraction = d.feature.fraction;
  phi_p = d.probability.precision();
  phi_exponent_width = d.probability.exponent_bits + 1;
  phi_min_exponent = d.probability.min_exponent();
  const UnsignedFloat floor = phi_floor(phi_p, phi_min_exponent);
  phi_floor_mantissa = floor.mantissa;
  phi_floor_exponent = floor.exponent;
  gate_p = d.gate.precision();
  gate_exponent_width = d.gate.exponent_bits + 1;
  gate_min_exponent = d.gate.min_exponent();
  state_width = d.state.width;
  state_exponent_width = d.state.exponent_bits;
  norm_width = d.normaliser.width;
  norm_exponent_width = d.normaliser.exponent_bits;
  guard = d.guard_bits;
  rounding = static_cast<int>(d.state_rounding);
  static_assert(static_cast<int>(Rounding::truncate) == 0 && static_cast<int>(Rounding::nearest_even) == 1 &&
                static_cast<int>(Rounding::stochastic) == 2);
  readout_width = d.readout_weight_bits;
  exp2_table_bits = d.exp2_table_bits;
  gate_table_bits = d.gate_table_bits;
  reciprocal_table_bits = d.reciprocal_table_bits;
  table_fraction = kTableFraction;
  gate_split = kGateSplit;
  gate_linear = kGateLinear;
  output_floating = d.output.kind == FormatKind::floating ? 1 : 0;
  output_width = d.output.width;
  output_exponent_width = d.output.exponent_bits;
  output_mantissa_width = d.output.mantissa_bits;
  output_fraction = d.output.fraction;
  side_width = 34;
  preset_hash = static_cast<std::uint32_t>(std::stoul(preset.hash.substr(0, 8), nullptr, 16));
}

std::vector<std::pair<std::string_view, int>> RtlParameters::constants() const {
  return {{"LANES", lanes},
          {"SEGMENT", segment},
          {"ROWS", rows},
          {"CHANNELS", channels},
          {"FEATURE_SEGMENT", feature_segment},
          {"FEATURE_CHANNELS", feature_channels},
          {"EXP_LANES", exp_lanes},
          {"GATE_LANES", gate_lanes},
          {"NORMALISE_LANES", normalise_lanes},
          {"MAX_HEAD_DIM", max_head_dim},
          {"MAX_FEATURE_DIM", max_feature_dim},
          {"FIFO_TOKENS", fifo_tokens},
          {"ENGINES", engines},
          {"STREAM_WIDTH", stream_width},
          {"ELEMENT_WIDTH", element_width},
          {"CONTEXT_SLOTS", context_slots},
          {"WEIGHT_SLOTS", weight_slots},
          {"STATE_DEPTH", state_depth},
          {"QK_WIDTH", qk_width},
          {"QK_FRACTION", qk_fraction},
          {"VALUE_WIDTH", value_width},
          {"VALUE_FRACTION", value_fraction},
          {"LOGIT_WIDTH", logit_width},
          {"LOGIT_FRACTION", logit_fraction},
          {"TAP_WIDTH", tap_width},
          {"TAP_FRACTION", tap_fraction},
          {"CONV_WIDTH", conv_width},
          {"CONV_FRACTION", conv_fraction},
          {"WEIGHT_WIDTH", weight_width},
          {"WEIGHT_FRACTION", weight_fraction},
          {"FEATURE_WIDTH", feature_width},
          {"FEATURE_FRACTION", feature_fraction},
          {"PHI_P", phi_p},
          {"PHI_EXPONENT_WIDTH", phi_exponent_width},
          {"PHI_MIN_EXPONENT", phi_min_exponent},
          {"PHI_FLOOR_MANTISSA", phi_floor_mantissa},
          {"PHI_FLOOR_EXPONENT", phi_floor_exponent},
          {"GATE_P", gate_p},
          {"GATE_EXPONENT_WIDTH", gate_exponent_width},
          {"GATE_MIN_EXPONENT", gate_min_exponent},
          {"STATE_WIDTH", state_width},
          {"STATE_EXPONENT_WIDTH", state_exponent_width},
          {"NORM_WIDTH", norm_width},
          {"NORM_EXPONENT_WIDTH", norm_exponent_width},
          {"GUARD", guard},
          {"ROUNDING", rounding},
          {"READOUT_WIDTH", readout_width},
          {"EXP2_TABLE_BITS", exp2_table_bits},
          {"GATE_TABLE_BITS", gate_table_bits},
          {"RECIPROCAL_TABLE_BITS", reciprocal_table_bits},
          {"TABLE_FRACTION", table_fraction},
          {"GATE_SPLIT", gate_split},
          {"GATE_LINEAR", gate_linear},
          {"OUTPUT_FLOATING", output_floating},
          {"OUTPUT_WIDTH", output_width},
          {"OUTPUT_EXPONENT_WIDTH", output_exponent_width},
          {"OUTPUT_MANTISSA_WIDTH", output_mantissa_width},
          {"OUTPUT_FRACTION", output_fraction},
          {"SIDE_WIDTH", side_width}};
}

std::string rtl_package(const Preset& preset) {
  const RtlParameters parameters(preset);
  std::string text = fmt::format(
      "// SPDX-License-Identifier: Apache-2.0\n// Generated from preset {}.\n"
      "// No module needs every constant.\n/* verilator lint_off UNUSEDPARAM */\npackage lawcat_arch_pkg;\n",
      preset.name);
  for (const auto& [name, value] : parameters.constants())
    text += fmt::format("  localparam int {} = {};\n", name, value);
  text += fmt::format(
      "  localparam [31:0] PRESET_HASH = 32'h{:08x};\nendpackage\n/* verilator lint_on UNUSEDPARAM */\n",
      parameters.preset_hash);
  return text;
}

std::string_view to_string(RtlTable table) {
  constexpr std::string_view names[] = {"exp2", "gate", "reciprocal"};
  return names[static_cast<int>(table)];
}

std::vector<std::uint64_t> rtl_table(const Preset& preset, RtlTable table) {
  const Datapath& d = preset.datapath;
  std::vector<std::uint64_t> words;
  const auto take = [&words](const auto& entry, int count) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
      words.push_back(static_cast<std::uint64_t>(static_cast<std::uint32_t>(entry[i + 1] - entry[i])) << 32 |
                      static_cast<std::uint32_t>(entry[i]));
  };
  switch (table) {
    case RtlTable::exp2:
      take(make_exp2_table(d.exp2_table_bits).entry, 1 << d.exp2_table_bits);
      break;
    case RtlTable::gate:
      take(make_gate_table(d.gate_table_bits, d.exponent_fraction()).entry, (kGateLinear - kGateSplit)
                                                                                << d.gate_table_bits);
      break;
    case RtlTable::reciprocal:
      take(make_reciprocal_table(d.reciprocal_table_bits).entry, 1 << d.reciprocal_table_bits);
      break;
  }
  return words;
}

std::string rtl_table_hex(const Preset& preset, RtlTable table) {
  std::string text;
  for (const std::uint64_t word : rtl_table(preset, table)) text += fmt::format("{:016x}\n", word);
  return text;
}

}  // namespace lawcat

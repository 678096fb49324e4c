// SPDX-License-Identifier: Apache-2.0
// Reading, checking and writing presets.
#include "hostlib/arch/preset.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "hostlib/arch/tile_layout.h"
#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "hostlib/io/strict_json.h"
#include "hostlib/numerics/functions.h"

namespace lawcat {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr double kHuge = 1e30;

fs::path preset_folder() {
  return data_root() / "hostlib" / "arch" / "presets";
}

/// Applies "engine.count=4" to the JSON; the key must exist already, its new value keeps its type.
void apply_override(nlohmann::json& root, const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    throw InputError("--set", "KEY.PATH=VALUE", fmt::format("\"{}\"", text));
  const std::string path = text.substr(0, equals), value = text.substr(equals + 1);
  nlohmann::json* at = &root;
  std::size_t from = 0;
  while (true) {
    const std::size_t dot = path.find('.', from);
    const std::string key = path.substr(from, dot - from);
    if (!at->is_object() || !at->contains(key))
      throw InputError(fmt::format("--set {}", path), "a key of the preset",
                       fmt::format("no \"{}\" there", key));
    at = &(*at)[key];
    if (dot == std::string::npos) break;
    from = dot + 1;
  }
  if (at->is_object()) throw InputError(fmt::format("--set {}", path), "a single field", "a group of fields");
  if (at->is_string()) {
    *at = value;
    return;
  }
  const auto parsed = nlohmann::json::parse(value, nullptr, false);
  if (!parsed.is_number())
    throw InputError(fmt::format("--set {}", path), "a number", fmt::format("\"{}\"", value));
  *at = parsed;
}

Datapath read_datapath(StrictObject object) {
  Datapath d;
  const auto format = [&](const char* key, std::initializer_list<FormatKind> kinds, bool is_signed) {
    const Format parsed = parse_format(object.get_string(key), object.place(key));
    if (std::find(kinds.begin(), kinds.end(), parsed.kind) == kinds.end() || parsed.is_signed != is_signed) {
      std::string wanted;
      for (const FormatKind kind : kinds)
        wanted += fmt::format("{}{}", wanted.empty() ? "" : " or ",
                              kind == FormatKind::fixed   ? "fixed"
                              : kind == FormatKind::block ? "block"
                                                          : "float");
      throw InputError(object.place(key),
                       fmt::format("{} {} format", is_signed ? "a signed" : "an unsigned", wanted),
                       to_string(parsed));
    }
    return parsed;
  };
  const auto fixed_format = [&](const char* key) { return format(key, {FormatKind::fixed}, true); };
  const auto integer = [&](const char* key, int min, int max) {
    return static_cast<int>(object.get_int(key, min, max));
  };
  d.query_key = fixed_format("query_key");
  d.value = fixed_format("value");
  d.gate_logit = fixed_format("gate_logit");
  d.conv_weight = fixed_format("conv_weight");
  d.conv = fixed_format("conv");
  d.feature_weight = fixed_format("feature_weight");
  d.feature = fixed_format("feature");
  d.probability = format("probability", {FormatKind::floating}, false);
  d.gate = format("gate", {FormatKind::floating}, false);
  const std::initializer_list<FormatKind> any{FormatKind::fixed, FormatKind::block, FormatKind::floating};
  d.state = format("state", any, true);
  d.normaliser = format("normaliser", any, true);
  d.output = format("output", {FormatKind::fixed, FormatKind::floating}, true);
  d.state_rounding = parse_rounding(object.get_string("state_rounding"), object.place("state_rounding"));
  d.guard_bits = integer("guard_bits", 2, 12);
  d.readout_weight_bits = integer("readout_weight_bits", 8, 24);
  d.exp2_table_bits = integer("exp2_table_bits", 3, kMaxExp2Bits);
  d.gate_table_bits = integer("gate_table_bits", 0, kMaxGateBits);
  d.reciprocal_table_bits = integer("reciprocal_table_bits", 3, kMaxReciprocalBits);

  // What the 64-bit definition and the tables can carry.
  const auto require = [&](const char* key, bool holds, const std::string& expected, const std::string& got) {
    if (!holds) throw InputError(object.place(key), expected, got);
  };
  require("feature", d.feature.fraction >= 4 && d.feature.fraction <= 20 && d.feature.width <= 28,
          "4 to 20 fraction bits and at most 28 bits", to_string(d.feature));
  require("exp2_table_bits", d.exp2_table_bits <= d.exponent_fraction(), "at most feature's fraction + 3",
          fmt::format("{}", d.exp2_table_bits));
  for (const auto& [key, f] : {std::pair{"query_key", d.query_key},
                               {"value", d.value},
                               {"gate_logit", d.gate_logit},
                               {"conv", d.conv},
                               {"conv_weight", d.conv_weight},
                               {"feature_weight", d.feature_weight}})
    require(key, f.width <= 24 && f.fraction >= 0, "at most 24 bits and a fraction of 0 or more",
            to_string(f));
  require("gate_logit", d.gate_logit.width - d.gate_logit.fraction >= 6,
          "at least 6 integer bits (the gate saturates at +-32 otherwise)", to_string(d.gate_logit));
  require("conv", d.conv_weight.fraction + d.query_key.fraction >= d.conv.fraction,
          "no more fraction bits than query_key and conv_weight together", to_string(d.conv));
  require("feature", d.conv.fraction + d.feature_weight.fraction >= d.feature.fraction,
          "no more fraction bits than conv and feature_weight together", to_string(d.feature));
  for (const auto& [key, f] : {std::pair{"probability", d.probability}, {"gate", d.gate}})
    require(key, f.precision() <= 23 && f.exponent_bits >= 5,
            "at most 22 mantissa and at least 5 exponent bits", to_string(f));
  require("probability", d.probability.exponent_bits >= 6,
          "at least 6 exponent bits (phi is clamped at 1e-12)", to_string(d.probability));
  for (const auto& [key, f] : {std::pair{"state", d.state}, {"normaliser", d.normaliser}}) {
    require(key, f.width + d.guard_bits <= 44, fmt::format("width + guard_bits of at most 44"),
            fmt::format("{} + {}", to_string(f), d.guard_bits));
    require("state_rounding", f.kind != FormatKind::floating || d.state_rounding != Rounding::error_feedback,
            "truncate, nearest_even or stochastic for a float state", "error_feedback");
  }
  object.finish();
  return d;
}

Json format_json(const Datapath& d) {
  return {{"query_key", to_string(d.query_key)},
          {"value", to_string(d.value)},
          {"gate_logit", to_string(d.gate_logit)},
          {"conv_weight", to_string(d.conv_weight)},
          {"conv", to_string(d.conv)},
          {"feature_weight", to_string(d.feature_weight)},
          {"feature", to_string(d.feature)},
          {"probability", to_string(d.probability)},
          {"gate", to_string(d.gate)},
          {"state", to_string(d.state)},
          {"normaliser", to_string(d.normaliser)},
          {"output", to_string(d.output)},
          {"state_rounding", to_string(d.state_rounding)},
          {"guard_bits", d.guard_bits},
          {"readout_weight_bits", d.readout_weight_bits},
          {"exp2_table_bits", d.exp2_table_bits},
          {"gate_table_bits", d.gate_table_bits},
          {"reciprocal_table_bits", d.reciprocal_table_bits}};
}

}  // namespace

Preset load_preset(const std::string& name_or_path, const std::vector<std::string>& overrides) {
  fs::path file = name_or_path;
  const bool by_name = name_or_path.find('/') == std::string::npos && file.extension() != ".json";
  if (by_name) {
    file = preset_folder() / (name_or_path + ".json");
    if (!is_there(file))
      throw InputError("--preset", fmt::format("a file or one of {}", fmt::join(preset_names(), ", ")),
                       fmt::format("\"{}\"", name_or_path));
  }
  nlohmann::json json = read_json(file);
  for (const std::string& text : overrides) apply_override(json, text);

  StrictObject root(json, by_name ? "presets/" + file.filename().string() : file.string());
  Preset preset;
  if (const std::string schema = root.get_string("schema"); schema != "lawcat-preset/1")
    throw InputError(root.place("schema"), "\"lawcat-preset/1\"", fmt::format("\"{}\"", schema));
  preset.name = root.get_string("name");
  preset.description = root.get_string("description");
  preset.clock_hz = root.get_number("clock_hz", 1e6, 1e11);
  {
    StrictObject o = root.get_object("technology");
    preset.technology = {o.get_string("energy_table"), o.get_number("node_nm", 1, 1000),
                         o.get_number("voltage_v", 0.1, 10)};
    o.finish();
  }
  {
    StrictObject o = root.get_object("engine");
    const auto lanes = [&](const char* key) { return static_cast<int>(o.get_int(key, 1, 65536)); };
    auto& e = preset.engine;
    e.count = static_cast<int>(o.get_int("count", 1, 4096));
    e.state_lanes = lanes("state_lanes");
    e.conv_lanes = lanes("conv_lanes");
    e.feature_lanes = lanes("feature_lanes");
    e.exp_lanes = lanes("exp_lanes");
    e.gate_lanes = lanes("gate_lanes");
    e.normalise_lanes = lanes("normalise_lanes");
    e.max_head_dim = static_cast<int>(o.get_int("max_head_dim", 1, 4096));
    e.max_feature_dim = static_cast<int>(o.get_int("max_feature_dim", 1, 4096));
    e.stage_fifo_tokens = static_cast<int>(o.get_int("stage_fifo_tokens", 1, 4096));
    o.finish();
  }
  preset.datapath = read_datapath(root.get_object("datapath"));
  {
    StrictObject o = root.get_object("buffers");
    preset.buffers = {o.get_number("state_kib", 0.1, 1e9), o.get_number("stream_kib", 0.1, 1e9),
                      o.get_number("weight_kib", 0.1, 1e9)};
    o.finish();
  }
  {
    StrictObject o = root.get_object("memory");
    auto& m = preset.memory;
    m.dram = o.get_string("dram");
    m.bandwidth_bytes_per_s = o.get_number("bandwidth_bytes_per_s", 1e3, kHuge);
    m.efficiency = o.get_number("efficiency", 0.01, 1);
    m.latency_s = o.get_number("latency_s", 0, 1);
    m.burst_bytes = static_cast<int>(o.get_int("burst_bytes", 1, 65536));
    m.bus_bytes_per_cycle = static_cast<int>(o.get_int("bus_bytes_per_cycle", 1, 65536));
    o.finish();
  }
  {
    StrictObject o = root.get_object("host");
    preset.host = {o.get_string("part"), o.get_number("matmul_flop_per_s", 1, kHuge),
                   o.get_number("bandwidth_bytes_per_s", 1, kHuge), o.get_number("bytes_per_weight", 0.1, 16),
                   o.get_number("power_w", 0, 1e6)};
    o.finish();
  }
  root.finish();
  const TileLayout fits(preset);
  preset.hash = sha256(to_json(preset));
  return preset;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(preset_folder(), error))
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string to_json(const Preset& preset) {
  const auto& e = preset.engine;
  const auto& m = preset.memory;
  const Json json = {{"schema", "lawcat-preset/1"},
                     {"name", preset.name},
                     {"description", preset.description},
                     {"clock_hz", preset.clock_hz},
                     {"technology",
                      {{"energy_table", preset.technology.energy_table},
                       {"node_nm", preset.technology.node_nm},
                       {"voltage_v", preset.technology.voltage_v}}},
                     {"engine",
                      {{"count", e.count},
                       {"state_lanes", e.state_lanes},
                       {"conv_lanes", e.conv_lanes},
                       {"feature_lanes", e.feature_lanes},
                       {"exp_lanes", e.exp_lanes},
                       {"gate_lanes", e.gate_lanes},
                       {"normalise_lanes", e.normalise_lanes},
                       {"max_head_dim", e.max_head_dim},
                       {"max_feature_dim", e.max_feature_dim},
                       {"stage_fifo_tokens", e.stage_fifo_tokens}}},
                     {"datapath", format_json(preset.datapath)},
                     {"buffers",
                      {{"state_kib", preset.buffers.state_kib},
                       {"stream_kib", preset.buffers.stream_kib},
                       {"weight_kib", preset.buffers.weight_kib}}},
                     {"memory",
                      {{"dram", m.dram},
                       {"bandwidth_bytes_per_s", m.bandwidth_bytes_per_s},
                       {"efficiency", m.efficiency},
                       {"latency_s", m.latency_s},
                       {"burst_bytes", m.burst_bytes},
                       {"bus_bytes_per_cycle", m.bus_bytes_per_cycle}}},
                     {"host",
                      {{"part", preset.host.part},
                       {"matmul_flop_per_s", preset.host.matmul_flop_per_s},
                       {"bandwidth_bytes_per_s", preset.host.bandwidth_bytes_per_s},
                       {"bytes_per_weight", preset.host.bytes_per_weight},
                       {"power_w", preset.host.power_w}}}};
  return json_text(json, 2) + "\n";
}

}  // namespace lawcat

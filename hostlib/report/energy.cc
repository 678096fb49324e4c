// SPDX-License-Identifier: Apache-2.0
// The rules that give every counted event its energy.
#include "hostlib/report/energy.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

#include "hostlib/arch/timing.h"
#include "hostlib/io/error.h"

namespace lawcat {
namespace {

/// Widths of one stage's arithmetic, and its lanes in one engine.
struct StageWidths {
  std::string_view name;
  double operand_bits;          ///< both operands of a multiplier together
  double operand_bits_product;  ///< mean over its kinds of multiplications
  double result_bits;
  double lanes;
};

double significant_bits(const Format& format) {
  return format.kind == FormatKind::floating ? format.precision() : format.width;
}

/// Sums of rows' exponents: RTL (E of lawcat_row_prepare) has them this wide whatever the preset's exponents.
constexpr double kRowScalarBits = 12;

std::array<StageWidths, kStageCount> stages_of(const Preset& preset) {
  const TileLayout layout(preset);
  const Datapath& d = preset.datapath;
  const Preset::Engine& e = preset.engine;
  const auto stage = [](std::string_view name, double a, double b, double result, double lanes) {
    return StageWidths{name, a + b, a * b, result, lanes};
  };
  const double conv = significant_bits(d.conv);
  const double probability = significant_bits(d.probability);
  const double gate = significant_bits(d.gate);
  const double state = significant_bits(d.state);
  const double value = significant_bits(d.value);
  const double output = significant_bits(d.output);
  // Three multipliers a lane: decay, outer product, read-out. The mean product keeps their sum.
  const double operands = (gate + state + probability + value + d.readout_weight_bits + state) / 3;
  const double product = (gate * state + probability * value + d.readout_weight_bits * state) / 3;
  // Three registers of a beat each: two of the port, one behind it.
  const auto beats = [&](std::string_view name) {
    return StageWidths{name, 2.0 * layout.element_width, 0, static_cast<double>(layout.element_width),
                       static_cast<double>(layout.elements())};
  };
  return {beats("unpack"),
          stage("convolution", significant_bits(d.conv_weight), significant_bits(d.query_key), conv,
                e.conv_lanes),
          stage("feature_map", significant_bits(d.feature_weight), conv, significant_bits(d.feature),
                e.feature_lanes),
          stage("dual_softmax", probability, probability, probability, e.exp_lanes),
          stage("gate", gate, gate, gate, e.gate_lanes),
          // For the state and for the normaliser.
          StageWidths{"row_prepare", 2 * kRowScalarBits, 0, kRowScalarBits, 2.0 * e.exp_lanes},
          // The normaliser column has a lane for every row of a cycle.
          StageWidths{"state_update", operands, product, state + d.guard_bits,
                      3.0 * (e.state_lanes + layout.rows)},
          stage("normalise", output, probability, output, e.normalise_lanes), beats("pack")};
}

bool is_bookkeeping(std::string_view counter) {
  return counter == "unit.jobs" || counter == "unit.tokens" || counter == "unit.head_tokens" ||
         counter.starts_with("dma.") || counter.starts_with("fixed.saturations.");
}

/// Of "LPDDR5X-8533, 64 bit", the family is what counts.
std::string dram_entry(const Preset& preset) {
  const std::string& dram = preset.memory.dram;
  return "dram:" + dram.substr(0, dram.find_first_of("-, "));
}

}  // namespace

EnergyRange EnergyEstimate::total_j() const {
  EnergyRange total;
  for (const auto& [component, joules] : by_component_j) total += joules;
  return total;
}

void require_fit(const EnergyTable& table, const Preset& preset) {
  if (table.node_nm != preset.technology.node_nm || table.voltage_v != preset.technology.voltage_v)
    throw InputError(
        fmt::format("preset {}: technology", preset.name),
        fmt::format("{} nm at {} V, as energy table {}", table.node_nm, table.voltage_v, table.name),
        fmt::format("{} nm at {} V", preset.technology.node_nm, preset.technology.voltage_v));
  table.at(dram_entry(preset));
}

EnergyEstimate estimate_energy(const Counters& counters, const Preset& preset, const EnergyTable& table) {
  require_fit(table, preset);
  const std::array<StageWidths, kStageCount> stages = stages_of(preset);
  const auto energy = [&table](const char* entry) { return table.at(entry).value; };
  EnergyEstimate estimate;
  for (const auto& named : counters.all()) {
    const std::string& name = named.first;
    const Counter& counter = named.second;
    const std::size_t dot = name.find('.');
    const std::string unit = name.substr(0, dot);
    const std::string what = dot == std::string::npos ? "" : name.substr(dot + 1);
    const auto charge = [&](const std::string& component, const EnergyRange& each) {
      estimate.by_component_j[component] += counter.value * each;
    };

    const StageWidths* stage = nullptr;
    for (const StageWidths& candidate : stages)
      if (candidate.name == unit) stage = &candidate;
    const bool small_buffer = unit == "tail_buffer" || unit == "stream_buffer" || unit == "weight_buffer";

    if (stage && what == "multiplies") {
      charge(unit, energy("multiply"));
      charge(unit, stage->operand_bits_product * energy("multiply_area"));
    } else if (stage && what == "adds") {
      charge(unit, stage->result_bits * energy("add"));
    } else if (stage && what == "lookups") {
      charge(unit, stage->result_bits * energy("lookup"));
    } else if (stage && what == "busy_cycles") {
      charge("clock", stage->lanes * (stage->operand_bits + stage->result_bits) * energy("clock"));
    } else if (unit == "state_buffer" && what == "read_bits") {
      charge(unit, energy("state_buffer_read"));
    } else if (unit == "state_buffer" && what == "write_bits") {
      charge(unit, energy("state_buffer_write"));
    } else if (small_buffer && what == "read_bits") {
      charge(unit, energy("small_buffer_read"));
    } else if (small_buffer && what == "write_bits") {
      charge(unit, energy("small_buffer_write"));
    } else if (unit == "dram" && (what == "read_bytes" || what == "write_bytes")) {
      charge(unit, 8 * table.at(dram_entry(preset)).value);
      charge(unit, 8 * energy("dram_interface"));
    } else if (unit == "interconnect" && (what == "read_bytes" || what == "write_bytes")) {
      charge(unit, 8 * energy("interconnect"));
    } else if (counter.unit != "cycles" && !is_bookkeeping(name)) {
      throw InputError("energy of counter " + name, "a rule of hostlib/arch/energy/README.md", "none");
    }
  }

  double lanes = 0;
  for (const StageWidths& stage : stages) lanes += stage.lanes;
  const double seconds = counters.value("unit.cycles") / preset.clock_hz;
  EnergyRange& leakage = estimate.by_component_j["leakage"];
  leakage += preset.engine.count * lanes * seconds * energy("logic_leakage");
  const Preset::Buffers& buffers = preset.buffers;
  leakage += preset.engine.count * (buffers.state_kib + buffers.stream_kib + buffers.weight_kib) * seconds *
             energy("sram_leakage");
  return estimate;
}

}  // namespace lawcat

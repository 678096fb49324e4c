// SPDX-License-Identifier: Apache-2.0
// Energy tables and the rules that apply them: every event is charged, none silently.
#include <gmock/gmock.h>

#include "hostlib/arch/preset.h"
#include "hostlib/io/error.h"
#include "hostlib/report/energy.h"
#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class Energy : public testing::Test {
 protected:
  Preset preset_ = load_preset("edge");
  EnergyTable table_ = load_energy_table(preset_.technology.energy_table);

  double nominal(const std::string& counter, double amount, const std::string& component,
                 const std::string& unit = "events") {
    Counters counters;
    counters.add(counter, unit, amount);
    return estimate_energy(counters, preset_, table_).by_component_j.at(component).nominal;
  }
  double entry(const std::string& name) { return table_.at(name).value.nominal; }
};

TEST_F(Energy, MultipliesAreChargedByTheirOperandWidths) {
  // Set so that the widths are known here.
  preset_.datapath.conv_weight = Format::fixed(true, 10, 0);
  preset_.datapath.query_key = Format::fixed(true, 12, 0);
  EXPECT_DOUBLE_EQ(nominal("convolution.multiplies", 1000, "convolution"),
                   1000 * entry("multiply") + 120000 * entry("multiply_area"));
}

TEST_F(Energy, AFloatCountsWithItsSignificand) {
  preset_.datapath.gate = parse_format("ue5m13", "test");
  EXPECT_DOUBLE_EQ(nominal("gate.multiplies", 1, "gate"),
                   entry("multiply") + 14 * 14 * entry("multiply_area"));
}

TEST_F(Energy, AddsAndLookupsAreChargedByTheResult) {
  preset_.datapath.feature = Format::fixed(true, 20, 0);
  EXPECT_DOUBLE_EQ(nominal("feature_map.adds", 10, "feature_map"), 200 * entry("add"));
  EXPECT_DOUBLE_EQ(nominal("feature_map.lookups", 10, "feature_map"), 200 * entry("lookup"));
  EXPECT_DOUBLE_EQ(nominal("row_prepare.adds", 10, "row_prepare"), 120 * entry("add"));
}

TEST_F(Energy, BitsAndBytesAreChargedByTheirBuffers) {
  EXPECT_DOUBLE_EQ(nominal("state_buffer.read_bits", 100, "state_buffer"), 100 * entry("state_buffer_read"));
  EXPECT_DOUBLE_EQ(nominal("state_buffer.write_bits", 100, "state_buffer"),
                   100 * entry("state_buffer_write"));
  for (const std::string buffer : {"tail_buffer", "stream_buffer", "weight_buffer"}) {
    EXPECT_DOUBLE_EQ(nominal(buffer + ".read_bits", 100, buffer), 100 * entry("small_buffer_read"));
    EXPECT_DOUBLE_EQ(nominal(buffer + ".write_bits", 100, buffer), 100 * entry("small_buffer_write"));
  }
  preset_.memory.dram = "LPDDR5X-8533, 64 bit";
  const double dram = entry("dram:LPDDR5X") + entry("dram_interface");
  EXPECT_DOUBLE_EQ(nominal("dram.read_bytes", 10, "dram"), 80 * dram);
  EXPECT_DOUBLE_EQ(nominal("dram.write_bytes", 10, "dram"), 80 * dram);
  EXPECT_DOUBLE_EQ(nominal("interconnect.read_bytes", 10, "interconnect"), 80 * entry("interconnect"));
}

TEST_F(Energy, BusyStagesPayForTheirClock) {
  preset_.engine.normalise_lanes = 4;
  preset_.datapath.output = Format::fixed(true, 10, 0);
  preset_.datapath.probability = Format::fixed(false, 6, 0);
  EXPECT_DOUBLE_EQ(nominal("normalise.busy_cycles", 7, "clock", "cycles"),
                   7 * 4 * (10 + 6 + 10) * entry("clock"));
  // Two scalars of 12 bits a row, from two each, on 4 lanes; beats of 8 numbers of 16 bits, three registers
  // each.
  EXPECT_DOUBLE_EQ(nominal("row_prepare.busy_cycles", 7, "clock", "cycles"), 7 * 8 * 36 * entry("clock"));
  EXPECT_DOUBLE_EQ(nominal("unpack.busy_cycles", 7, "clock", "cycles"), 7 * 8 * 48 * entry("clock"));
  EXPECT_DOUBLE_EQ(nominal("pack.busy_cycles", 7, "clock", "cycles"), 7 * 8 * 48 * entry("clock"));
}

TEST_F(Energy, LeakageGrowsWithTime) {
  const double once = nominal("unit.cycles", 1e6, "leakage", "cycles");
  EXPECT_GT(once, 0);
  EXPECT_DOUBLE_EQ(nominal("unit.cycles", 3e6, "leakage", "cycles"), 3 * once);
  preset_.engine.count *= 2;
  EXPECT_DOUBLE_EQ(nominal("unit.cycles", 1e6, "leakage", "cycles"), 2 * once);
}

TEST_F(Energy, EveryBufferLeaks) {
  preset_.clock_hz = 1e9;
  const double before = nominal("unit.cycles", 1e9, "leakage", "cycles");
  double added_kib = 0;
  for (double* kib : {&preset_.buffers.state_kib, &preset_.buffers.stream_kib, &preset_.buffers.weight_kib}) {
    *kib += 1024;
    added_kib += 1024 * preset_.engine.count;
    EXPECT_NEAR(nominal("unit.cycles", 1e9, "leakage", "cycles") - before, added_kib * entry("sram_leakage"),
                1e-12 * before);
  }
}

TEST_F(Energy, TotalIsTheSumOfComponentsAndKeepsItsBounds) {
  Counters counters;
  counters.add("state_update.multiplies", "events", 100);
  counters.add("dram.read_bytes", "bytes", 100);
  const EnergyEstimate estimate = estimate_energy(counters, preset_, table_);
  const EnergyRange total = estimate.total_j();
  EXPECT_DOUBLE_EQ(total.nominal, estimate.by_component_j.at("state_update").nominal +
                                      estimate.by_component_j.at("dram").nominal);
  EXPECT_LT(total.low, total.nominal);
  EXPECT_LT(total.nominal, total.high);
}

TEST_F(Energy, AnUnknownEventIsAnErrorAndNotZero) {
  for (const char* name : {"convolution.divides", "cache.read_bits", "dram.erases", "orphan"}) {
    Counters counters;
    counters.add(name, "events", 1);
    EXPECT_THAT([&] { estimate_energy(counters, preset_, table_); },
                ThrowsMessage<InputError>(HasSubstr("energy of counter " + std::string(name))));
  }
}

TEST_F(Energy, AMissingEntryIsAnErrorAndNotZero) {
  preset_.memory.dram = "SDRAM-133";
  EXPECT_THAT([this] { nominal("dram.read_bytes", 1, "dram", "bytes"); },
              ThrowsMessage<InputError>(HasSubstr("expected an entry dram:SDRAM")));
}

TEST_F(Energy, AnotherTechnologysTableIsRefused) {
  preset_.technology.node_nm = 22;
  EXPECT_THAT([this] { nominal("unit.cycles", 1, "leakage", "cycles"); },
              ThrowsMessage<InputError>(HasSubstr("got 22 nm at")));
}

TEST(EnergyTable, CoversEveryShippedPreset) {
  for (const std::string& name : preset_names()) {
    const Preset preset = load_preset(name);
    Counters counters;
    for (const char* stage : {"unpack", "convolution", "feature_map", "dual_softmax", "gate", "row_prepare",
                              "state_update", "normalise", "pack"})
      for (const char* event : {".multiplies", ".adds", ".lookups"})
        counters.add(stage + std::string(event), "events", 1);
    counters.add("dram.read_bytes", "bytes", 1);
    const EnergyTable table = load_energy_table(preset.technology.energy_table);
    EXPECT_GT(estimate_energy(counters, preset, table).total_j().low, 0) << name;
  }
}

TEST(EnergyTable, EveryEntryOfEveryShippedTableHasAPositiveNominal) {
  for (const std::string& name : preset_names()) {
    const EnergyTable table = load_energy_table(load_preset(name).technology.energy_table);
    for (const auto& [entry, values] : table.entries) EXPECT_GT(values.value.nominal, 0) << entry;
  }
}

class EnergyFile : public testing::Test {
 protected:
  void refused(const std::string& entry, const std::string& part, const std::string& name = "add") {
    const std::string file = folder_
                                 .add("energy.json", R"({"schema": "lawcat-energy/1", "name": "t", )"
                                                     R"("description": "d", "node_nm": 7, "voltage_v": 0.7, )"
                                                     R"("entries": {")" +
                                                         name + R"(": )" + entry + "}}")
                                 .string();
    EXPECT_THAT([&] { load_energy_table(file); }, ThrowsMessage<InputError>(HasSubstr(part))) << entry;
  }
  test::TemporaryFolder folder_;
};

TEST_F(EnergyFile, MistakesAreNamed) {
  const std::string rest =
      R"(, "source": "s", "kind": "estimate", "node_nm": 7, "voltage_v": 1, "scaling": "none"})";
  const std::string value = R"("value": {"low": 1, "nominal": 2, "high": 3})";
  refused(R"({"what": "w", "unit": "pJ/bit"})", "entries.add.value: expected this key");
  refused(R"({"what": "", "unit": "pJ/bit", )" + value + rest, "entries.add.what: expected some words");
  refused(R"({"what": "w", "unit": "pJ/bit", "value": {"low": 3, "nominal": 2, "high": 3})" + rest,
          "entries.add.value.nominal: expected a number from 3");
  refused(R"({"what": "w", "unit": "pJ/bit", )" + value +
              R"(, "source": "s", "kind": "guess", "node_nm": 7, "voltage_v": 1, "scaling": "none"})",
          "entries.add.kind: expected pre-layout, literature or estimate, got guess");
  refused(R"({"what": "w", "unit": "pJ/bit", "joules": 1, )" + value + rest,
          "entries.add.joules: expected one of");
  EXPECT_THAT([] { load_energy_table("absent.json"); }, ThrowsMessage<InputError>(HasSubstr("absent.json")));
}

TEST_F(EnergyFile, LacksNoEntryOfARule) {
  refused(R"({"what": "w", "unit": "pJ/bit", "value": {"low": 1, "nominal": 2, "high": 3}, "source": "s", )"
          R"("kind": "estimate", "node_nm": 7, "voltage_v": 1, "scaling": "none"})",
          "entries.clock: expected this entry, which rules use, got none");
}

TEST_F(EnergyFile, AnEntryIsInTheUnitOfItsRule) {
  const auto entry = [](const std::string& unit) {
    return R"({"what": "w", "unit": ")" + unit + R"(", "value": {"low": 1, "nominal": 2, "high": 3}, )" +
           R"("source": "s", "kind": "estimate", "node_nm": 7, "voltage_v": 1, "scaling": "none"})";
  };
  refused(entry("kWh"), "entries.add.unit: expected pJ/bit, got kWh");
  refused(entry("pJ/bit"), "entries.multiply.unit: expected pJ, got pJ/bit", "multiply");
  refused(entry("pJ"), "entries.multiply_area.unit: expected pJ/bit^2, got pJ", "multiply_area");
  refused(entry("W"), "entries.sram_leakage.unit: expected W/KiB, got W", "sram_leakage");
  refused(entry("W/KiB"), "entries.logic_leakage.unit: expected W, got W/KiB", "logic_leakage");
  refused(entry("pJ"), "entries.dram:HBM4.unit: expected pJ/bit, got pJ", "dram:HBM4");
  refused(entry("pJ"), "entries.divide: expected one of add, clock", "divide");
}

}  // namespace
}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// What RTL takes from a preset: constants, tables, refusals.
#include "hostlib/arch/rtl_package.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hostlib/io/error.h"
#include "hostlib/numerics/functions.h"

namespace lawcat {
namespace {

using testing::HasSubstr;

TEST(RtlPackage, HasThePresetsNumbers) {
  const Preset edge = load_preset("edge");
  const std::string text = rtl_package(edge);
  for (const char* line :
       {"  localparam int LANES = 64;\n", "  localparam int ROWS = 1;\n", "  localparam int CHANNELS = 4;\n",
        "  localparam int FEATURE_SEGMENT = 32;\n", "  localparam int STREAM_WIDTH = 128;\n",
        "  localparam int ELEMENT_WIDTH = 16;\n", "  localparam int CONTEXT_SLOTS = 64;\n",
        "  localparam int STATE_DEPTH = 4096;\n", "  localparam int PHI_FLOOR_MANTISSA = 2252;\n",
        "  localparam int PHI_FLOOR_EXPONENT = -39;\n", "  localparam int ROUNDING = 2;\n",
        "  localparam int OUTPUT_FLOATING = 1;\n"})
    EXPECT_THAT(text, HasSubstr(line));
  EXPECT_THAT(text, HasSubstr("  localparam [31:0] PRESET_HASH = 32'h" + edge.hash.substr(0, 8) + ";\n"));
}

TEST(RtlPackage, AllShippedPresetsHaveOneAndAsManyWeightSlotsAsContextSlots) {
  for (const std::string& name : preset_names()) {
    const RtlParameters parameters(load_preset(name));
    EXPECT_EQ(parameters.context_slots, parameters.weight_slots) << name;
    EXPECT_GE(parameters.context_slots, 32) << name;
  }
}

TEST(RtlPackage, SlotsAreContextsOfThePresetsFormats) {
  const auto slots = [](const std::vector<std::string>& overrides) {
    return RtlParameters(load_preset("edge", overrides)).context_slots;
  };
  // 64 heads of 64 rows of 64*16+14 + 24+14 bits, and 6 * 64 past inputs of 16 or 24 bits.
  EXPECT_EQ(slots({"buffers.state_kib=586"}), 64);
  EXPECT_EQ(slots({"buffers.state_kib=585.9"}), 32);
  EXPECT_EQ(slots({"buffers.state_kib=610", "datapath.query_key=s24.9"}), 64);
  EXPECT_EQ(slots({"buffers.state_kib=609.9", "datapath.query_key=s24.9"}), 32);
}

TEST(RtlPackage, TablesAreEntriesWithTheirDifferences) {
  for (const std::string& name : preset_names()) {
    const Preset preset = load_preset(name);
    const int bits = preset.datapath.exp2_table_bits;
    const Exp2Table table = make_exp2_table(bits);
    const std::vector<std::uint64_t> words = rtl_table(preset, RtlTable::exp2);
    ASSERT_EQ(words.size(), std::size_t{1} << bits);
    for (std::size_t i = 0; i < words.size(); ++i) {
      EXPECT_EQ(static_cast<std::int32_t>(words[i]), table.entry[i]);
      EXPECT_EQ(static_cast<std::int32_t>(words[i]) + static_cast<std::int32_t>(words[i] >> 32),
                table.entry[i + 1]);
    }
    EXPECT_EQ(rtl_table(preset, RtlTable::gate).size(), std::size_t{30} << preset.datapath.gate_table_bits);
    EXPECT_LT(static_cast<std::int32_t>(rtl_table(preset, RtlTable::reciprocal)[0] >> 32), 0);  // it falls
    EXPECT_EQ(rtl_table_hex(preset, RtlTable::exp2).size(), 17 * words.size());
  }
  EXPECT_EQ(rtl_table_hex(load_preset("edge"), RtlTable::reciprocal).substr(0, 17), "fffe03f801000000\n");
}

TEST(RtlPackage, WhatTheRtlDoesNotDoIsRefusedInOneSentence) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"datapath.state=s24.16"}, "datapath.state: expected block floating point, got s24.16"},
      {{"datapath.normaliser=e8m23"}, "datapath.normaliser: expected block floating point"},
      {{"datapath.state_rounding=error_feedback"}, "datapath.state_rounding: expected truncate"},
      {{"datapath.output=s34.20"}, "datapath.output: expected at most 32 bits"},
      {{"engine.state_lanes=48"}, "engine.state_lanes: expected a power of two"},
      {{"engine.conv_lanes=2"}, "engine.conv_lanes: expected a power of two of at least 4"},
      {{"engine.feature_lanes=1024"}, "engine.conv_lanes: expected at least 64"},
      {{"engine.state_lanes=1024"}, "engine.exp_lanes: expected a multiple of the 16 rows"},
      {{"engine.gate_lanes=8"}, "engine.gate_lanes: expected at most engine.exp_lanes = 4"},
      {{"engine.max_head_dim=256"}, "engine.max_head_dim: expected at most 128"},
      {{"engine.max_feature_dim=100"}, "engine.max_feature_dim: expected at most 64"},
      {{"engine.count=16"},
       "memory.bus_bytes_per_cycle: expected 16 engines times a power of two of at least 16"},
      {{"engine.count=3"}, "memory.bus_bytes_per_cycle"},
      {{"engine.conv_lanes=64"}, "engine.conv_lanes: expected at most 32, got 64"},
      {{"engine.normalise_lanes=16"}, "engine.normalise_lanes: expected at most 8"},
      {{"engine.exp_lanes=64"}, "engine.exp_lanes: expected at most 32"},
      {{"engine.state_lanes=4"}, "engine.state_lanes: expected at least the 8 numbers of a beat"},
      {{"datapath.gate_table_bits=0"}, "datapath.gate_table_bits: expected at least 1"},
      {{"datapath.probability=ue6m7"},
       "datapath.probability: expected mantissa bits for sums over 128 features"},
      {{"datapath.normaliser=bfp40e8", "datapath.guard_bits=4", "datapath.gate=ue5m22"},
       "datapath.normaliser: expected at most 39 bits"},
      {{"datapath.value=s24.0", "datapath.state=bfp8e4"},
       "datapath.state: expected exponents that reach values"},
      {{"buffers.state_kib=30"}, "buffers.state_kib: expected room for 4 to 256 heads"},
      {{"buffers.weight_kib=18"}, "buffers.weight_kib: expected room for 4 to 256 heads"},
      {{"buffers.weight_kib=4000"}, "buffers.weight_kib: expected room for 4 to 256 heads"},
      {{"buffers.state_kib=1", "engine.max_head_dim=64", "engine.max_feature_dim=32"},
       "buffers.state_kib: expected room for 1 to 256 heads"},
      {{"engine.stage_fifo_tokens=129"}, "engine.stage_fifo_tokens: expected at most 128, got 129"},
  };
  for (const auto& [overrides, words] : cases) {
    std::string sentence = "no error";
    try {
      rtl_package(load_preset("edge", overrides));
    } catch (const InputError& error) {
      sentence = error.what();
    }
    EXPECT_THAT(sentence, HasSubstr(words));
  }
}

}  // namespace
}  // namespace lawcat

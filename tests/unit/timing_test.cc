// SPDX-License-Identifier: Apache-2.0
// Formulas of hostlib/arch/timing.h against figures made by hand.
#include "hostlib/arch/timing.h"

#include <gtest/gtest.h>

#include <map>

namespace lawcat {
namespace {

Preset preset_of(const std::string& name, const std::vector<std::string>& overrides = {}) {
  return load_preset(name, overrides);
}

using Timings = std::array<StageTiming, kStageCount>;

TEST(StageTiming, FollowsTheFormulasForLlama1BOnEdge) {
  // Lanes: 64 state, 4 channels, feature map 32 x 1, 4 exponentials, 2 gates, 2 outputs; beats of 8.
  EXPECT_EQ(stage_timing(TileLayout(preset_of("edge")), 64, 32), (Timings{{{8, 1},
                                                                           {32, 9},           // 2 * 64 / 4
                                                                           {64, 8 + 8 + 2},   // drain 32 / 4
                                                                           {32, 35 + 2 + 8},  // n = 8
                                                                           {32, 18},
                                                                           {35, 5},  // 4 * 8 + 3
                                                                           {64, 13},
                                                                           {32, 13},
                                                                           {8, 2}}}));
  EXPECT_EQ(stage_timing(TileLayout(preset_of("edge")), 64, 32)[0].latency(), 9);
}

TEST(StageTiming, FollowsTheFormulasForMistralOnEdgeMax) {
  // 2 rows of 64, 8 channels, feature map 32 x 2, 8 exponentials, 4 gates, 4 outputs; D = 128, F = 64.
  EXPECT_EQ(stage_timing(TileLayout(preset_of("edge-max")), 128, 64),
            (Timings{{{16, 1},
                      {32, 9},
                      {128, 8 + 1 + 4 + 3},  // 2 slices of 64
                      {32, 35 + 3 + 8},
                      {32, 18},
                      {37, 5},    // two levels
                      {128, 13},  // 2 segments, 64 pairs of rows
                      {32, 13},
                      {16, 2}}}));
}

TEST(StageTiming, HasFloorsAndRoundsPartsUp) {
  const auto edge = stage_timing(TileLayout(preset_of("edge")), 5, 3);
  EXPECT_EQ(edge, (Timings{{{1, 1}, {4, 9}, {11, 18}, {4, 38}, {4, 18}, {7, 5}, {6, 13}, {3, 13}, {1, 2}}}));
}

TEST(TileLayout, TakesTheShareOfTheInterconnectThatATileCanUse) {
  EXPECT_EQ(TileLayout(preset_of("edge")).stream_width, 128);
  EXPECT_EQ(TileLayout(preset_of("edge", {"engine.count=1"})).stream_width, 1024);  // a segment of 64
  EXPECT_EQ(TileLayout(preset_of("edge", {"engine.count=3"})).stream_width, 256);
  EXPECT_EQ(TileLayout(preset_of("nano", {"engine.count=2"})).stream_width, 128);  // a header
  EXPECT_EQ(TileLayout(preset_of("nano", {"memory.bus_bytes_per_cycle=1024"})).stream_width, 16 * 16);
  EXPECT_EQ(TileLayout(preset_of("precise")).elements(), 4);
}

TEST(DistributeHeads, GivesWholeGroupsWhenTheyDivideEvenly) {
  EXPECT_EQ(distribute_heads(1, 32, 8), (std::vector<EngineShare>{{0, 32, 0, 8, 0}}));
  EXPECT_EQ(distribute_heads(2, 8, 4), (std::vector<EngineShare>{{0, 4, 0, 2, 0}, {4, 4, 2, 2, 1}}));
}

TEST(DistributeHeads, SplitsGroupsAndTiesTheirEnginesTogether) {
  EXPECT_EQ(distribute_heads(4, 8, 2),
            (std::vector<EngineShare>{{0, 2, 0, 1, 0}, {2, 2, 0, 1, 0}, {4, 2, 1, 1, 1}, {6, 2, 1, 1, 1}}));
  EXPECT_EQ(distribute_heads(3, 8, 2),
            (std::vector<EngineShare>{{0, 2, 0, 1, 0}, {2, 3, 0, 2, 0}, {5, 3, 1, 1, 0}}));
}

TEST(DistributeHeads, CoversEveryHeadOnceForAllCounts) {
  for (int kv_heads = 1; kv_heads <= 8; ++kv_heads) {
    for (int group = 1; group <= 4; ++group) {
      for (int engines = 1; engines <= 40; ++engines) {
        int next = 0;
        for (const EngineShare& share : distribute_heads(engines, kv_heads * group, kv_heads)) {
          EXPECT_EQ(share.first_head, next);
          EXPECT_GE(share.heads, 1);
          EXPECT_EQ(share.first_kv_head, share.first_head / group);
          next += share.heads;
          EXPECT_EQ(share.first_kv_head + share.kv_heads - 1, (next - 1) / group);
        }
        EXPECT_EQ(next, kv_heads * group);
      }
    }
  }
}

TEST(PacketsOf, CutAShareAtItsGroupsAndAtTheMostHeads) {
  using Packets = std::vector<PacketHeads>;
  EXPECT_EQ(packets_of({0, 8, 0, 2, 0}, 4, 8), (Packets{{0, 4}, {4, 4}}));
  EXPECT_EQ(packets_of({2, 3, 0, 2, 0}, 4, 3), (Packets{{2, 2}, {4, 1}}));  // parts of two groups
  EXPECT_EQ(packets_of({2, 7, 0, 3, 0}, 4, 2), (Packets{{2, 2}, {4, 2}, {6, 2}, {8, 1}}));
  EXPECT_EQ(packets_of({5, 3, 5, 3, 0}, 1, 3), (Packets{{5, 1}, {6, 1}, {7, 1}}));
}

TEST(ContextBits, CountExponentsLeadBitsAndResidues) {
  Datapath datapath;
  datapath.query_key = Format::fixed(true, 16, 9);
  datapath.state = parse_format("bfp16e8", "test");
  datapath.normaliser = parse_format("bfp24e8", "test");
  EXPECT_EQ(state_bits_per_head(datapath, 64, 32), 64 * (64 * 16 + 14 + 24 + 14));
  EXPECT_EQ(tail_bits(datapath, 64), 2 * 3 * 64 * 16);
  EXPECT_EQ(context_bits(datapath, 4, 64, 32), 4 * (64 * 1076 + 6144));
  datapath.state_rounding = Rounding::error_feedback;
  datapath.guard_bits = 6;
  EXPECT_EQ(state_bits_per_head(datapath, 64, 32), 64 * (64 * 22 + 14 + 30 + 14));
  datapath.state = datapath.normaliser = Format::fixed(true, 32, 16);
  datapath.state_rounding = Rounding::nearest_even;
  EXPECT_EQ(state_bits_per_head(datapath, 64, 32), 64 * 65 * 32);
}

TEST(TokenBytes, ArePacketsInWholeBeats) {
  // Beats of 16 bytes; s12 values take 16 bits as the others do. D = 20 are 3 beats, F = 5 one.
  const TileLayout edge(preset_of("edge"));
  EXPECT_EQ(packet_beats(edge, 20, 5).input(4), 1 + 3 + 3 + 1 + 1 + 3 + 3 * 3);
  EXPECT_EQ(packet_beats(edge, 20, 5).output(4), 1 + 4 * 3);
  EXPECT_EQ(input_token_bytes(edge, 4, 1, 1, 20, 5), 16 * 21);
  EXPECT_EQ(input_token_bytes(edge, 8, 2, 3, 20, 5), 16 * (3 + 2 * 8 + 8 * 3));
  EXPECT_EQ(input_token_bytes(edge, 4, 1, 1, 20, 5, 64), 6 * 64);
  EXPECT_EQ(output_token_bytes(edge, 8, 3, 20), 16 * (3 + 8 * 3));
  EXPECT_EQ(output_token_bytes(edge, 8, 3, 20, 64), 7 * 64);
}

TEST(Bottleneck, NamesTheBusiestUnitAndSaysWhenNoneBinds) {
  std::map<std::string, double> counters;
  const CounterReader read = [&](const std::string& name) { return counters[name]; };
  EXPECT_EQ(find_bottleneck(read).reason, "no cycles were counted");
  EXPECT_TRUE(utilization(read).empty());
  counters = {{"unit.cycles", 100},
              {"unit.engine_cycles", 400},
              {"state_update.busy_cycles", 380},
              {"state_update.starve_cycles", 20},
              {"dram.busy_cycles", 60}};
  EXPECT_EQ(find_bottleneck(read).unit, "state_update");
  EXPECT_DOUBLE_EQ(find_bottleneck(read).share, 0.95);
  EXPECT_EQ(find_bottleneck(read).reason,
            "state_update is in use 95 % of the time; state_update waits for input 5 % and for room "
            "downstream 0 % of "
            "the time");
  counters["state_update.busy_cycles"] = 100;
  EXPECT_EQ(find_bottleneck(read).unit, "dram");
  EXPECT_NE(find_bottleneck(read).reason.find("no unit binds all the time (dram most, 60 %)"),
            std::string::npos);
  EXPECT_EQ(find_bottleneck(read).reason.find("swapped"), std::string::npos);
  counters["dram.read_bytes"] = counters["dram.write_bytes"] = 1000;
  counters["dma.state_read_bytes"] = 500;
  EXPECT_NE(find_bottleneck(read).reason.find("swapped states are 25 % of DRAM's bytes"), std::string::npos);
  EXPECT_EQ(utilization(read).size(), 12U);
}

}  // namespace
}  // namespace lawcat

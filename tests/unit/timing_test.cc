// SPDX-License-Identifier: Apache-2.0
// Formulas of hostlib/arch/timing.h against figures made by hand.
#include "hostlib/arch/timing.h"

#include <gtest/gtest.h>

#include <map>

namespace lawcat {
namespace {

TEST(StageTiming, FollowsTheFormulasForLlama1B) {
  Preset::Engine engine;
  engine.state_lanes = 64;
  engine.conv_lanes = 8;
  engine.feature_lanes = 64;
  engine.exp_lanes = 2;
  engine.gate_lanes = 1;
  engine.normalise_lanes = 1;
  const auto timing = stage_timing(engine, 64, 32);
  const auto at = [&](Stage stage) { return timing[static_cast<std::size_t>(stage)]; };
  EXPECT_EQ(at(Stage::convolution), (StageTiming{64, 5}));            // 512 / 8; 3 + 2
  EXPECT_EQ(at(Stage::feature_map), (StageTiming{64, 10}));           // 4096 / 64; 4 + 6
  EXPECT_EQ(at(Stage::dual_softmax), (StageTiming{64, 5 + 9 + 16}));  // 128 / 2
  EXPECT_EQ(at(Stage::gate), (StageTiming{64, 5}));
  EXPECT_EQ(at(Stage::state_update), (StageTiming{65, 6}));  // 64 * 65 / 64; one row a cycle
  EXPECT_EQ(at(Stage::normalise), (StageTiming{64, 6}));
  EXPECT_EQ(at(Stage::normalise).latency(), 70);
}

TEST(StageTiming, RoundsPartOfACycleUp) {
  Preset::Engine engine;
  engine.conv_lanes = 3;
  engine.state_lanes = 100;
  const auto timing = stage_timing(engine, 16, 8);
  EXPECT_EQ(timing[0], (StageTiming{43, 5}));  // 128 / 3; 3 + clog2(3)
  EXPECT_EQ(timing[static_cast<std::size_t>(Stage::state_update)],
            (StageTiming{3, 6 + 3}));  // 272 / 100; 7 rows
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

TEST(ContextBits, CountExponentsAndResidues) {
  Datapath datapath;
  datapath.query_key = Format::fixed(true, 16, 9);
  datapath.state = parse_format("bfp16e8", "test");
  datapath.normaliser = parse_format("bfp24e8", "test");
  EXPECT_EQ(state_bits_per_head(datapath, 64, 32), 64 * (64 * 16 + 8 + 24 + 8));
  EXPECT_EQ(tail_bits(datapath, 64), 3 * 64 * 16);
  EXPECT_EQ(context_bits(datapath, {0, 4, 0, 1, 0}, 64, 32), 4 * 64 * 1064 + 5 * 3072);
  datapath.state_rounding = Rounding::error_feedback;
  datapath.guard_bits = 6;
  EXPECT_EQ(state_bits_per_head(datapath, 64, 32), 64 * (64 * 22 + 8 + 30 + 8));
  datapath.state = datapath.normaliser = Format::fixed(true, 32, 16);
  datapath.state_rounding = Rounding::nearest_even;
  EXPECT_EQ(state_bits_per_head(datapath, 64, 32), 64 * 65 * 32);
}

TEST(TokenBytes, RoundEachPartToBytesAndBursts) {
  Datapath datapath;
  datapath.query_key = Format::fixed(true, 12, 9);
  datapath.value = Format::fixed(true, 10, 9);
  datapath.gate_logit = Format::fixed(true, 9, 5);
  datapath.output = Format::fixed(true, 16, 9);
  // q 2*5*12 = 120 bits, k 60, v 50, gk 6*9 = 54
  EXPECT_EQ(input_token_bytes(datapath, 2, 1, 5, 3), 15 + 8 + 7 + 7);
  EXPECT_EQ(input_token_bytes(datapath, 2, 1, 5, 3, 8), 16 + 8 + 8 + 8);
  EXPECT_EQ(output_token_bytes(datapath, 2, 5), 20);
  EXPECT_EQ(output_token_bytes(datapath, 2, 5, 64), 64);
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
  EXPECT_EQ(utilization(read).size(), 9U);
}

}  // namespace
}  // namespace lawcat

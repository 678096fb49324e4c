// SPDX-License-Identifier: Apache-2.0
// An engine's pipeline: fill, steady state, back-pressure, FIFOs, heads over engines; against hand-made
// figures.
#include <gtest/gtest.h>

#include <ostream>

#include "tests/timing/machine.h"
#include "tests/timing/stepped_tile.h"

namespace lawcat {
namespace {

constexpr UnitShape kOneHead{.heads = 1, .kv_heads = 1, .head_dim = 16, .feature_dim = 8};
// Read request and latency 1, transfer 1; write 1.
constexpr std::int64_t kMemoryCycles = 3;

double cycles(const Preset& preset, const UnitShape& shape, int tokens) {
  return run_jobs(preset, shape, {tokens}).value("unit.cycles");
}

TEST(Pipeline, OneTokenTakesExactlyTheSumOfLatencies) {
  // Port 1, header 1, k 1, q 1 and its register 1; convolution 4 + 9, feature map 8 + 18, dual softmax 4 +
  // 39, row prepare 9 + 5, state update 2 + 13, reciprocal 9, normalise 2 + 13, the answer's header 1, pack 1
  // + 2; memory 1 + 1 + 1.
  const Preset preset = fast_machine();
  EXPECT_EQ(fill_cycles(preset, kOneHead), 5 + 13 + 26 + 43 + 14 + 15 + 9 + 15 + 1 + 3);
  EXPECT_EQ(cycles(preset, kOneHead, 1), 5 + 13 + 26 + 43 + 14 + 15 + 9 + 15 + 1 + 3 + kMemoryCycles);
}

TEST(Pipeline, ADecodeStepOfLlamaOnEdgeTakesItsFormula) {
  // Per engine 4 heads of one group, D = 64 in 8 beats, F = 32, in a memory that is never in the way but for
  // the bus of 8 beats a cycle: eight engines' packets of 57 beats, one after another, are there in 1 + 8
  // * 8. The first head's way is 400 (see tile_test.cc), 64 cycles for every other one, whose answers have no
  // header, and the cycle in which the last beat is there; then the last answer of 33 beats is written.
  constexpr UnitShape kLlama{.heads = 32, .kv_heads = 8, .head_dim = 64, .feature_dim = 32};
  Preset preset = load_preset("edge");
  preset.memory = fast_machine().memory;
  preset.memory.bus_bytes_per_cycle = 8 * 16;
  EXPECT_EQ(cycles(preset, kLlama, 1), 1 + 8 * 8 + (400 + 3 * 64 - 1 + 1) + 5);
}

struct SlowStage {
  const char* name;
  void (*slow)(Preset::Engine&);
  Stage stage;
  int interval;
};
void PrintTo(const SlowStage& slow, std::ostream* out) {
  *out << slow.name;
}
class EachStageSlow : public testing::TestWithParam<SlowStage> {};

TEST_P(EachStageSlow, TokensFollowAtItsInterval) {
  // Heads enough that none waits for its own state, slots enough that values can wait for theirs.
  constexpr UnitShape kHeads{.heads = 32, .kv_heads = 32, .head_dim = 16, .feature_dim = 8};
  Preset preset = fast_machine();
  preset.engine.stage_fifo_tokens = 16;
  GetParam().slow(preset.engine);
  const auto timing = stage_timing(TileLayout(preset), 16, 8);
  ASSERT_EQ(timing_of(timing, GetParam().stage).interval, GetParam().interval);
  EXPECT_EQ(cycles(preset, kHeads, 41) - cycles(preset, kHeads, 40), 32 * GetParam().interval);
  const Counters counters = run_jobs(preset, kHeads, {400});
  const auto read = [&](const std::string& name) { return counters.value(name); };
  EXPECT_EQ(find_bottleneck(read).unit, to_string(GetParam().stage));
  EXPECT_GT(find_bottleneck(read).share, 0.98);
}
INSTANTIATE_TEST_SUITE_P(
    Pipeline, EachStageSlow,
    testing::Values(
        SlowStage{"convolution",
                  [](Preset::Engine& e) {
                    e.conv_lanes = 4;
                    e.feature_lanes = 64;
                  },
                  Stage::convolution, 32},
        SlowStage{"feature_map", [](Preset::Engine& e) { e.feature_lanes = 16; }, Stage::feature_map, 16},
        SlowStage{"row_prepare",
                  [](Preset::Engine& e) {
                    e.state_lanes = 128;
                    e.exp_lanes = 2;
                    e.gate_lanes = 2;
                  },
                  Stage::row_prepare, 19},
        SlowStage{"gate", [](Preset::Engine& e) { e.gate_lanes = 1; }, Stage::gate, 16},
        SlowStage{"state_update", [](Preset::Engine& e) { e.state_lanes = 64; }, Stage::state_update, 16},
        SlowStage{"normalise", [](Preset::Engine& e) { e.normalise_lanes = 1; }, Stage::normalise, 16}),
    [](const auto& slow) { return slow.param.name; });

TEST(Pipeline, AStreamOfNarrowBeatsBinds) {
  // D = 128 and F = 8 in beats of 8: header, k, q, v of 16 beats and gk of 1 each are 51 beats a token.
  const UnitShape shape{.heads = 8, .kv_heads = 8, .head_dim = 128, .feature_dim = 8};
  Preset preset = fast_machine();
  preset.engine.max_head_dim = 128;
  preset.engine.normalise_lanes = 8;
  preset.memory.bus_bytes_per_cycle = 16;
  const Counters counters = run_jobs(preset, shape, {40}), longer = run_jobs(preset, shape, {41});
  EXPECT_EQ(longer.value("unpack.busy_cycles") - counters.value("unpack.busy_cycles"), 8 * 51);
  EXPECT_EQ(longer.value("pack.busy_cycles") - counters.value("pack.busy_cycles"), 8 * 17);
}

TEST(Pipeline, LongPrefillsOfLlamaAndMistralKeepTheStateUpdateBusy) {
  for (const UnitShape& shape : {UnitShape{.heads = 32, .kv_heads = 8, .head_dim = 64, .feature_dim = 32},
                                 UnitShape{.heads = 32, .kv_heads = 8, .head_dim = 128, .feature_dim = 64}}) {
    const Counters counters = run_jobs(load_preset("edge"), shape, {4096});
    const auto timing = stage_timing(TileLayout(load_preset("edge")), shape.head_dim, shape.feature_dim);
    EXPECT_EQ(timing_of(timing, Stage::state_update).interval, shape.head_dim * shape.feature_dim * 2 / 64);
    EXPECT_GE(counters.value("state_update.busy_cycles") / counters.value("unit.engine_cycles"), 0.97);
  }
}

TEST(Pipeline, AnEngineWithOneHeadWaitsForItsState) {
  // row_prepare 9 + 5, state update 2, written back 11 cycles later; the next token in the cycle after.
  const Preset preset = fast_machine();
  for (const int tokens : {1, 2, 17, 400})
    EXPECT_EQ(cycles(preset, kOneHead, tokens),
              fill_cycles(preset, kOneHead) + (tokens - 1) * (9 + 5 + 2 + 11 + 1) + kMemoryCycles)
        << tokens;
  EXPECT_GT(run_jobs(preset, kOneHead, {400}).value("row_prepare.stall_cycles"), 300 * 19);
}

TEST(Pipeline, EveryFifoDepthAndRateAgreesWithTheTileSteppedCycleByCycle) {
  const UnitShape shape{.heads = 6, .kv_heads = 2, .head_dim = 16, .feature_dim = 8};
  std::uint32_t seed = 1;
  const auto lanes = [&](int least, int most) {
    seed = seed * 1664525u + 1013904223u;
    return std::clamp(1 << (seed >> 29), least, most);
  };
  for (int round = 0; round < 100; ++round) {
    Preset preset = fast_machine();
    preset.engine.stage_fifo_tokens = 1 + round % 7;
    preset.engine.state_lanes = 16 << round % 4;
    preset.engine.feature_lanes = 2 * lanes(4, 128);
    preset.engine.exp_lanes = lanes(2, 4);
    preset.engine.gate_lanes = lanes(1, 2);
    preset.engine.normalise_lanes = lanes(1, 16);
    preset.engine.conv_lanes = 4 * lanes(4, 16);
    const int tokens = 1 + round % 23;
    const Counters counters = run_jobs(preset, shape, {tokens});
    const TileLayout layout(preset);
    std::vector<TilePacket> packets;  // in the buffer 2 cycles after the job's start, and so on the port
    for (int token = 0; token < tokens; ++token)
      for (const int head : {0, 3}) packets.push_back({3, head, 2});
    const SteppedResult expected = SteppedTile::run(
        {stage_timing(layout, 16, 8), packet_beats(layout, 16, 8), layout.fifo_tokens}, packets);
    // The last beat is there in the next cycle, and written in one.
    EXPECT_EQ(counters.value("unit.cycles"), expected.answered.back() + 2) << "round " << round;
    for (int s = 0; s < kStageCount; ++s) {
      const std::string name{to_string(static_cast<Stage>(s))};
      EXPECT_EQ(counters.value(name + ".busy_cycles"), expected.stages[static_cast<std::size_t>(s)].busy)
          << name << round;
      EXPECT_EQ(counters.value(name + ".stall_cycles"), expected.stages[static_cast<std::size_t>(s)].stall)
          << name << round;
      EXPECT_EQ(counters.value(name + ".busy_cycles") + counters.value(name + ".stall_cycles") +
                    counters.value(name + ".starve_cycles"),
                counters.value("unit.engine_cycles"))
          << name << round;
    }
  }
}

TEST(Pipeline, WithOneSlotAStageWaitsForItsSuccessorToHaveRead) {
  const auto shape = [](int heads) {
    return UnitShape{.heads = heads, .kv_heads = 1, .head_dim = 16, .feature_dim = 8};
  };
  Preset preset = fast_machine();
  preset.engine.state_lanes = 64;  // 16 cycles
  preset.engine.stage_fifo_tokens = 1;
  // The longest way from a start to the slot's release: the softmax's 4 + 39, then row_prepare reads for 9.
  EXPECT_EQ(cycles(preset, shape(20), 1) - cycles(preset, shape(19), 1), 4 + 39 + 9);
  preset.engine.stage_fifo_tokens = 8;
  EXPECT_EQ(cycles(preset, shape(20), 1) - cycles(preset, shape(19), 1), 16);
}

TEST(Pipeline, HeadsOfAGroupShareTheGate) {
  const UnitShape grouped{.heads = 4, .kv_heads = 1, .head_dim = 16, .feature_dim = 8};
  const UnitShape single{.heads = 4, .kv_heads = 4, .head_dim = 16, .feature_dim = 8};
  Preset preset = fast_machine();
  preset.engine.gate_lanes = 1;
  EXPECT_EQ(run_jobs(preset, grouped, {10}).value("gate.busy_cycles"), 10 * 16);
  EXPECT_EQ(run_jobs(preset, single, {10}).value("gate.busy_cycles"), 10 * 16 * 4);
}

TEST(Pipeline, EnginesDivideTheHeads) {
  const UnitShape shape{.heads = 24, .kv_heads = 12, .head_dim = 16, .feature_dim = 8};
  for (const int engines : {1, 2, 3, 4, 5, 8}) {
    Preset preset = fast_machine();
    preset.engine.state_lanes = 64;
    preset.engine.stage_fifo_tokens = 16;
    preset.engine.count = engines;
    const int most = (24 + engines - 1) / engines;
    const Counters counters = run_jobs(preset, shape, {100});
    const double expected =
        static_cast<double>(fill_cycles(preset, shape) - 1 + (100 * most - 1) * 16 + kMemoryCycles);
    // The last head may need a header of its own; writes of engines that end together queue for a cycle each.
    EXPECT_GE(counters.value("unit.cycles"), expected) << engines;
    EXPECT_LE(counters.value("unit.cycles"), expected + 1 + 2 * engines) << engines;
    EXPECT_EQ(counters.value("unit.engine_cycles"), counters.value("unit.cycles") * engines) << engines;
    EXPECT_EQ(counters.value("state_update.busy_cycles"), 100 * 24 * 16) << engines;
  }
}

TEST(Pipeline, DecodeStepsEachPayTheFillThatPrefillPaysOnce) {
  const UnitShape shape{.heads = 4, .kv_heads = 2, .head_dim = 16, .feature_dim = 8};
  Preset preset = fast_machine();
  preset.engine.state_lanes = 64;
  const double one = cycles(preset, shape, 1);
  EXPECT_EQ(run_jobs(preset, shape, std::vector<int>(20, 1)).value("unit.cycles"), 20 * one);
  EXPECT_EQ(cycles(preset, shape, 20), one + 19 * 4 * 16);
}

}  // namespace
}  // namespace lawcat

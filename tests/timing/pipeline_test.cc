// SPDX-License-Identifier: Apache-2.0
// An engine's pipeline: fill, steady state, back-pressure, FIFOs, heads over engines; against hand-made
// figures.
#include <gtest/gtest.h>

#include <ostream>

#include "tests/timing/machine.h"

namespace lawcat {
namespace {

constexpr UnitShape kOneHead{.heads = 1, .kv_heads = 1, .head_dim = 16, .feature_dim = 8};
// Read request and latency 1, transfer 1; write 1.
constexpr std::int64_t kMemoryCycles = 3;

double cycles(const Preset& preset, const UnitShape& shape, int tokens) {
  return run_jobs(preset, shape, {tokens}).value("unit.cycles");
}

TEST(Pipeline, OneTokenTakesExactlyTheSumOfLatencies) {
  // convolution 1+5, feature map 1+8, dual softmax 1+13, state update 1+16, normalise 1+6 and memory 1+1+1
  Preset preset = fast_machine();
  EXPECT_EQ(fill_cycles(preset, kOneHead), 6 + 9 + 14 + 17 + 7);
  EXPECT_EQ(cycles(preset, kOneHead, 1), 6 + 9 + 14 + 17 + 7 + kMemoryCycles);
}

struct SlowStage {
  const char* name;
  int Preset::Engine::*lanes;
  Stage stage;
};
void PrintTo(const SlowStage& slow, std::ostream* out) {
  *out << slow.name;
}
class EachStageSlow : public testing::TestWithParam<SlowStage> {};

TEST_P(EachStageSlow, TokensFollowAtItsInterval) {
  Preset preset = fast_machine();
  preset.engine.*GetParam().lanes = 1;
  const auto timing = stage_timing(preset.engine, 16, 8);
  const int interval = timing_of(timing, GetParam().stage).interval;
  ASSERT_GE(interval, 16);
  // The gate runs beside the features and is ahead of the first token.
  const auto latency = [&](Stage stage) { return timing_of(timing, stage).latency(); };
  const int ahead = GetParam().stage == Stage::gate
                        ? latency(Stage::convolution) + latency(Stage::feature_map) +
                              latency(Stage::dual_softmax) - latency(Stage::gate)
                        : 0;
  for (const int tokens : {1, 2, 17, 400})
    EXPECT_EQ(cycles(preset, kOneHead, tokens),
              fill_cycles(preset, kOneHead) + std::max(0, (tokens - 1) * interval - ahead) + kMemoryCycles)
        << tokens;
  const Counters counters = run_jobs(preset, kOneHead, {4000});
  const auto read = [&](const std::string& name) { return counters.value(name); };
  EXPECT_EQ(find_bottleneck(read).unit, to_string(GetParam().stage));
  EXPECT_GT(find_bottleneck(read).share, 0.98);
}
INSTANTIATE_TEST_SUITE_P(
    Pipeline, EachStageSlow,
    testing::Values(SlowStage{"convolution", &Preset::Engine::conv_lanes, Stage::convolution},
                    SlowStage{"feature_map", &Preset::Engine::feature_lanes, Stage::feature_map},
                    SlowStage{"dual_softmax", &Preset::Engine::exp_lanes, Stage::dual_softmax},
                    SlowStage{"gate", &Preset::Engine::gate_lanes, Stage::gate},
                    SlowStage{"state_update", &Preset::Engine::state_lanes, Stage::state_update},
                    SlowStage{"normalise", &Preset::Engine::normalise_lanes, Stage::normalise}),
    [](const auto& slow) { return slow.param.name; });

TEST(Pipeline, SlowNormaliseStallsTheStateUpdateExactly) {
  // State update every 4 cycles (16 * 17 / 68), normalise every 16, FIFO of 2. The state update's token 2
  // waits for normalise to have read token 0: y0 + 16 = x0 + 4 + depth + 16 instead of x0 + 8; from there 12
  // cycles a token.
  Preset preset = fast_machine();
  preset.engine.state_lanes = 68;
  preset.engine.normalise_lanes = 1;
  preset.engine.stage_fifo_tokens = 2;
  const auto timing = stage_timing(preset.engine, 16, 8);
  ASSERT_EQ(timing_of(timing, Stage::state_update).interval, 4);
  const int depth = timing_of(timing, Stage::state_update).depth;
  const int tokens = 50;
  const Counters counters = run_jobs(preset, kOneHead, {tokens});
  EXPECT_EQ(counters.value("unit.cycles"), fill_cycles(preset, kOneHead) + (tokens - 1) * 16 + kMemoryCycles);
  EXPECT_EQ(counters.value("state_update.busy_cycles"), 4 * tokens);
  EXPECT_EQ(counters.value("normalise.stall_cycles"), 0);
  // Token 2: the dual softmax (14) starts once token 0 is read, x0 + 4, and so has it ready at x0 + 18.
  EXPECT_EQ(counters.value("state_update.stall_cycles"), (20 + depth - 18) + 12 * (tokens - 3));
}

/// The recurrence written out over all tokens, one array per stage: what blocks and rings must not change.
struct Oracle {
  std::int64_t cycles = 0;
  std::array<std::int64_t, kStageCount> stall{};
};
Oracle oracle(const Preset& preset, const UnitShape& shape, int tokens) {
  const auto timing = stage_timing(preset.engine, shape.head_dim, shape.feature_dim);
  const int fifo = preset.engine.stage_fifo_tokens, heads = shape.heads, group = shape.group();
  const int n = tokens * heads;
  std::array<std::vector<std::int64_t>, kStageCount> start, result, read;
  for (auto* arrays : {&start, &result, &read})
    for (auto& array : *arrays) array.assign(static_cast<std::size_t>(n), 0);
  Oracle out;
  const auto run = [&](Stage stage, int i, std::int64_t input, std::int64_t room) {
    const auto s = static_cast<std::size_t>(stage), at = static_cast<std::size_t>(i);
    const std::int64_t free = i > 0 ? read[s][at - 1] : 0;
    start[s][at] = std::max({input, free, room});
    out.stall[s] += start[s][at] - std::max(input, free);
    read[s][at] = start[s][at] + timing[s].interval;
    result[s][at] = start[s][at] + timing[s].latency();
    return result[s][at];
  };
  const auto room = [&](Stage next, int i) {
    return i >= fifo ? read[static_cast<std::size_t>(next)][static_cast<std::size_t>(i - fifo)] : 0;
  };
  std::int64_t gates = 0;
  for (int i = 0; i < n; ++i) {
    if (i % group == 0) {
      const int g = i / group;
      const std::int64_t slot = g >= fifo ? read[static_cast<std::size_t>(Stage::state_update)]
                                                [static_cast<std::size_t>((g - fifo) * group + group - 1)]
                                          : 0;
      gates = run(Stage::gate, g, 2, slot);
    }
    const auto convolved = run(Stage::convolution, i, 2, room(Stage::feature_map, i));
    const auto mapped = run(Stage::feature_map, i, convolved, room(Stage::dual_softmax, i));
    const auto features = run(Stage::dual_softmax, i, mapped, room(Stage::state_update, i));
    const auto sums = run(Stage::state_update, i, std::max(features, gates), room(Stage::normalise, i));
    out.cycles = run(Stage::normalise, i, sums, 0) + 1;
  }
  return out;
}

TEST(Pipeline, EveryFifoDepthAndRateAgreesWithTheRecurrenceWrittenOut) {
  const UnitShape shape{.heads = 6, .kv_heads = 2, .head_dim = 16, .feature_dim = 8};
  std::uint32_t seed = 1;
  const auto lanes = [&] { return 1 << ((seed = seed * 1664525u + 1013904223u) >> 28); };
  for (int round = 0; round < 200; ++round) {
    Preset preset = fast_machine();
    preset.engine.stage_fifo_tokens = 1 + round % 7;
    preset.engine.conv_lanes = lanes();
    preset.engine.feature_lanes = lanes();
    preset.engine.exp_lanes = lanes();
    preset.engine.gate_lanes = lanes();
    preset.engine.state_lanes = lanes();
    preset.engine.normalise_lanes = lanes();
    const int tokens = 1 + round % 23;
    const Counters counters = run_jobs(preset, shape, {tokens});
    const Oracle expected = oracle(preset, shape, tokens);
    EXPECT_EQ(counters.value("unit.cycles"), expected.cycles) << "round " << round;
    for (int s = 0; s < kStageCount; ++s) {
      const std::string name{to_string(static_cast<Stage>(s))};
      EXPECT_EQ(counters.value(name + ".stall_cycles"), expected.stall[static_cast<std::size_t>(s)])
          << name << round;
      EXPECT_EQ(counters.value(name + ".busy_cycles") + counters.value(name + ".stall_cycles") +
                    counters.value(name + ".starve_cycles"),
                counters.value("unit.engine_cycles"))
          << name << round;
    }
  }
}

TEST(Pipeline, WithOneSlotAStageWaitsForItsSuccessorToHaveRead) {
  Preset preset = fast_machine();
  preset.engine.state_lanes = 17;  // 16 cycles
  preset.engine.stage_fifo_tokens = 1;
  const auto timing = stage_timing(preset.engine, 16, 8);
  int period = 0;
  for (const auto& [from, to] : {std::pair{Stage::convolution, Stage::feature_map},
                                 {Stage::feature_map, Stage::dual_softmax},
                                 {Stage::dual_softmax, Stage::state_update},
                                 {Stage::gate, Stage::state_update},
                                 {Stage::state_update, Stage::normalise}})
    period = std::max(period, timing_of(timing, from).latency() + timing_of(timing, to).interval);
  EXPECT_EQ(cycles(preset, kOneHead, 101) - cycles(preset, kOneHead, 100), period);
  preset.engine.stage_fifo_tokens = 8;
  EXPECT_EQ(cycles(preset, kOneHead, 101) - cycles(preset, kOneHead, 100), 16);
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
  const UnitShape shape{.heads = 8, .kv_heads = 4, .head_dim = 16, .feature_dim = 8};
  for (const int engines : {1, 2, 3, 4, 5, 8, 9}) {
    Preset preset = fast_machine();
    preset.engine.state_lanes = 17;
    preset.engine.count = engines;
    const int used = std::min(engines, 8), most = (8 + used - 1) / used;
    const Counters counters = run_jobs(preset, shape, {100});
    const double expected =
        static_cast<double>(fill_cycles(preset, shape) + (100 * most - 1) * 16 + kMemoryCycles);
    // Writes of engines that end together queue for a cycle each.
    EXPECT_GE(counters.value("unit.cycles"), expected) << engines;
    EXPECT_LE(counters.value("unit.cycles"), expected + 2 * used) << engines;
    EXPECT_EQ(counters.value("unit.engine_cycles"), counters.value("unit.cycles") * used) << engines;
    EXPECT_EQ(counters.value("state_update.busy_cycles"), 100 * 8 * 16) << engines;
  }
}

TEST(Pipeline, DecodeStepsEachPayTheFillThatPrefillPaysOnce) {
  const UnitShape shape{.heads = 4, .kv_heads = 2, .head_dim = 16, .feature_dim = 8};
  Preset preset = fast_machine();
  preset.engine.state_lanes = 17;
  const double one = cycles(preset, shape, 1);
  EXPECT_EQ(run_jobs(preset, shape, std::vector<int>(20, 1)).value("unit.cycles"), 20 * one);
  EXPECT_EQ(cycles(preset, shape, 20), one + 19 * 4 * 16);
}

}  // namespace
}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The way to DRAM and back: bandwidth, chunks, multicast, contexts that come and go.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/timing/machine.h"

namespace lawcat {
namespace {

using testing::HasSubstr;

constexpr UnitShape kShape{.heads = 8, .kv_heads = 2, .head_dim = 16, .feature_dim = 8};
// Beats of 128 bytes, one for every part: 2 packets of header, k, two halves of gk and v, and q of 8 heads;
// answers of a header each and 8 outputs.
constexpr double kTokenIn = 128 * (2 * 5 + 8);
constexpr double kTokenOut = 128 * (2 + 8);

TEST(Memory, EveryTokenOfEveryHeadMovesExactlyOnce) {
  for (const int engines : {1, 2}) {
    for (const double stream_kib : {8.0, 15.7, 64.0}) {
      Preset preset = fast_machine();
      preset.engine.count = engines;
      preset.buffers.stream_kib = stream_kib;
      const Counters counters = run_jobs(preset, kShape, {137, 1, 40});
      EXPECT_EQ(counters.value("dram.read_bytes"), 178 * kTokenIn);
      EXPECT_EQ(counters.value("dram.write_bytes"), 178 * kTokenOut);
      EXPECT_EQ(counters.value("interconnect.read_bytes"), 178 * kTokenIn);
      EXPECT_EQ(counters.value("interconnect.write_bytes"), 178 * kTokenOut);
      EXPECT_EQ(counters.value("unit.head_tokens"), 178 * 8);
      EXPECT_EQ(counters.value("state_update.busy_cycles"), 178 * 8 * 2);
      EXPECT_EQ(counters.value("gate.busy_cycles"), 178 * 2 * 2);
      EXPECT_EQ(counters.value("unpack.busy_cycles"), 178 * 18);
      EXPECT_EQ(counters.value("pack.busy_cycles"), 178 * 10);
      EXPECT_EQ(counters.value("stream_buffer.write_bits"), 8 * 178 * (kTokenIn + kTokenOut));
    }
  }
}

TEST(Memory, TokensAreWholeBurstsInDramOnly) {
  Preset preset = fast_machine();
  preset.memory.burst_bytes = 1024;  // 2304 in, 1280 out
  const Counters counters = run_jobs(preset, kShape, {10});
  EXPECT_EQ(counters.value("dram.read_bytes"), 10 * 3072);
  EXPECT_EQ(counters.value("dram.write_bytes"), 10 * 2048);
  EXPECT_EQ(counters.value("interconnect.read_bytes"), 10 * kTokenIn);
}

TEST(Memory, EventsAndBitsFollowFromTheShape) {
  // 5 tokens of 8 heads are 40 head-tokens; 5 tokens of 2 groups are 10 group-tokens. D = 16, F = 8, K = 16.
  const Counters counters = run_jobs(fast_machine(), kShape, {5});
  const auto expect = [&](const std::string& name, double value) {
    EXPECT_EQ(counters.value(name), value) << name;
  };
  expect("convolution.multiplies", 40 * 128);
  expect("convolution.adds", 0);
  expect("feature_map.multiplies", 40 * 256);
  expect("feature_map.adds", 0);
  expect("dual_softmax.multiplies", 40 * 100);
  expect("dual_softmax.adds", 40 * 96);
  expect("dual_softmax.lookups", 40 * 36);
  expect("gate.multiplies", 10 * 32);
  expect("gate.lookups", 10 * 32);
  expect("state_update.multiplies", 40 * 16 * 50);
  expect("row_prepare.adds", 40 * 48);
  expect("row_prepare.multiplies", 0);
  expect("state_update.adds", 0);
  expect("normalise.multiplies", 40 * 17);
  expect("normalise.lookups", 40);
  expect("state_buffer.read_bits", 40 * 16 * (16 * 16 + 14 + 24 + 14));
  expect("state_buffer.write_bits", 40 * 16 * (16 * 16 + 14 + 24 + 14));
  expect("tail_buffer.read_bits", 40 * 2 * 3 * 256);
  expect("tail_buffer.write_bits", 40 * 2 * 3 * 256);
  expect("stream_buffer.write_bits", 5 * 8 * (kTokenIn + kTokenOut));
  expect("stream_buffer.read_bits", 5 * 8 * (kTokenIn + kTokenOut) + 40 * 2 * 256);
  expect("weight_buffer.read_bits", 40 * (128 + 128) * 16);
}

TEST(Memory, BandwidthBindsWhenTheEnginesAreFast) {
  Preset preset = fast_machine();
  preset.memory.bandwidth_bytes_per_s = 16e9;  // at 1 GHz and efficiency 1/2: 8 bytes a cycle
  preset.memory.efficiency = 0.5;
  preset.buffers.stream_kib = 16;
  const int tokens = 2000;
  const Counters counters = run_jobs(preset, kShape, {tokens});
  const double bytes = tokens * (kTokenIn + kTokenOut);
  EXPECT_EQ(counters.value("dram.busy_cycles"), bytes / 8);
  EXPECT_GE(counters.value("unit.cycles"), bytes / 8);
  EXPECT_LE(counters.value("unit.cycles"), 1.01 * bytes / 8);
  const auto read = [&](const std::string& name) { return counters.value(name); };
  EXPECT_EQ(find_bottleneck(read).unit, "dram");
  EXPECT_THAT(find_bottleneck(read).reason, HasSubstr("state_update waits for input"));
}

TEST(Memory, TheBusBindsPerDirection) {
  // Narrow beats of 16 bytes: D in 2, F in 1; packets of 7 + 4 * 2 beats, answers of 1 + 4 * 2.
  Preset preset = fast_machine();
  preset.memory.bus_bytes_per_cycle = 4;
  preset.buffers.stream_kib = 16;
  const Counters counters = run_jobs(preset, kShape, {2000});
  EXPECT_EQ(counters.value("interconnect.read_busy_cycles"), 2000 * 2 * 15 * 16 / 4);
  EXPECT_EQ(counters.value("interconnect.write_busy_cycles"), 2000 * 2 * 9 * 16 / 4);
  EXPECT_LE(counters.value("unit.cycles"), 1.02 * 2000 * 2 * 15 * 16 / 4);
  const auto read = [&](const std::string& name) { return counters.value(name); };
  EXPECT_EQ(find_bottleneck(read).unit, "interconnect_read");
}

TEST(Memory, LatencyIsPaidOnceByAStreamAndEveryTimeByDecodeSteps) {
  Preset preset = fast_machine();
  preset.engine.state_lanes = 64;  // 16 cycles a head-token
  preset.buffers.stream_kib = 64;
  const auto cycles = [&](const std::vector<int>& tokens, double latency_s) {
    preset.memory.latency_s = latency_s;
    return run_jobs(preset, kShape, tokens).value("unit.cycles");
  };
  EXPECT_EQ(cycles({500}, 101e-9) - cycles({500}, 1e-9), 100);
  EXPECT_EQ(cycles(std::vector<int>(10, 1), 101e-9) - cycles(std::vector<int>(10, 1), 1e-9), 1000);
}

TEST(Memory, AHalfIsAskedForAgainOnceItsLastBeatIsTaken) {
  // Chunks of one token, latency 100. Request, 100 + 1 cycles to arrive, 6 beats onto the port: the half is
  // asked for again 107 cycles after it was asked for, two tokens a round.
  constexpr UnitShape kOneHead{.heads = 1, .kv_heads = 1, .head_dim = 16, .feature_dim = 8};
  Preset preset = fast_machine();
  preset.buffers.stream_kib = 2 * (6 * 128 + 2 * 128) / 1024.0;
  preset.memory.latency_s = 100e-9;
  for (const int rounds : {0, 1, 2, 30})
    EXPECT_EQ(run_jobs(preset, kOneHead, {2 * rounds + 1}).value("unit.cycles"),
              rounds * 107 + 101 + fill_cycles(preset, kOneHead) + 1)
        << rounds;
}

TEST(Memory, TokensAreUsedAsTheyArriveNotWhenTheChunkIsThere) {
  // 2304 bytes a token at 8 bytes a cycle: token 0 is there after latency 1 and 288 cycles; 16 tokens are one
  // chunk. What follows the last one's arrival is what follows a single token's, 2 cycles after the start.
  Preset preset = fast_machine();
  const double alone = run_jobs(preset, kShape, {1}).value("unit.cycles") - 2 - 1;
  preset.memory.bandwidth_bytes_per_s = 8e9;
  const Counters counters = run_jobs(preset, kShape, {16});
  EXPECT_EQ(counters.value("unit.cycles"), 1 + 16 * 288 + alone + 16 * kTokenOut / 8);
}

TEST(Memory, EnginesThatShareAGroupReadItOnce) {
  Preset preset = fast_machine();
  for (const int engines : {1, 2, 3, 4, 8}) {
    preset.engine.count = engines;
    const Counters counters = run_jobs(preset, kShape, {50});
    // 8 heads over 2 groups of 4; three engines (2, 3, 3 heads) hold 1, 2 and 1 groups. Each has a header for
    // each of its groups.
    const double groups = engines == 1 || engines == 2 ? 2 : engines == 3 ? 4 : engines;
    EXPECT_EQ(counters.value("interconnect.read_bytes"), 50 * 128 * (groups + 2 * 4 + 8)) << engines;
    EXPECT_EQ(counters.value("dram.write_bytes"), 50 * 128 * (groups + 8)) << engines;
    EXPECT_EQ(counters.value("gate.busy_cycles"), 50 * groups * 2) << engines;
    EXPECT_EQ(counters.value("stream_buffer.write_bits"), 8 * 50 * 128 * (groups * 5 + 8 + groups + 8))
        << engines;
  }
}

TEST(Memory, BlocksOfTheSimulatorChangeNothing) {
  for (const double bandwidth : {4e9, 40e9, 1e18}) {
    for (const int engines : {1, 3, 4}) {
      Preset preset = fast_machine();
      preset.engine.count = engines;
      preset.engine.state_lanes = 64;
      preset.engine.normalise_lanes = 2;
      preset.buffers.stream_kib = 8;
      preset.buffers.state_kib = 16;
      preset.memory.bandwidth_bytes_per_s = bandwidth;
      preset.memory.latency_s = 60e-9;
      const std::vector<int> jobs{100, 33, 1, 1, 64, 7, 2};
      const Counters whole = run_jobs(preset, kShape, jobs, 3);
      for (const int block : {1, 2, 5, 31}) {
        const Counters blocks = run_jobs(preset, kShape, jobs, 3, {.block_tokens = block});
        for (const auto& [name, counter] : whole.all())
          EXPECT_EQ(blocks.value(name), counter.value) << name << " in blocks of " << block;
      }
    }
  }
}

// One context on one engine: 8 heads, each of 16 rows of 16*16+14 + 24+14 bits and of two tails of 3*16*16
// bits, which no head of a group shares with another.
constexpr double kContextBytes = 8 * (16 * (16 * 16 + 14 + 24 + 14) + 2 * 3 * 16 * 16) / 8.0;

Preset with_room_for(double contexts) {
  Preset preset = fast_machine();
  preset.buffers.state_kib = contexts * kContextBytes / 1024;
  preset.memory.bandwidth_bytes_per_s = 64e9;
  preset.memory.latency_s = 50e-9;
  preset.engine.state_lanes = 64;
  return preset;
}

TEST(Memory, StatesOfAllLayersThatFitNeverMove) {
  const Counters counters = run_jobs(with_room_for(4), kShape, std::vector<int>(12, 3), 4);
  EXPECT_EQ(counters.value("dma.state_read_bytes"), 0);
  EXPECT_EQ(counters.value("dma.state_write_bytes"), 0);
}

TEST(Memory, WithRoomForOneStateEveryLayerChangeSwaps) {
  // 3 passes over 4 layers: each change writes the old one, and reads the new one unless it was never used.
  const Counters swapped = run_jobs(with_room_for(1.5), kShape, std::vector<int>(12, 3), 4);
  EXPECT_EQ(swapped.value("dma.state_write_bytes"), 11 * kContextBytes);
  EXPECT_EQ(swapped.value("dma.state_read_bytes"), 8 * kContextBytes);
  const Counters resident = run_jobs(with_room_for(4), kShape, std::vector<int>(12, 3), 4);
  EXPECT_GE(swapped.value("unit.cycles") - resident.value("unit.cycles"), 19 * kContextBytes / 64);
  EXPECT_LE(swapped.value("unit.cycles") - resident.value("unit.cycles"),
            1.1 * 19 * kContextBytes / 64 + 19 * 100);
}

TEST(Memory, OneLayerAgainAndAgainSwapsNothing) {
  const Counters counters = run_jobs(with_room_for(1), kShape, std::vector<int>(5, 3), 1);
  EXPECT_EQ(counters.value("dma.state_write_bytes"), 0);
}

TEST(Memory, SwappingHidesBehindLongJobs) {
  // 400 tokens of 8 heads at 16 cycles are 51200 cycles, a swap 2 * 6.3 KiB / 64 = 202.
  const std::vector<int> jobs(12, 400);
  const double resident = run_jobs(with_room_for(4), kShape, jobs, 4).value("unit.cycles");
  const Counters swapped = run_jobs(with_room_for(2), kShape, jobs, 4);
  EXPECT_GT(swapped.value("dma.state_read_bytes"), 8 * kContextBytes - 1);
  EXPECT_LE(swapped.value("unit.cycles"), 1.001 * resident);
}

TEST(Memory, MoreRoomMovesFewerStates) {
  double before = 1e18;
  for (const double contexts : {2.0, 4.0, 6.0, 8.0}) {
    const double moved =
        run_jobs(with_room_for(contexts), kShape, std::vector<int>(80, 50), 8).value("dma.state_read_bytes");
    EXPECT_LT(moved, before) << contexts;
    before = moved;
  }
  EXPECT_EQ(before, 0);
}

TEST(Memory, SequencesShareTheStateBuffers) {
  const auto backend = make_systemc_backend(with_room_for(2), {});
  auto first = backend->open(kShape, {}, 1);
  auto second = backend->open(kShape, {}, 1);
  auto third = backend->open(kShape, {}, 1);
  for (int i = 0; i < 3; ++i)
    for (auto* session : {&first, &second}) (*session)->run({.tokens = 2});
  EXPECT_EQ(
      first->counters().value("dma.state_read_bytes") + second->counters().value("dma.state_read_bytes"), 0);
  third->run({.tokens = 2});
  EXPECT_EQ(third->counters().value("dma.state_write_bytes"), kContextBytes);
  second->run({.tokens = 2});
  EXPECT_EQ(second->counters().value("dma.state_read_bytes"), kContextBytes);
  third.reset();  // its place is free, nothing is written back
  first->run({.tokens = 2});
  EXPECT_EQ(first->counters().value("dma.state_write_bytes"), 0);
}

TEST(Memory, WhatDoesNotFitIsRefusedInASentence) {
  Preset preset = fast_machine();
  const auto open = [&](const UnitShape& shape) { make_systemc_backend(preset)->open(shape, {}, 1); };
  preset.buffers.state_kib = 2;
  EXPECT_EQ(error_of([&] { open(kShape); }),
            "preset fast-machine, buffers.state_kib: expected at least 6.31 KiB for one layer's 8 heads on "
            "each of 1 "
            "engines, got 2.00 KiB");
  preset.buffers = {.state_kib = 64, .stream_kib = 1};
  EXPECT_EQ(error_of([&] { open(kShape); }),
            "preset fast-machine, buffers.stream_kib: expected at least 7.00 KiB for two tokens each way of "
            "8 heads, "
            "got 1.00 KiB");
  preset.engine.max_head_dim = 8;
  EXPECT_EQ(error_of([&] { open(kShape); }),
            "preset fast-machine, engine.max_head_dim: expected at least the model's head_dim 16, got 8");
  preset.engine.max_head_dim = 16;
  preset.engine.max_feature_dim = 4;
  EXPECT_EQ(
      error_of([&] { open(kShape); }),
      "preset fast-machine, engine.max_feature_dim: expected at least the model's feature_dim 8, got 4");
}

}  // namespace
}  // namespace lawcat

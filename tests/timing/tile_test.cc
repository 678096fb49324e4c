// SPDX-License-Identifier: Apache-2.0
// The recurrences of a tile: against a tile stepped cycle by cycle, and against figures made by hand.
#include <gtest/gtest.h>

#include <bit>

#include "tests/timing/machine.h"
#include "tests/timing/stepped_tile.h"

namespace lawcat {
namespace {

/// Packets given in advance, answers always taken unless `rooms` says from when on.
struct GivenPackets : TilePort {
  explicit GivenPackets(std::vector<TilePacket> given) : packets(std::move(given)) {}
  std::optional<TilePacket> next_packet() override {
    if (next == packets.size()) return std::nullopt;
    return packets[next++];
  }
  void taken(Cycle at) override { took.push_back(at); }
  std::optional<Cycle> answer_room() override {
    return answers.size() < rooms.size() ? rooms[answers.size()] : Cycle{0};
  }
  void answered(Cycle at) override { answers.push_back(at); }

  std::vector<TilePacket> packets;
  std::size_t next = 0;
  std::vector<Cycle> took, answers, rooms;
};

TileTiming tile_timing(const Preset& preset, int head_dim, int feature_dim) {
  const TileLayout layout(preset);
  return {stage_timing(layout, head_dim, feature_dim), packet_beats(layout, head_dim, feature_dim),
          layout.fifo_tokens};
}

/// Cycle of the last answer's last beat.
Cycle last_answer(const Preset& preset, int head_dim, int feature_dim,
                  const std::vector<TilePacket>& packets) {
  TileModel tile;
  tile.begin(tile_timing(preset, head_dim, feature_dim), 0);
  GivenPackets port(packets);
  tile.run(port);
  return port.answers.back();
}

TEST(Tile, OneHeadTokenOfEdgeTakesTheSumOfItsStages) {
  // D = 64 in beats of 8, F = 32. On the port in cycle 0, the header is parsed in 1, k until 9, q until 17,
  // and the convolution starts in 19; + 32 + 9, feature map 64 + 18, softmax 32 + 45, rows 35 + 5, update 64
  // + 13 and 9 for the reciprocal, normalise 32 + 13: the answer's header is chosen in 390, beats in 391 to
  // 398, and the last one is on the port two cycles later.
  EXPECT_EQ(last_answer(load_preset("edge"), 64, 32, {{1, 0, 0}}), 400);
  // The other heads follow at the state update's 64 cycles; of the last one 8 beats are left, without a
  // header.
  EXPECT_EQ(last_answer(load_preset("edge"), 64, 32, {{4, 0, 0}}), 400 - 1 + 3 * 64);
}

TEST(Tile, TheLongerWayIsTheGatesWhenTheyAreSlow) {
  // F = 32 on 1 lane is 64 cycles and 18; logits are complete 8 beats after q.
  Preset preset = load_preset("edge");
  preset.engine.conv_lanes = 32;
  preset.engine.gate_lanes = 1;
  // Features 17 + 2 + 16 + 9 + 82 + 77 = 203, gates 25 + 2 + 82 = 109: not here,
  EXPECT_EQ(last_answer(preset, 64, 32, {{1, 0, 0}}), 400 - 16);
  // but of a small head: D = 8, F = 32. Parsed: k 2, q 3, logits until 11, v 12. Features 5 + 13 + 11 + 18 +
  // 77 = 124, gates 13 + 82 = 95; rows 40, update 64 + 22, normalise 4 + 13, pack 1 + 1 + 1 before the port.
  EXPECT_EQ(last_answer(preset, 8, 32, {{1, 0, 0}}), 124 + 40 + 86 + 17 + 3);
}

TEST(Tile, ATokenOfAHeadWaitsUntilTheOneBeforeIsWrittenBack) {
  // One head of edge: row_prepare 35 + 5, update 64, written back 11 cycles later, and the next cycle.
  std::vector<TilePacket> packets(50, TilePacket{1, 0, 0});
  EXPECT_EQ(last_answer(load_preset("edge"), 64, 32, packets), 400 + 49 * (35 + 5 + 64 + 11 + 1));
  // Three heads hide it. (With packets of one head each it is the values' buffers that bind, unless they have
  // slots for the whole way: 5 for edge.)
  packets.resize(51);
  for (std::size_t i = 0; i < packets.size(); ++i) packets[i].first_slot = static_cast<int>(i % 3);
  EXPECT_GT(last_answer(load_preset("edge"), 64, 32, packets), 400 + 50 * 65);
  EXPECT_EQ(last_answer(load_preset("edge", {"engine.stage_fifo_tokens=5"}), 64, 32, packets), 400 + 50 * 64);
}

TEST(Tile, AnAnswersHeaderWaitsForThePacketsEndUnlessTheBufferIsFull) {
  // A packet of two heads has 41 beats. The last one comes in 1000 and is parsed in 1001; the end is known in
  // 1003, and the header chosen, for which the first head was ready in 390. The second head is in the
  // convolution in 1003 as the first was in 19.
  struct Observed : GivenPackets {
    using GivenPackets::GivenPackets;
    void passed(Stage stage, std::int64_t, Cycle start, Cycle) override {
      if (stage == Stage::pack) sent.push_back(start);
    }
    std::vector<Cycle> sent;
  };
  const auto sent = [](int slots) {
    Preset preset = load_preset("edge");
    preset.engine.stage_fifo_tokens = slots;
    TileModel tile;
    tile.begin(tile_timing(preset, 64, 32), 0);
    int beats = 0;
    tile.set_patterns([&](Cycle at) { return ++beats == 41 ? std::max<Cycle>(at, 1000) : at; },
                      [](Cycle at) { return at; });
    tile.observe(true);
    Observed port({{2, 0, 0}});
    tile.run(port);
    EXPECT_EQ(port.took.back(), 1000);
    return port.sent;
  };
  EXPECT_EQ(sent(4), (std::vector<Cycle>{1003, 390 + 1003 - 19}));
  EXPECT_EQ(sent(1), (std::vector<Cycle>{390, 390 + 1003 - 19}));
}

TEST(Tile, AnAnswerLeavesWhenThereIsRoomForIt) {
  TileModel tile;
  tile.begin(tile_timing(load_preset("edge"), 64, 32), 0);
  GivenPackets port({{1, 0, 0}, {1, 1, 0}});
  port.rooms = {0, 5000};
  tile.run(port);
  EXPECT_EQ(port.answers, (std::vector<Cycle>{400, 5000 + 8}));  // the header and 8 beats
  // Header and first beats wait in the port: two places, one register before them; then for the rest of 9.
  EXPECT_EQ(tile.cycles(Stage::pack, 6000).busy, 18);
  EXPECT_GT(tile.cycles(Stage::pack, 6000).stall, 4000);
}

/// A machine of lanes drawn at random within what fits together.
Preset random_machine(std::uint32_t& seed) {
  const auto draw = [&seed](int least, int most) {  // powers of two
    seed = seed * 1664525u + 1013904223u;
    const int span = std::bit_width(static_cast<unsigned>(most / least));
    return least << (seed >> 16) % static_cast<unsigned>(span);
  };
  Preset preset = fast_machine();
  Preset::Engine& e = preset.engine;
  preset.memory.bus_bytes_per_cycle = draw(16, 64);
  const int elements = preset.memory.bus_bytes_per_cycle / 2;
  e.state_lanes = draw(elements, 512);
  const int rows = std::max(1, e.state_lanes / 64);
  e.feature_lanes = draw(2 * rows, 256);
  const int outputs = std::min(32, e.feature_lanes / 2);
  e.conv_lanes = draw(4 * std::max(1, e.feature_lanes / 64), 4 * elements);
  e.exp_lanes = draw(rows, outputs);
  e.gate_lanes = draw(1, std::min(e.exp_lanes, elements));
  e.normalise_lanes = draw(1, std::min({elements, e.state_lanes, 64}));
  e.stage_fifo_tokens = 1 + static_cast<int>((seed >> 8) % 6);
  return preset;
}

TEST(Tile, AgreesWithATileSteppedCycleByCycle) {
  std::uint32_t seed = 1;
  const auto below = [&seed](int n) {
    seed = seed * 1664525u + 1013904223u;
    return static_cast<int>((seed >> 8) % static_cast<unsigned>(n));
  };
  for (int round = 0; round < 400; ++round) {
    SCOPED_TRACE(round);
    const Preset preset = random_machine(seed);
    const TileTiming timing = tile_timing(preset, 1 + below(64), 1 + below(32));
    const int heads = 1 + below(round % 3 == 0 ? 2 : 12), group = round % 5 == 0 ? heads : 1 + below(heads);
    std::vector<TilePacket> packets;
    Cycle offered = 0;
    for (int token = 0; token < 12; ++token) {
      if (round % 4 == 1) offered += below(400);
      for (int h = 0; h < heads; h += group) packets.push_back({std::min(group, heads - h), h, offered});
    }
    // A port is held back in stretches of some cycles, by a hash of their number.
    const auto holds = [](int percent, int shift, std::uint32_t salt) {
      return [=](Cycle at) {
        auto x = static_cast<std::uint32_t>(at >> shift) * 0x9e3779b9u + salt;
        x = (x ^ x >> 15) * 0x85ebca6bu;
        return static_cast<int>((x >> 16) % 100) < percent;
      };
    };
    const auto first_free = [](auto held) {
      return [held](Cycle at) {
        while (held(at)) ++at;
        return at;
      };
    };
    SteppedTile::Holds in, out;
    TileModel tile;
    tile.begin(timing, 0);
    if (round % 2 == 1) {
      in = holds(below(95), below(7), seed);
      out = holds(below(95), below(9), ~seed);
      tile.set_patterns(first_free(in), first_free(out));
    }
    GivenPackets port(packets);
    tile.run(port);
    const SteppedResult expected = SteppedTile::run(timing, packets, in, out);
    ASSERT_EQ(port.took, expected.taken);
    ASSERT_EQ(port.answers, expected.answered);
    for (int s = 0; s < kStageCount; ++s) {
      const StageCycles cycles = tile.cycles(static_cast<Stage>(s), expected.end);
      const StageCycles& stepped = expected.stages[static_cast<std::size_t>(s)];
      EXPECT_EQ(cycles.busy, stepped.busy) << to_string(static_cast<Stage>(s));
      EXPECT_EQ(cycles.stall, stepped.stall) << to_string(static_cast<Stage>(s));
      EXPECT_EQ(cycles.starve, stepped.starve) << to_string(static_cast<Stage>(s));
    }
  }
}

TEST(Tile, WhatIsNotKnownYetChangesNothing) {
  // Packet by packet, and room for answers told only when all packets so far have been asked for.
  struct Reluctant : GivenPackets {
    using GivenPackets::GivenPackets;
    std::optional<TilePacket> next_packet() override {
      return known > next ? GivenPackets::next_packet() : std::nullopt;
    }
    std::optional<Cycle> answer_room() override {
      return known > answers.size() + 2 ? GivenPackets::answer_room() : std::nullopt;
    }
    std::size_t known = 0;
  };
  std::uint32_t seed = 7;
  for (int round = 0; round < 50; ++round) {
    const TileTiming timing = tile_timing(random_machine(seed), 48, 24);
    std::vector<TilePacket> packets;
    for (int token = 0; token < 10; ++token)
      for (int group = 0; group < 2; ++group) packets.push_back({1 + round % 11, 11 * group, 40 * token});
    TileModel tile;
    tile.begin(timing, 0);
    GivenPackets at_once(packets);
    tile.run(at_once);
    tile.begin(timing, 0);
    Reluctant in_steps(packets);
    for (; in_steps.known < packets.size() + 3; ++in_steps.known) tile.run(in_steps);
    tile.run(in_steps);
    EXPECT_EQ(in_steps.took, at_once.took);
    EXPECT_EQ(in_steps.answers, at_once.answers);
  }
}

}  // namespace
}  // namespace lawcat

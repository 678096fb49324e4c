// SPDX-License-Identifier: Apache-2.0
// What random traffic meets too rarely: the last bit of a gate, memory words that hold more than the shape,
// counters of a stage that only waits. Each catches a fault of mutants.toml that nothing else does.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "rtl/bench/driver.h"
#include "rtl/bench/registers.h"
#include "rtl/bench/stream.h"
#include "rtl/bench/tile.h"
#include "tests/rtl/rtl_random.h"
#include "tests/rtl/scoreboard.h"

namespace lawcat {
namespace {

namespace reg = tile_register;

/// The smallest preset built.
class RtlDirected : public testing::Test {
 protected:
  const RtlLibrary& library_ = rtl_libraries()[0];
  const Preset preset_ = load_preset(library_.preset);
};

TEST_F(RtlDirected, TheGateOfEveryLogitEqualsTheDefinition) {
  const int f = preset_.engine.max_feature_dim;
  RandomNumbers numbers(preset_, 1, f, 1);
  Scoreboard board(library_, preset_, 1, f);
  board.load_weights(0, numbers.weights(Regime::plain));
  const Format& format = preset_.datapath.gate_logit;
  const auto min = static_cast<std::int32_t>(format.min_mantissa()),
             max = static_cast<std::int32_t>(format.max_mantissa());
  const auto k = static_cast<std::size_t>(2 * f);
  for (std::int32_t first = min; first <= max; first += 2 * f) {
    // A gate is seen to its last bit where it meets a normaliser of many bits that no new term outweighs.
    HeadState context = numbers.context(Regime::plain);
    for (std::int64_t& word : context.norm_words) word |= preset_.datapath.normaliser.max_mantissa() / 2 + 1;
    std::fill(context.norm_exponents.begin(), context.norm_exponents.end(), 24);
    board.load_context(0, context);
    TokenInput token = numbers.token(0, 0, 1, Regime::plain);
    for (std::size_t i = 0; i < k; ++i) token.logits[i] = std::min(first + static_cast<std::int32_t>(i), max);
    board.token(token);
    board.store_context(0);
    board.advance(4);
  }
  board.settle();
}

TEST_F(RtlDirected, ATokenIsPreparedFromTheScalarsThatTheOneBeforeLeft) {
  // Heads so small that the next token waits for nothing but the last row's way back.
  for (const int f : {1, 2, 3, 4}) {
    RandomNumbers numbers(preset_, 1, f, 1);
    Scoreboard board(library_, preset_, 1, f);
    board.load_weights(0, numbers.weights(Regime::plain));
    board.settle();
    for (int i = 0; i < 200; ++i) board.token(numbers.token(0, 0, 1, Regime::plain));
    board.settle();
  }
}

/// A tile driven packet by packet, with nothing between it and the test.
class RtlBare : public RtlDirected {
 protected:
  RtlBare() {
    driver_.reset();
    driver_.write(reg::kShape, kHeadDim | kFeatureDim << 8);
    driver_.write(reg::kControl, reg::kEnable);
    for (Packet& packet : format_.load_tables()) driver_.send(std::move(packet));
    for (int slot = 0; slot < kHeads; ++slot)
      for (Packet& packet : format_.load_weights(slot, weights_)) driver_.send(std::move(packet));
    driver_.wait_idle();
  }
  Packet packet(const TokenInput& input) const {
    return format_.token({.kind = 1, .heads_or_region = static_cast<std::uint8_t>(input.heads)}, input.key,
                         input.value, input.logits, input.query);
  }

  static constexpr int kHeadDim = 20, kFeatureDim = 9, kHeads = 3;
  RandomNumbers numbers_{preset_, kHeadDim, kFeatureDim, 7};
  const HeadWeights weights_ = numbers_.weights(Regime::plain);
  const StreamFormat format_{preset_, kHeadDim, kFeatureDim};
  const std::unique_ptr<RtlTile> tile_ = library_.make();
  TileDriver driver_{*tile_, RtlParameters(preset_).stream_width};
};

TEST_F(RtlBare, WhatAWordHoldsBeyondTheShapeCountsForNothing) {
  const int segment = std::min(preset_.engine.state_lanes, 64);
  const int wide_dim = (kHeadDim + segment - 1) / segment * segment;
  ASSERT_GT(wide_dim, kHeadDim);
  const DatapathRules rules(preset_.datapath);
  const UnitShape shape{1, 1, kHeadDim, kFeatureDim};
  const StreamFormat wide_format(preset_, wide_dim, kFeatureDim);
  for (int trial = 0; trial < 8; ++trial) {
    // Rows so small that anything beside them would be their largest word.
    HeadState state = numbers_.context(Regime::plain);
    for (std::int64_t& word : state.words) word %= 4;
    HeadState wide(preset_.datapath, {1, 1, wide_dim, kFeatureDim});
    std::fill(wide.words.begin(), wide.words.end(), preset_.datapath.state.max_mantissa());
    const auto d = static_cast<std::size_t>(kHeadDim), w = static_cast<std::size_t>(wide_dim);
    for (std::size_t row = 0; row < 2 * kFeatureDim; ++row)
      std::copy_n(state.words.begin() + static_cast<std::ptrdiff_t>(row * d), kHeadDim,
                  wide.words.begin() + static_cast<std::ptrdiff_t>(row * w));
    for (Packet& packet : format_.load_context(0, state)) driver_.send(std::move(packet));
    driver_.send(wide_format.load_context(0, wide)[static_cast<std::size_t>(Region::state)]);

    TokenInput input = numbers_.token(0, 0, 1, Regime::plain);
    for (std::int32_t& value : input.value) value %= 8;
    std::fill(input.logits.begin(), input.logits.end(),
              static_cast<std::int32_t>(preset_.datapath.gate_logit.max_mantissa()));
    driver_.send(packet(input));
    for (Packet& request : format_.store_context(0)) driver_.send(std::move(request));

    GroupToken token{input.key, input.value, 0, input.logits, {}};
    std::int64_t any = 0;
    for (const std::int32_t value : input.value) any |= magnitude_bits(value);
    token.value_lead = lead_bits(any);
    for (const std::int32_t logit : input.logits)
      token.gates.push_back(forget_gate(rules.gate, rules.exp2, logit, rules.formats.gate_logit.fraction,
                                        rules.gate_p, rules.formats.gate.min_exponent()));
    Saturations clipped{};
    std::vector<float> expected(d), got(d);
    step_head(rules, shape, weights_, 0, input.query, token, state, expected, clipped);
    format_.read_output(driver_.receive(), got);
    EXPECT_EQ(got, expected);
    std::vector<Packet> answers;
    for (int region = 0; region < kContextRegions; ++region) answers.push_back(driver_.receive());
    const HeadState stored = format_.read_context(answers);  // lead bits are those of the words
    EXPECT_EQ(stored.words, state.words);
    EXPECT_EQ(stored.exponents, state.exponents);
  }
}

TEST_F(RtlBare, AStageThatWaitsCountsForWhat) {
  constexpr std::uint64_t kCycles = 500;
  const auto waits = [&](std::size_t stage) {
    const auto at = static_cast<int>(stage);
    return std::array{driver_.counter(kCounterBusy + at), driver_.counter(kCounterStall + at),
                      driver_.counter(kCounterStarve + at)};
  };
  const auto watch = [&] {
    driver_.write(reg::kControl, reg::kEnable | reg::kClearCounters);
    for (std::uint64_t i = 0; i < kCycles; ++i) driver_.step();
    driver_.write(reg::kControl, 0);  // counters of cycles stand still
    EXPECT_GE(driver_.counter(kCounterCycles), kCycles);
  };
  // Nothing comes: everyone starves.
  watch();
  for (std::size_t stage = 0; stage < kTileStages.size(); ++stage)
    EXPECT_EQ(waits(stage), (std::array{std::uint64_t{0}, std::uint64_t{0}, driver_.counter(kCounterCycles)}))
        << kTileStages[stage];
  // Nothing goes: once all buffers are full, everyone on the way stalls. Convolution and gate have done what
  // the parser let in before it stalled for another part.
  driver_.write(reg::kControl, reg::kEnable);
  driver_.stall_output([](std::int64_t) { return true; });
  for (int i = 0; i < 60; ++i) driver_.send(packet(numbers_.token(0, 0, kHeads, Regime::plain)));
  for (int i = 0; i < 60000; ++i) driver_.step();
  watch();
  for (std::size_t stage = 0; stage < kTileStages.size(); ++stage) {
    if (kTileStages[stage] == "convolution" || kTileStages[stage] == "gate") continue;
    EXPECT_EQ(waits(stage), (std::array{std::uint64_t{0}, driver_.counter(kCounterCycles), std::uint64_t{0}}))
        << kTileStages[stage];
  }
  // And all that waited comes out.
  driver_.stall_output({});
  driver_.write(reg::kControl, reg::kEnable);
  for (int i = 0; i < 60; ++i) EXPECT_EQ(StreamFormat::read_header(driver_.receive()).kind, 0x81);
  driver_.wait_idle();
}

TEST_F(RtlBare, AnswersMayWaitInThePortOfAnIdleTile) {
  const auto stored = format_.store(Region::count, 0);
  const TokenInput input = numbers_.token(0, 0, 1, Regime::plain);
  std::vector<Packet> expected;
  for (const Packet& request : {packet(input), stored}) {
    driver_.send(request);
    expected.push_back(driver_.receive());
  }
  driver_.write(reg::kControl, reg::kEnable | reg::kClearAll);
  const auto never = [](std::int64_t) { return true; };
  // An answer of two beats waits in the port; another shape does not touch it.
  driver_.stall_output(never);
  driver_.send(stored);
  driver_.wait_idle();
  EXPECT_FALSE(driver_.take());
  driver_.write(reg::kShape, 8U | 8U << 8);
  driver_.write(reg::kShape, kHeadDim | kFeatureDim << 8);
  driver_.stall_output({});
  EXPECT_EQ(driver_.receive(), expected[1]);
  // One of four does not fit.
  ASSERT_EQ(expected[0].size() / driver_.beat_words(), 4U);
  driver_.stall_output(never);
  driver_.send(packet(input));
  for (int i = 0; i < 5000; ++i) driver_.step();
  EXPECT_NE(driver_.read(reg::kStatus) & reg::kBusy, 0U);
  driver_.stall_output({});
  EXPECT_EQ(driver_.receive(), expected[0]);
  driver_.wait_idle();
}

TEST_F(RtlBare, APacketOfMoreHeadsThanAllBuffersHoldIsAnswered) {
  const int heads = std::min({format_.context_slots(), format_.weight_slots(), 255});
  ASSERT_GT(heads, 7 * preset_.engine.stage_fifo_tokens);
  driver_.send(packet(numbers_.token(0, 0, heads, Regime::plain)));
  const Packet answer = driver_.receive();
  EXPECT_EQ(StreamFormat::read_header(answer).heads_or_region, heads);
  std::vector<float> output(static_cast<std::size_t>(heads * kHeadDim));
  EXPECT_NO_THROW(format_.read_output(answer, output));
}

TEST_F(RtlBare, ARowOfNothingButMinusOneIsNotEmpty) {
  // At the least exponent, with nothing added and nothing forgotten, rows stay as they are.
  HeadState state(preset_.datapath, {1, 1, kHeadDim, kFeatureDim});
  std::fill(state.words.begin(), state.words.end(), -1);
  std::fill(state.norm_words.begin(), state.norm_words.end(), 1);
  std::fill(state.exponents.begin(), state.exponents.end(), preset_.datapath.state.min_exponent());
  for (Packet& packet : format_.load_context(0, state)) driver_.send(std::move(packet));
  TokenInput input = numbers_.token(0, 0, 1, Regime::zero_values);
  std::fill(input.logits.begin(), input.logits.end(),
            static_cast<std::int32_t>(preset_.datapath.gate_logit.max_mantissa()));
  driver_.send(packet(input));
  driver_.receive();
  std::vector<Packet> answers;
  for (Packet& request : format_.store_context(0)) {
    driver_.send(std::move(request));
    answers.push_back(driver_.receive());
  }
  EXPECT_EQ(format_.read_context(answers).words, state.words);  // with the lead bits that belong to them
}

}  // namespace
}  // namespace lawcat

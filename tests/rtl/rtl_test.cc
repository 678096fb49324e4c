// SPDX-License-Identifier: Apache-2.0
// The Verilated tile, protocol checkers on its ports, against the definition: random traffic and what it may
// miss.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "hostlib/arch/tile_layout.h"
#include "hostlib/arch/timing.h"
#include "tests/rtl/rtl_random.h"

namespace lawcat {
namespace {

namespace reg = tile_register;

const RtlLibrary* library_of(const std::string& preset) {
  const auto libraries = rtl_test_libraries();
  const auto found = std::find_if(libraries.begin(), libraries.end(),
                                  [&](const RtlLibrary& library) { return library.preset == preset; });
  return found == libraries.end() ? nullptr : &*found;
}

std::vector<std::string> presets() {
  std::vector<std::string> names;
  for (const RtlLibrary& library : rtl_test_libraries()) names.emplace_back(library.preset);
  return names;
}

/// A preset is a name or a file.
std::string name_of(const testing::TestParamInfo<std::string>& preset) {
  std::string name = std::filesystem::path(preset.param).stem().string();
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

/// A tile of the smallest preset built.
class Rtl : public testing::Test {
 protected:
  static constexpr int kHeadDim = 20, kFeatureDim = 9;

  Rtl()
      : numbers_(preset_, kHeadDim, kFeatureDim, 5),
        board_(rtl_libraries()[0], preset_, kHeadDim, kFeatureDim) {
    for (int slot = 0; slot < 3; ++slot) board_.load_weights(slot, numbers_.weights(Regime::plain));
  }

  void tokens(int packets, int heads = 2, Regime regime = Regime::plain) {
    for (int i = 0; i < packets; ++i) board_.token(numbers_.token(0, 0, heads, regime));
  }

  Preset preset_ = load_preset(rtl_libraries()[0].preset);
  RandomNumbers numbers_;
  Scoreboard board_;
};

class RtlTraffic : public testing::TestWithParam<std::string> {};

TEST_P(RtlTraffic, RandomTrafficEqualsTheDefinitionBitForBit) {
  const RtlLibrary* library = library_of(GetParam());
  ASSERT_NE(library, nullptr);
  const Preset preset = load_preset(GetParam());
  const bool small = preset.engine.state_lanes <= 16;
  FunctionalCoverage coverage;
  for (std::uint64_t seed = 1; seed <= (small ? 30 : 5); ++seed)
    run_scenario(*library, preset, seed, small ? 15000 : 8000, coverage);
}

TEST_P(RtlTraffic, EverySlotOfTheLargestShapeIsItsOwnAndTheNextOneIsTheFirst) {
  const RtlLibrary* library = library_of(GetParam());
  ASSERT_NE(library, nullptr);
  const Preset preset = load_preset(GetParam());
  const int d = preset.engine.max_head_dim, f = preset.engine.max_feature_dim;
  RandomNumbers numbers(preset, d, f, 1);
  Scoreboard board(*library, preset, d, f);
  const StreamFormat& format = board.format();
  const int slots = std::min(format.context_slots(), format.weight_slots());
  for (int slot = 0; slot < slots; ++slot) {
    board.load_weights(slot, numbers.weights(Regime::plain));
    board.load_context(slot, numbers.context(Regime::plain));
  }
  for (int slot = 0; slot < slots; ++slot) board.token(numbers.token(slot, slot, 1, Regime::plain));
  for (int slot = 0; slot < slots; ++slot) board.store_context(slot);
  board.settle();
  if (format.context_slots() == format.parameters().context_slots) return;
  // A slot that only smaller shapes have is no error: its words are those of slot 0.
  const auto words = [&](int slot) {
    board.driver().send(format.store(Region::state, slot));
    Packet answer = board.driver().receive();
    answer.erase(answer.begin(), answer.begin() + static_cast<std::ptrdiff_t>(format.beat_words()));
    return answer;
  };
  EXPECT_EQ(words(format.context_slots()), words(0));
  EXPECT_NE(words(1), words(0));
  EXPECT_EQ(board.driver().read(reg::kError), 0U);
}
INSTANTIATE_TEST_SUITE_P(Rtl, RtlTraffic, testing::ValuesIn(presets()), name_of);

TEST(RtlSlots, AreAllForSmallHeadsAndAtLeastHalfForMoreColumnsAndHalfOfThatForMoreRows) {
  for (const std::string& name : preset_names()) {
    const Preset preset = load_preset(name);
    for (int d = 1; d <= preset.engine.max_head_dim; ++d)
      for (int f = 1; f <= preset.engine.max_feature_dim; ++f) {
        const StreamFormat format(preset, d, f);
        const int parts = (d > 64 ? 2 : 1) * (f > 32 ? 2 : 1);
        ASSERT_GE(format.context_slots(), format.parameters().context_slots / parts)
            << name << " " << d << " " << f;
        ASSERT_GE(format.weight_slots(), format.parameters().weight_slots / parts)
            << name << " " << d << " " << f;
      }
  }
  const StreamFormat edge(load_preset("edge"), 128, 64);
  EXPECT_EQ(edge.parameters().context_slots, 64);
  EXPECT_EQ(edge.context_slots(), 16);
  EXPECT_EQ(edge.weight_slots(), 16);
}

TEST_F(Rtl, SavedContextGoesOnWithTheSameBits) {
  tokens(7);
  for (const int piece : {0, 1, 5}) {
    board_.store_context(0, piece);
    const HeadState saved = board_.context(0);
    board_.load_context(0, numbers_.context(Regime::plain), piece);
    tokens(3);
    board_.load_context(0, saved, piece);
    board_.load_context(2, saved, piece);
    tokens(3);
    // The stream of random numbers belongs to the head, not to the slot.
    TokenInput same = numbers_.token(2, 2, 1, Regime::plain);
    board_.token(same);
    board_.settle();
  }
}

TEST_F(Rtl, ResetInMidStreamLeavesNothingBehind) {
  board_.settle();
  for (int after = 0; after < 700; after += 13) {
    tokens(4, 3);
    if (after % 2 != 0) {
      board_.store_context(0);
      board_.load_context(1, numbers_.context(Regime::extremes));
    }
    for (int i = 0; i < after; ++i) board_.step();
    board_.soft_reset();
    tokens(1, 3);
    board_.settle();
  }
}

TEST_F(Rtl, MalformedPacketsGiveAnErrorAndNoHang) {
  const auto good = [&] {
    tokens(2);
    board_.settle();
  };
  good();
  const RtlParameters& p = board_.format().parameters();
  const auto past = static_cast<std::uint8_t>(p.context_slots),
             past_weights = static_cast<std::uint8_t>(p.weight_slots);
  for (const std::size_t beats : {1, 2, 9}) {
    board_.dropped({.kind = 4}, beats, kErrorKind, "error.kind");
    good();
    board_.dropped({.kind = 1}, beats, kErrorHeads, "error.heads");
    good();
    board_.dropped({.kind = 3, .heads_or_region = 5, .words = 1}, beats, kErrorRegion, "error.region");
    good();
    board_.dropped({.kind = 2, .heads_or_region = 10, .words = 1}, beats, kErrorRegion, "error.region");
    good();
    board_.dropped({.kind = 2, .heads_or_region = 1}, beats, kErrorWords, "error.words");
    good();
    if (p.context_slots < 256) {
      board_.dropped({.kind = 3, .heads_or_region = 1, .slot = past, .words = 1}, beats, kErrorSlot,
                     "error.context_slot");
      good();
    }
    if (p.weight_slots < 256) {
      board_.dropped({.kind = 1, .heads_or_region = 1, .weight_slot = past_weights}, beats, kErrorSlot,
                     "error.weight_slot");
      good();
    }
    board_.long_store(0, Region::norm, beats);
    board_.malformed_load(0, Region::state, beats, 0);
    good();
    board_.malformed_load(0, Region::rows, std::nullopt, beats);
    // The first error is kept.
    board_.dropped({.kind = 9}, beats, kErrorKind, "error.kind");
    good();
  }
  const TokenInput input = numbers_.token(0, 0, 3, Regime::plain);
  for (std::size_t beats = 1; beats < board_.beats(input); ++beats) {
    board_.short_token(input, beats);
    board_.token(input);
    if (beats % 4 == 0) board_.settle();
  }
  board_.settle();
  for (std::size_t excess = 1; excess < 4; ++excess) {
    board_.long_token(input, excess);
    good();
  }
}

TEST_F(Rtl, ClearHoldsForThePacketsAfterIt) {
  tokens(3, 3);
  board_.clear(1);
  tokens(2, 3);
  board_.clear(std::nullopt);
  tokens(2, 3);
  for (int i = 0; i < 10; ++i) {
    board_.clear_inside(numbers_.token(0, 0, 3, Regime::plain), i % 3);
    tokens(1, 3);
    board_.clear_inside(numbers_.token(0, 0, 3, Regime::plain), std::nullopt);
    tokens(1, 3);
  }
  board_.settle();
  for (int slot = 0; slot < 3; ++slot) board_.store_context(slot);
  board_.settle();
}

TEST_F(Rtl, RegistersRefuseWhatTheTableSays) {
  TileDriver& driver = board_.driver();
  for (const bool busy : {false, true}) {
    for (std::uint64_t detail = 0; detail < 16; ++detail)
      for (std::uint64_t what = 0; what < 7; ++what) {
        if (busy && !board_.in_flight()) tokens(4, 3);
        board_.access_registers(what | detail << 8);
      }
    board_.drain();
  }
  board_.settle();
  // Shapes: only when idle, only what the tile was laid out for.
  const auto most = static_cast<std::uint32_t>(preset_.engine.max_head_dim),
             most_features = static_cast<std::uint32_t>(preset_.engine.max_feature_dim);
  for (const std::uint32_t refused : {0U, 8U, 8U << 8, (most + 1) | 8U << 8, 8U | (most_features + 1) << 8,
                                      8U | 8U << 8 | 1U << 15, 8U | 8U << 8 | 1U << 31})
    EXPECT_EQ(driver.try_write(reg::kShape, refused).response, 2U) << refused;
  EXPECT_EQ(driver.read(reg::kShape), kHeadDim | kFeatureDim << 8);
  EXPECT_EQ(driver.read(reg::kError), 0U);
  for (const std::uint32_t taken :
       {most | most_features << 8, 1U | 1U << 8, kHeadDim | std::uint32_t{kFeatureDim} << 8}) {
    EXPECT_EQ(driver.try_write(reg::kShape, taken).response, 0U) << taken;
    EXPECT_EQ(driver.read(reg::kShape), taken);
  }
  tokens(8, 3);
  board_.step();
  EXPECT_EQ(driver.try_write(reg::kShape, 1U | 1U << 8).response, 2U);
  EXPECT_EQ(driver.read(reg::kError), 9U << 8 | 1U);
  EXPECT_EQ(driver.read(reg::kErrorTag), 1U | 1U << 8);
  EXPECT_EQ(driver.read(reg::kShape), kHeadDim | kFeatureDim << 8);
  driver.write(reg::kError, 1);
  driver.write(reg::kInterrupt, 2);
  board_.settle();
}

TEST_F(Rtl, CountersEqualFixed) {
  for (int slot = 0; slot < 3; ++slot) board_.load_weights(slot, numbers_.weights(Regime::saturating));
  board_.settle();
  tokens(20, 3, Regime::saturating);
  board_.load_context(0, numbers_.context(Regime::extremes));
  tokens(20, 3, Regime::extremes);
  board_.settle();
  for (const char* point : {"conv_query", "conv_key", "feature_query", "feature_key", "output"})
    EXPECT_GT(board_.coverage().points().at(std::string("clipped.") + point), 0) << point;
}

/// Share of time that the state update works while packets of two heads stream in.
double state_update_share(const RtlLibrary& library, const Preset& preset, int head_dim, int feature_dim) {
  RandomNumbers numbers(preset, head_dim, feature_dim, 1);
  Scoreboard board(library, preset, head_dim, feature_dim);
  for (int slot = 0; slot < 2; ++slot) board.load_weights(slot, numbers.weights(Regime::plain));
  board.settle();
  const auto tokens = [&](int packets) {
    for (int i = 0; i < packets; ++i) {
      board.token(numbers.token(0, 0, 2, Regime::plain));
      board.advance(2);
    }
  };
  tokens(16);
  board.driver().write(reg::kControl, reg::kEnable | reg::kClearCounters);
  tokens(60);
  board.driver().write(reg::kControl, 0);
  const auto stage = std::find(kTileStages.begin(), kTileStages.end(), "state_update") - kTileStages.begin();
  return static_cast<double>(board.driver().counter(kCounterBusy + static_cast<int>(stage))) /
         static_cast<double>(board.driver().counter(kCounterCycles));
}

TEST(RtlTime, StateEngineIsBusy97PercentInALongPrefill) {
  const RtlLibrary* edge = library_of("edge");
  if (edge == nullptr) GTEST_SKIP() << "edge is not among the presets of this build";
  const Preset preset = load_preset("edge");
  EXPECT_GE(state_update_share(*edge, preset, 64, 32), 0.97);
  EXPECT_GE(state_update_share(*edge, preset, 128, 64), 0.97);
}

class RtlLatency : public testing::TestWithParam<std::string> {};

TEST_P(RtlLatency, DecodeLatencyIsTheFormula) {
  const RtlLibrary* library = library_of(GetParam());
  ASSERT_NE(library, nullptr);
  const Preset preset = load_preset(GetParam());
  struct Shape {
    int head_dim, feature_dim;
  };
  for (const auto [head_dim, feature_dim] : {Shape{64, 32}, Shape{32, 16}, Shape{1, 1}, Shape{50, 7}}) {
    RandomNumbers numbers(preset, head_dim, feature_dim, 1);
    Scoreboard board(*library, preset, head_dim, feature_dim);
    board.load_weights(0, numbers.weights(Regime::plain));
    board.settle();
    const auto timing = stage_timing(TileLayout(preset), head_dim, feature_dim);
    const auto at = [&](Stage stage) { return timing[static_cast<std::size_t>(stage)]; };
    // Header, k and q of one beat each per cycle behind the port; then stage by stage; the answer's header
    // and beats.
    int latency = HandOver::kPort + 2 * at(Stage::unpack).interval + at(Stage::unpack).depth + 1;
    for (const Stage stage : {Stage::convolution, Stage::feature_map, Stage::dual_softmax, Stage::row_prepare,
                              Stage::state_update, Stage::normalise})
      latency += at(stage).latency();
    latency += HandOver::kReciprocal + at(Stage::pack).interval + at(Stage::pack).depth;
    board.token(numbers.token(0, 0, 1, Regime::plain));
    const std::int64_t start = board.driver().cycles();
    while (board.in_flight()) board.step();
    // The first beat is on the port in the first cycle, the last one in the last.
    EXPECT_EQ(board.driver().cycles() - start - 1, latency) << "D " << head_dim << ", F " << feature_dim;
  }
}
INSTANTIATE_TEST_SUITE_P(Rtl, RtlLatency, testing::ValuesIn(presets()), name_of);

}  // namespace
}  // namespace lawcat

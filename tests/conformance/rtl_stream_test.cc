// SPDX-License-Identifier: Apache-2.0
// The RTL tile at its ports: contexts go in and come out unchanged, malformed packets never stop it,
// registers refuse what they cannot do.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <stdexcept>

#include "rtl/bench/driver.h"
#include "rtl/bench/registers.h"
#include "rtl/bench/stream.h"
#include "rtl/bench/tile.h"

namespace lawcat {
namespace {

namespace reg = tile_register;

class RtlStream : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const auto libraries = rtl_libraries();
    const auto library = std::find_if(libraries.begin(), libraries.end(),
                                      [](const RtlLibrary& one) { return GetParam() == one.preset; });
    ASSERT_NE(library, libraries.end());
    ASSERT_EQ(preset_.hash, library->hash);
    tile_ = library->make();
    driver_ = std::make_unique<TileDriver>(*tile_, RtlParameters(preset_).stream_width);
    driver_->reset();
    driver_->write(reg::kShape, kHeadDim | kFeatureDim << 8);
    driver_->write(reg::kControl, reg::kEnable);
    for (Packet& packet : format_.load_tables()) driver_->send(std::move(packet));
    driver_->wait_idle();
  }

  Packet token(int heads, std::uint32_t tag) const {
    const std::vector<std::int32_t> one(kHeadDim, 100), logits(2 * kFeatureDim, 64),
        query(static_cast<std::size_t>(heads) * kHeadDim, -50);
    return format_.token({.kind = 1, .heads_or_region = static_cast<std::uint8_t>(heads), .tag = tag}, one,
                         one, logits, query);
  }
  std::size_t beats(const Packet& packet) const { return packet.size() / driver_->beat_words(); }
  Packet cut(Packet packet, std::size_t kept) const {
    packet.resize(kept * driver_->beat_words(), 0);
    return packet;
  }
  /// The error there is, which is cleared; then that a good packet, for slots 0 and 1, is answered as ever.
  void expect_error(int code, std::uint32_t tag) {
    driver_->wait_idle();
    EXPECT_EQ(driver_->read(reg::kError), 1U | static_cast<std::uint32_t>(code) << 8);
    EXPECT_EQ(driver_->read(reg::kErrorTag), tag);
    driver_->write(reg::kError, 1);
    EXPECT_EQ(driver_->read(reg::kError), 0U);
    driver_->send(token(2, 77));
    const Packet answer = driver_->receive();
    const PacketHeader header = StreamFormat::read_header(answer);
    EXPECT_EQ(header.kind, 0x81);
    EXPECT_EQ(header.tag, 77U);
    EXPECT_FALSE(header.error);
    std::vector<float> output(2 * kHeadDim);
    format_.read_output(answer, output);
    EXPECT_FALSE(driver_->take());
  }

  static constexpr int kHeadDim = 40, kFeatureDim = 20;  // no whole vectors anywhere
  Preset preset_ = load_preset(GetParam());
  StreamFormat format_{preset_, kHeadDim, kFeatureDim};
  std::unique_ptr<RtlTile> tile_;
  std::unique_ptr<TileDriver> driver_;
};

TEST_P(RtlStream, AContextComesOutOfItsSlotAsItWentIn) {
  std::mt19937_64 random(1);
  const auto bits = [&random](int width) {
    return static_cast<std::int64_t>(random()) >> (64 - width);  // signed
  };
  const Datapath& d = preset_.datapath;
  std::vector<HeadState> states;
  const int last = format_.context_slots() - 1;
  for (const int slot : {0, 1, last}) {
    HeadState state(d, {1, 1, kHeadDim, kFeatureDim});
    for (auto& x : state.words) x = bits(d.state.width);
    for (auto& x : state.norm_words) x = bits(d.normaliser.width);
    for (auto& x : state.exponents) x = static_cast<std::int32_t>(bits(d.state.exponent_bits));
    for (auto& x : state.norm_exponents) x = static_cast<std::int32_t>(bits(d.normaliser.exponent_bits));
    for (auto* tail : {&state.q_tail, &state.k_tail})
      for (auto& x : *tail) x = static_cast<std::int32_t>(bits(d.query_key.width));
    state.tokens = static_cast<std::uint32_t>(random());
    for (Packet& packet : format_.load_context(slot, state)) driver_->send(std::move(packet));
    states.push_back(std::move(state));
  }
  driver_->stall_output(random_stalls(3, 50));
  for (std::size_t i = 0; const int slot : {0, 1, last}) {
    std::vector<Packet> answers;
    for (Packet& request : format_.store_context(slot)) driver_->send(std::move(request));
    for (int region = 0; region < kContextRegions; ++region) answers.push_back(driver_->receive());
    const HeadState state = format_.read_context(answers);
    EXPECT_EQ(state.words, states[i].words);
    EXPECT_EQ(state.exponents, states[i].exponents);
    EXPECT_EQ(state.norm_words, states[i].norm_words);
    EXPECT_EQ(state.norm_exponents, states[i].norm_exponents);
    EXPECT_EQ(state.q_tail, states[i].q_tail);
    EXPECT_EQ(state.k_tail, states[i].k_tail);
    EXPECT_EQ(state.tokens, states[i].tokens);
    ++i;
  }
}

TEST_P(RtlStream, ABadHeaderDropsItsPacketAndSaysWhy) {
  const auto slots = static_cast<std::uint8_t>(RtlParameters(preset_).context_slots - 1);
  const std::pair<PacketHeader, int> cases[] = {
      {{.kind = 0, .heads_or_region = 1}, 1},
      {{.kind = 9, .heads_or_region = 1}, 1},
      {{.kind = 1, .heads_or_region = 0}, 2},
      {{.kind = 2, .heads_or_region = 10, .words = 1}, 3},
      {{.kind = 3, .heads_or_region = 5, .words = 1}, 3},
      {{.kind = 2, .heads_or_region = 0, .words = 0}, 4},
      {{.kind = 1, .heads_or_region = 2, .slot = slots}, 5},
      {{.kind = 1, .heads_or_region = 2, .weight_slot = slots}, 5},
  };
  std::uint32_t tag = 1000;
  for (const auto& [fields, code] : cases) {
    for (const std::size_t payload : {0U, 1U, 7U}) {
      PacketHeader header = fields;
      header.tag = ++tag;
      driver_->send(cut(format_.header(header), 1 + payload));
      expect_error(code, tag);
    }
  }
}

TEST_P(RtlStream, ATokenPacketOfTheWrongLengthIsAnsweredWithItsErrorFlag) {
  const Packet whole = token(3, 5);
  for (std::size_t kept = 1; kept <= beats(whole) + 3; kept += kept + 2 < beats(whole) ? 3 : 1) {
    if (kept == beats(whole)) continue;
    driver_->send(cut(whole, kept));
    const Packet answer = driver_->receive();
    EXPECT_TRUE(StreamFormat::read_header(answer).error) << kept;
    std::vector<float> output(std::size_t{3} * kHeadDim);
    format_.read_output(answer, output);
    expect_error(kept < beats(whole) ? 6 : 7, 5);
  }
}

TEST_P(RtlStream, AShortLoadLeavesTheOtherWordsAndALongOneIsCut) {
  const int words = format_.slot_words(Region::norm);
  const std::vector<std::uint32_t> fives(static_cast<std::size_t>(words) * driver_->beat_words(), 5);
  const std::vector<std::uint32_t> sevens(fives.size(), 7);
  driver_->send(format_.load(Region::norm, 3, words, fives));
  driver_->send(cut(format_.load(Region::norm, 3, words, sevens), 4));  // three words
  expect_error(6, 0);
  driver_->send(cut(format_.load(Region::norm, 2, words, fives), 1 + static_cast<std::size_t>(words) + 5));
  expect_error(7, 0);
  const auto stored = [&](int slot) {
    driver_->send(format_.store(Region::norm, slot));
    const Packet answer = driver_->receive();
    std::vector<std::uint32_t> values;
    for (std::size_t word = 1; word < beats(answer); ++word)
      values.push_back(answer[word * driver_->beat_words()]);
    return values;
  };
  std::vector<std::uint32_t> expected(static_cast<std::size_t>(words), 5);
  EXPECT_EQ(stored(2), expected);
  std::fill(expected.begin(), expected.begin() + 3, 7);
  EXPECT_EQ(stored(3), expected);
}

TEST_P(RtlStream, RegistersRefuseWhatTheyCannotDo) {
  EXPECT_NE(driver_->try_read(0x03c).response, 0U);
  EXPECT_NE(driver_->try_read(0x002).response, 0U);
  EXPECT_NE(driver_->try_write(reg::kId, 1).response, 0U);
  EXPECT_NE(driver_->try_write(reg::kShape, 0).response, 0U);
  EXPECT_NE(driver_->try_write(reg::kShape, 255 | 20 << 8).response, 0U);
  EXPECT_EQ(driver_->read(reg::kShape), static_cast<std::uint32_t>(kHeadDim | kFeatureDim << 8));
  EXPECT_EQ(driver_->read(reg::kError), 0U);
  driver_->send(token(8, 9));
  driver_->flush();
  EXPECT_NE(driver_->try_write(reg::kShape, 32 | 16 << 8).response, 0U);
  driver_->receive();
  expect_error(9, 32 | 16 << 8);
}

TEST_P(RtlStream, ATileThatIsNotEnabledTakesNothingAndTheDriverSaysSo) {
  driver_->write(reg::kControl, 0);
  driver_->send(token(1, 3));
  try {
    driver_->flush();
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("waiting for room for input"), std::string::npos)
        << error.what();
  }
  driver_->write(reg::kControl, reg::kEnable);
  EXPECT_EQ(StreamFormat::read_header(driver_->receive()).tag, 3U);
}

TEST_P(RtlStream, AResetInTheMiddleOfAPacketLeavesNothingBehind) {
  driver_->send(cut(token(4, 1), 9), false);
  driver_->flush();
  driver_->reset();
  driver_->write(reg::kShape, kHeadDim | kFeatureDim << 8);
  driver_->write(reg::kControl, reg::kEnable);
  EXPECT_EQ(driver_->read(reg::kStatus) & reg::kBusy, 0U);
  driver_->send(token(2, 8));
  EXPECT_EQ(StreamFormat::read_header(driver_->receive()).tag, 8U);
}

std::vector<std::string> presets() {
  std::vector<std::string> names;
  for (const RtlLibrary& library : rtl_libraries()) names.emplace_back(library.preset);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Tiles, RtlStream, testing::ValuesIn(presets()), [](const auto& param) {
  std::string name = param.param;
  std::erase(name, '-');
  return name;
});

}  // namespace
}  // namespace lawcat

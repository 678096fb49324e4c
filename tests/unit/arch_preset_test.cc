// SPDX-License-Identifier: Apache-2.0
// Presets: what loads, what is refused and in which words.
#include "hostlib/arch/preset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string sentence_of(const std::string& name, const std::vector<std::string>& overrides) {
  try {
    load_preset(name, overrides);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Presets, AllShippedOnesLoadUnderTheirOwnNameWithDistinctHashes) {
  std::set<std::string> hashes;
  for (const std::string& name : preset_names()) {
    const Preset preset = load_preset(name);
    EXPECT_EQ(preset.name, name);
    EXPECT_EQ(preset.hash.size(), 64U);
    hashes.insert(preset.hash);
  }
  EXPECT_THAT(preset_names(), testing::IsSupersetOf({"edge", "edge-max", "nano", "precise"}));
  EXPECT_EQ(hashes.size(), preset_names().size());
}

TEST(Presets, JsonRoundTripsToTheSameHash) {
  const test::TemporaryFolder folder;
  const Preset preset = load_preset("edge", {"engine.count=3", "datapath.state=s24.16"});
  std::ofstream(folder.path() / "mine.json") << to_json(preset);
  const Preset again = load_preset((folder.path() / "mine.json").string());
  EXPECT_EQ(again.hash, preset.hash);
  EXPECT_EQ(again.engine.count, 3);
  EXPECT_NE(preset.hash, load_preset("edge").hash);
}

TEST(Presets, OverridesKeepTheFieldsTypeAndNameUnknownOnes) {
  EXPECT_EQ(load_preset("edge", {"clock_hz=1e9"}).clock_hz, 1e9);
  EXPECT_THAT(sentence_of("edge", {"engine.lanes=4"}),
              AllOf(HasSubstr("engine.lanes"), HasSubstr("no \"lanes\" there")));
  EXPECT_THAT(sentence_of("edge", {"engine.count=many"}),
              AllOf(HasSubstr("engine.count"), HasSubstr("a number")));
  EXPECT_THAT(sentence_of("edge", {"engine.count=2.5"}), HasSubstr("engine.count"));
  EXPECT_THAT(sentence_of("edge", {"engine"}), HasSubstr("KEY.PATH=VALUE"));
  EXPECT_THAT(sentence_of("edge", {"engine=3"}), HasSubstr("a group of fields"));
}

TEST(Presets, ImpossibleOnesAreRefusedInOneSentence) {
  const std::pair<std::string, std::string> cases[] = {
      {"engine.count=0", "engine.count"},
      {"engine.state_lanes=-1", "engine.state_lanes"},
      {"clock_hz=0", "clock_hz"},
      {"memory.efficiency=1.5", "memory.efficiency"},
      {"host.bytes_per_weight=0", "host.bytes_per_weight"},
      {"datapath.state=q16", "datapath.state: expected a number format"},
      {"datapath.state=u16.8", "datapath.state: expected a signed fixed or block or float format, got u16.8"},
      {"datapath.probability=e5m10", "datapath.probability: expected an unsigned float format"},
      {"datapath.probability=ue5m10", "at least 6 exponent bits"},
      {"datapath.query_key=bfp16e8", "datapath.query_key: expected a signed fixed format"},
      {"datapath.query_key=s32.9", "at most 24 bits"},
      {"datapath.gate_logit=s16.12", "at least 6 integer bits"},
      {"datapath.state=bfp40e8", "width + guard_bits of at most 44"},
      {"datapath.conv=s24.24", "no more fraction bits"},
      {"datapath.guard_bits=1", "datapath.guard_bits"},
      {"engine.state_lanes=48",
       "preset edge, engine.state_lanes: expected a power of two of at least 1, got 48"},
      {"engine.state_lanes=4", "engine.state_lanes: expected at least the 8 numbers of a beat, got 4"},
      {"engine.state_lanes=1024", "engine.exp_lanes: expected a multiple of the 16 rows"},
      {"engine.conv_lanes=2", "engine.conv_lanes: expected a power of two of at least 4, got 2"},
      {"engine.conv_lanes=64", "engine.conv_lanes: expected at most 32, got 64"},
      {"engine.feature_lanes=1", "engine.feature_lanes: expected a power of two of at least 2, got 1"},
      {"engine.feature_lanes=1024", "engine.conv_lanes: expected at least 64"},
      {"engine.feature_lanes=4", "engine.exp_lanes: expected at most 2, got 4"},
      {"engine.gate_lanes=8", "engine.gate_lanes: expected at most engine.exp_lanes = 4, got 8"},
      {"engine.normalise_lanes=16", "engine.normalise_lanes: expected at most 8, got 16"},
      {"datapath.state_rounding=up", "expected truncate, nearest_even, stochastic or error_feedback"},
  };
  for (const auto& [override_text, words] : cases)
    EXPECT_THAT(sentence_of("edge", {override_text}), HasSubstr(words));
  EXPECT_THAT(sentence_of("edge", {"datapath.state=e5m10", "datapath.state_rounding=error_feedback"}),
              HasSubstr("for a float state"));
}

TEST(Presets, UnknownNamesListTheKnownOnes) {
  EXPECT_THAT(sentence_of("edgy", {}), AllOf(HasSubstr("edge"), HasSubstr("nano"), HasSubstr("\"edgy\"")));
}

TEST(Presets, MissingUnknownAndMistypedKeysAreErrors) {
  const test::TemporaryFolder folder;
  const std::string text = to_json(load_preset("edge"));
  const auto sentence = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    std::ofstream(folder.path() / "p.json") << changed;
    return sentence_of((folder.path() / "p.json").string(), {});
  };
  EXPECT_THAT(sentence("\"count\": 8,", ""), AllOf(HasSubstr("p.json"), HasSubstr("count")));
  EXPECT_THAT(sentence("\"count\": 8,", "\"count\": 8, \"colour\": 1,"),
              AllOf(HasSubstr("p.json"), HasSubstr("colour")));
  EXPECT_THAT(sentence("\"count\": 8,", "\"count\": \"8\","), AllOf(HasSubstr("p.json"), HasSubstr("count")));
  EXPECT_THAT(sentence("lawcat-preset/1", "lawcat-preset/9"), HasSubstr("lawcat-preset/1"));
}

}  // namespace
}  // namespace lawcat

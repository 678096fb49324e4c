// SPDX-License-Identifier: Apache-2.0
// The passkey generator's words, lengths and draws; scoring.
#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <regex>
#include <set>

#include "hostlib/io/error.h"
#include "hostlib/trace/passkey.h"
#include "hostlib/trace/random.h"
#include "hostlib/trace/score.h"

namespace lawcat {
namespace {

using testing::DoubleNear;
using testing::HasSubstr;
using testing::StartsWith;
using testing::ThrowsMessage;

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Random, IsTheSameOnEveryMachine) {
  // Computed once by an independent program from the definitions of SplitMix64 and mt19937_64.
  Random random(1, 2);
  EXPECT_EQ(random.below(1000000), 33854u);
  EXPECT_EQ(random.below(1000000), 11807u);
  EXPECT_EQ(random.below(1000000), 871283u);
  EXPECT_EQ(random.uniform(), 0.7891062779981393);
}

TEST(Random, StreamsOfOneSeedDiffer) {
  Random first(1, 2);
  Random second(1, 3);
  EXPECT_NE(first.below(1u << 31), second.below(1u << 31));
}

TEST(Random, NormalHasMeanZeroAndVarianceOne) {
  Random random(7);
  double sum = 0;
  double squares = 0;
  constexpr int n = 100000;
  for (int i = 0; i < n; ++i) {
    const double x = random.normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / n, 0, 0.02);
  EXPECT_NEAR(squares / n, 1, 0.02);
}

TEST(Passkey, HoldsExactlyTheWordsOfTheTask) {
  const PasskeyPrompt prompt = make_passkey({.tokens = 128, .seed = 3});
  std::string digits;
  for (const char c : prompt.answer) (digits += ' ') += c;
  EXPECT_THAT(
      prompt.text,
      StartsWith("There is an important info hidden inside a lot of irrelevant text . Find it and memorize "
                 "it . I will quiz you about the important information there . "));
  EXPECT_THAT(prompt.text,
              HasSubstr(". The pass key is" + digits + " . Remember it ." + digits + " is the pass key . "));
  EXPECT_THAT(prompt.text, testing::EndsWith(". What is the pass key ? The pass key is"));
}

TEST(Passkey, TakesTheLargestNumberOfSentencesThatFits) {
  for (int tokens : {74, 75, 93, 94, 127, 128, 1000, 1024, 16384, 22528})
    for (std::uint64_t index = 0; index < 20; ++index) {
      const PasskeyPrompt prompt = make_passkey({.tokens = tokens, .seed = 1, .index = index});
      EXPECT_EQ(prompt.words, count(prompt.text, " ") + 1);
      // Begin token in front, five digits and a full stop behind; the next sentence has 4 or 5 words.
      EXPECT_LE(prompt.words + 7, tokens);
      EXPECT_GT(prompt.words + 7, tokens - 5);
    }
}

TEST(Passkey, FillerCyclesThroughItsFiveSentences) {
  const PasskeyPrompt prompt = make_passkey({.tokens = 69 + 24 * 4, .seed = 5});
  for (const char* sentence : {"The grass is green .", "The sky is blue .", "The sun is yellow .",
                               "Here we go .", "There and back again ."})
    EXPECT_EQ(count(prompt.text, sentence), 4) << sentence;
}

TEST(Passkey, DepthPlacesTheNeedle) {
  const auto place = [](double depth) {
    const PasskeyPrompt prompt = make_passkey({.tokens = 2048, .seed = 9, .depth = depth});
    EXPECT_NEAR(prompt.depth, depth, 0.002);
    return static_cast<double>(prompt.text.find("Remember")) / static_cast<double>(prompt.text.size());
  };
  EXPECT_LT(place(0), 0.05);
  EXPECT_NEAR(place(0.5), 0.5, 0.03);
  EXPECT_GT(place(1), 0.95);
}

TEST(Passkey, SameSeedGivesTheSamePromptAndAnotherIndexAnother) {
  const PasskeySpec spec{.tokens = 512, .seed = 11, .index = 4, .depth = {}, .noise = 0.5};
  EXPECT_EQ(make_passkey(spec).text, make_passkey(spec).text);
  PasskeySpec other = spec;
  other.index = 5;
  EXPECT_NE(make_passkey(spec).answer, make_passkey(other).answer);
}

TEST(Passkey, AskingForADepthKeepsTheDigits) {
  EXPECT_EQ(make_passkey({.tokens = 512, .seed = 2}).answer,
            make_passkey({.tokens = 512, .seed = 2, .index = 0, .depth = 0.3}).answer);
}

TEST(Passkey, DrawnDepthsAndDigitsCoverTheirRanges) {
  std::array<int, 5> fifths{};
  std::set<char> last_digits;
  for (std::uint64_t index = 0; index < 500; ++index) {
    const PasskeyPrompt prompt = make_passkey({.tokens = 1024, .seed = 1, .index = index});
    ++fifths[static_cast<std::size_t>(std::min(4.0, prompt.depth * 5))];
    EXPECT_EQ(prompt.answer.size(), 5u);
    EXPECT_NE(prompt.answer[0], '0');
    last_digits.insert(prompt.answer[4]);
  }
  for (const int n : fifths) EXPECT_NEAR(n, 100, 40);
  EXPECT_EQ(last_digits.size(), 10u);
}

TEST(Passkey, NoiseReplacesThatShareOfFillerWordsAndNothingElse) {
  const PasskeySpec spec{.tokens = 8192, .seed = 6, .index = 0, .depth = 0.5, .noise = 0.5};
  const std::string text = make_passkey(spec).text;
  PasskeySpec clean = spec;
  clean.noise = 0;
  EXPECT_EQ(count(text, " "), count(make_passkey(clean).text, " "));
  EXPECT_EQ(count(text, " ."), count(make_passkey(clean).text, " ."));
  EXPECT_THAT(text, HasSubstr(". Remember it . "));
  const int grass = count(make_passkey(clean).text, "grass");
  EXPECT_NEAR(count(text, "grass"), grass / 2, grass / 5);
  const std::set<std::string> task = {"The",    "grass", "green", "sky",     "sun",
                                      "yellow", "pass",  "key",   "Remember"};
  for (const std::string& word : noise_words()) EXPECT_FALSE(task.contains(word)) << word;
}

// FNV-1a over the prompts of many specifications, computed before there were distractors.
TEST(Passkey, PromptsWithoutDistractorsAreWhatTheyWereBeforeThereWereAny) {
  std::uint64_t hash = 1469598103934665603u;
  for (const int tokens : {74, 75, 93, 128, 1000, 1024, 16384})
    for (std::uint64_t index = 0; index < 30; ++index)
      for (const double noise : {0.0, 0.5})
        for (const std::optional<double> depth : {std::optional<double>(), std::optional<double>(0.3)}) {
          const PasskeyPrompt prompt = make_passkey(
              {.tokens = tokens, .seed = index % 3, .index = index, .depth = depth, .noise = noise});
          for (const char c : prompt.text + prompt.answer)
            hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
        }
  EXPECT_EQ(hash, 0x5451b0e8ea540a75u);
}

TEST(Passkey, DistractorsStateOtherNumbersInPlaceOfFiller) {
  const std::regex distractor(
      "The (bus|house|room|phone|year|page|gate|seat) number is ([1-9]( [0-9]){4}) \\. ");
  std::set<std::string> things;
  for (std::uint64_t index = 0; index < 50; ++index) {
    PasskeySpec spec{.tokens = 512, .seed = 4, .index = index, .depth = {}, .noise = 0.5, .distractors = 7};
    const PasskeyPrompt prompt = make_passkey(spec);
    int found = 0;
    for (std::sregex_iterator at(prompt.text.begin(), prompt.text.end(), distractor), end; at != end; ++at) {
      ++found;
      things.insert((*at)[1]);
      EXPECT_FALSE(exact_match(prompt.answer, (*at)[2].str()));
    }
    EXPECT_EQ(found, 7);
    EXPECT_EQ(count(prompt.text, " number is "), 7);
    EXPECT_EQ(make_passkey(spec).text, prompt.text);
    spec.distractors = 0;
    EXPECT_EQ(make_passkey(spec).answer, prompt.answer);
  }
  EXPECT_EQ(things.size(), 8u);
}

TEST(Passkey, DistractorsStandAnywhereInTheFiller) {
  std::array<int, 5> fifths{};
  for (std::uint64_t index = 0; index < 200; ++index) {
    const std::string text =
        make_passkey({.tokens = 1024, .seed = 1, .index = index, .depth = 1, .noise = 0, .distractors = 5})
            .text;
    for (std::size_t at = text.find(" number is "); at != std::string::npos;
         at = text.find(" number is ", at + 1))
      ++fifths[std::min<std::size_t>(4, 5 * at / text.size())];
  }
  for (const int n : fifths) EXPECT_NEAR(n, 200, 60);
}

TEST(Passkey, PromptsWithDistractorsFitAndAreFull) {
  for (const int tokens : {79, 100, 128, 1000, 1024, 4096})
    for (std::uint64_t index = 0; index < 20; ++index)
      for (const int distractors : {1, max_distractors(tokens) / 2, max_distractors(tokens)}) {
        const PasskeyPrompt prompt = make_passkey({.tokens = tokens,
                                                   .seed = 1,
                                                   .index = index,
                                                   .depth = {},
                                                   .noise = 0,
                                                   .distractors = distractors});
        EXPECT_EQ(prompt.words, count(prompt.text, " ") + 1);
        EXPECT_EQ(count(prompt.text, " number is "), distractors);
        EXPECT_LE(prompt.words + 7, tokens);
        // One sentence more may also turn a filler sentence of four words into a distractor's place.
        EXPECT_GT(prompt.words + 7, tokens - 5 - distractors - 5);
      }
}

TEST(Passkey, RefusesWhatCannotBeInOneSentence) {
  EXPECT_EQ(max_distractors(74), 0);
  EXPECT_EQ(max_distractors(129), 6);
  EXPECT_THAT(
      [] { make_passkey({.tokens = 128, .seed = 0, .index = 0, .depth = {}, .noise = 0, .distractors = 6}); },
      ThrowsMessage<InputError>(
          "passkey prompt: distractors: expected from 0 to 5, as fit into 128 tokens, got 6"));
  EXPECT_THAT(
      [] {
        make_passkey({.tokens = 128, .seed = 0, .index = 0, .depth = {}, .noise = 0, .distractors = -1});
      },
      ThrowsMessage<InputError>(HasSubstr("distractors: expected from 0 to 5")));
  EXPECT_THAT([] { make_passkey({.tokens = 73}); },
              ThrowsMessage<InputError>("passkey prompt: tokens: expected at least 74, got 73"));
  EXPECT_THAT([] { make_passkey({.tokens = 100, .seed = 0, .index = 0, .depth = 1.5}); },
              ThrowsMessage<InputError>("passkey prompt: depth: expected a number from 0 to 1, got 1.5"));
  EXPECT_THAT([] { make_passkey({.tokens = 100, .seed = 0, .index = 0, .depth = {}, .noise = -1}); },
              ThrowsMessage<InputError>("passkey prompt: noise: expected a number from 0 to 1, got -1"));
}

TEST(Score, WilsonIntervalMatchesPublishedValues) {
  // Newcombe 1998, table I: 81/263 and 0/20, method 3.
  EXPECT_THAT((Accuracy{81, 263}.interval()),
              testing::Pair(DoubleNear(0.2553, 5e-5), DoubleNear(0.3662, 5e-5)));
  EXPECT_THAT((Accuracy{0, 20}.interval()), testing::Pair(0.0, DoubleNear(0.1611, 5e-5)));
  EXPECT_THAT((Accuracy{0, 0}.interval()), testing::Pair(0.0, 1.0));
}

TEST(Score, ExactMatchIgnoresOnlyWhiteSpace) {
  EXPECT_TRUE(exact_match("12345", "1 2 3 4 5"));
  EXPECT_TRUE(exact_match("12345", " 12345\n"));
  EXPECT_FALSE(exact_match("12345", "12346"));
  EXPECT_FALSE(exact_match("12345", "123456"));
  EXPECT_FALSE(exact_match("12345", ""));
}

TEST(Score, CountsByLengthAndDepth) {
  ScoreBoard board;
  board.add(1024, 0, true);
  board.add(1024, 1, false);
  board.add(2048, 1, true);
  EXPECT_EQ(board.by_length().at(1024).samples, 2);
  EXPECT_EQ(board.by_length().at(1024).correct, 1);
  EXPECT_EQ(board.by_length_and_depth().at({2048, 1}).correct, 1);
  EXPECT_EQ(board.by_length_and_depth().at({1024, 1}).correct, 0);
}

}  // namespace
}  // namespace lawcat

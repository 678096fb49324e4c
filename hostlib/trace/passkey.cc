// SPDX-License-Identifier: Apache-2.0
// Generator of passkey prompts.
#include "hostlib/trace/passkey.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <sstream>
#include <string_view>

#include "hostlib/io/error.h"
#include "hostlib/trace/random.h"

namespace lawcat {
namespace {

constexpr std::string_view kIntroduction =
    "There is an important info hidden inside a lot of irrelevant text . Find it and memorize it . "
    "I will quiz you about the important information there .";
constexpr std::string_view kQuestion = "What is the pass key ? The pass key is";
constexpr std::array<std::array<std::string_view, 5>, 5> kFiller = {{{"The", "grass", "is", "green", "."},
                                                                     {"The", "sky", "is", "blue", "."},
                                                                     {"The", "sun", "is", "yellow", "."},
                                                                     {"Here", "we", "go", "."},
                                                                     {"There", "and", "back", "again", "."}}};
// Begin token, introduction 29, needle 23, question 10, five digits and the full stop after them.
constexpr int kWithoutFiller = 69;

constexpr std::array<std::string_view, 8> kThings = {"bus",  "house", "room", "phone",
                                                     "year", "page",  "gate", "seat"};

std::size_t words_of(std::size_t sentence) {
  return kFiller[sentence][4].empty() ? 4 : 5;
}

std::string five_digits(Random& random) {
  return std::to_string(10000 + random.below(90000));
}

std::string spaced(std::string_view digits) {
  std::string result;
  for (const char digit : digits) (result += digit) += ' ';
  return result;
}

/// `count` of the places 0 .. places - 1, all subsets equally likely (Floyd's method).
std::set<std::size_t> draw_places(Random& random, std::size_t count, std::size_t places) {
  std::set<std::size_t> drawn;
  for (std::size_t last = places - count; last < places; ++last)
    if (!drawn.insert(random.below(last + 1)).second) drawn.insert(last);
  return drawn;
}

/// What of the filler becomes distractors, and how many sentences there are then.
struct Filler {
  std::size_t sentences = 0;
  std::set<std::size_t> distractors;
};

/// The largest number of sentences that fits into `room` words, the first of them filler sentence `first`.
Filler fill(std::size_t room, std::size_t first, std::size_t distractors, Random& random) {
  Filler filler;
  // A distractor in place of a sentence of five words; where it takes one of four, it is a word longer.
  const std::size_t extra = (kDistractorWords - 5) * distractors;
  for (std::size_t words = extra;; ++filler.sentences) {
    words += words_of((first + filler.sentences) % kFiller.size());
    if (words > room) break;
  }
  if (distractors == 0) return filler;
  filler.sentences = std::max(filler.sentences, distractors);
  for (;; --filler.sentences) {
    filler.distractors = draw_places(random, distractors, filler.sentences);
    std::size_t words = 0;
    for (std::size_t i = 0; i < filler.sentences; ++i)
      words += filler.distractors.contains(i) ? kDistractorWords : words_of((first + i) % kFiller.size());
    if (words <= room) return filler;
  }
}

}  // namespace

int max_distractors(int tokens) {
  return std::max(0, tokens - kWithoutFiller) / kDistractorWords;
}

const std::vector<std::string>& noise_words() {
  static const std::vector<std::string> words = [] {
    std::istringstream text(
        "to in for on with as was at by be this that from or have not are but had his they she which one "
        "all her would their when who him been has more if no out do so can what up said other into than "
        "its time only could new them man some these then two first may any like now my such make over our "
        "even most me state after also made many did must before see through way where get much well your "
        "know should down work year because come people just say each those take day good how long little "
        "own use water very house men too old life tell write become here show both never family leave "
        "young left find end part place small large world hand high school point home night city car war "
        "moon river stone bird horse music paper winter summer road table window market letter story king "
        "queen island forest garden bread coffee silver gold copper iron glass wood wheel boat ");
    std::vector<std::string> result;
    for (std::string word; text >> word;) result.push_back(word);
    return result;
  }();
  return words;
}

PasskeyPrompt make_passkey(const PasskeySpec& spec) {
  if (spec.tokens < kMinPasskeyTokens)
    throw InputError("passkey prompt: tokens", fmt::format("at least {}", kMinPasskeyTokens),
                     std::to_string(spec.tokens));
  const double depth = spec.depth.value_or(0);
  if (!(depth >= 0 && depth <= 1))
    throw InputError("passkey prompt: depth", "a number from 0 to 1", fmt::format("{}", depth));
  if (!(spec.noise >= 0 && spec.noise <= 1))
    throw InputError("passkey prompt: noise", "a number from 0 to 1", fmt::format("{}", spec.noise));

  if (spec.distractors < 0 || spec.distractors > max_distractors(spec.tokens))
    throw InputError(
        "passkey prompt: distractors",
        fmt::format("from 0 to {}, as fit into {} tokens", max_distractors(spec.tokens), spec.tokens),
        std::to_string(spec.distractors));

  const std::uint64_t stream = spec.index << 32 | static_cast<std::uint64_t>(spec.tokens);
  Random random(spec.seed, stream);
  // A stream of their own: without distractors a prompt is what it was before there were any.
  Random random_distractors(spec.seed, ~stream);
  const std::size_t first = random.below(kFiller.size());
  const Filler filler = fill(static_cast<std::size_t>(spec.tokens - kWithoutFiller), first,
                             static_cast<std::size_t>(spec.distractors), random_distractors);
  const std::uint64_t sentences = filler.sentences;
  // Drawn even when given, so that the digits of a seed do not depend on the depth asked for.
  const std::uint64_t drawn = random.below(sentences + 1);
  const std::uint64_t before =
      spec.depth ? static_cast<std::uint64_t>(std::llround(depth * static_cast<double>(sentences))) : drawn;

  PasskeyPrompt prompt;
  prompt.answer = five_digits(random);
  prompt.depth = static_cast<double>(before) / static_cast<double>(sentences);
  const auto append = [&prompt](std::string_view words) {
    if (!prompt.text.empty()) prompt.text += ' ';
    prompt.text += words;
  };
  const std::string digits = spaced(prompt.answer);

  append(kIntroduction);
  for (std::uint64_t i = 0; i <= sentences; ++i) {
    if (i == before)
      append(fmt::format("The pass key is {}. Remember it . {}is the pass key .", digits, digits));
    if (i == sentences) break;
    if (filler.distractors.contains(i)) {
      const std::string_view thing = kThings[random_distractors.below(kThings.size())];
      std::string number = five_digits(random_distractors);
      while (number == prompt.answer) number = five_digits(random_distractors);
      append(fmt::format("The {} number is {}.", thing, spaced(number)));
      continue;
    }
    const std::size_t sentence = (first + i) % kFiller.size();
    for (std::size_t word = 0; word < words_of(sentence); ++word) {
      const bool noisy = kFiller[sentence][word] != "." && spec.noise > 0 && random.uniform() < spec.noise;
      append(noisy ? std::string_view(noise_words()[random.below(noise_words().size())])
                   : kFiller[sentence][word]);
    }
  }
  append(kQuestion);
  prompt.words = 1;
  for (const char c : prompt.text) prompt.words += c == ' ';
  return prompt;
}

}  // namespace lawcat

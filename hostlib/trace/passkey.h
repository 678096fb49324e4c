// SPDX-License-Identifier: Apache-2.0
// The passkey task: five digits hidden in filler text, asked for at the end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lawcat {

/// One prompt, fully determined by these fields. Lengths are in word-level tokens: words, full stops,
/// question marks and single digits, and one for the token that begins a sequence.
struct PasskeySpec {
  int tokens = 1024;  ///< L: room for begin token, prompt, the answer's digits and a full stop
  std::uint64_t seed = 0;
  std::uint64_t index = 0;  ///< which prompt of this seed and length
  std::optional<double> depth =
      std::nullopt;  ///< share of the filler before the needle, 0..1; drawn uniformly if not given
  double noise = 0;  ///< each filler word becomes a random other word with this probability
  int distractors =
      0;  ///< filler sentences, drawn uniformly, that state another number in the needle's place
};

struct PasskeyPrompt {
  std::string text;    ///< words joined by single spaces, without begin token and answer
  int words = 0;       ///< in `text`
  std::string answer;  ///< five digits, the first never 0
  double depth = 0;    ///< sentences before the needle / all sentences, distractors included
};

/// Shortest L that has room for one filler sentence of any kind.
inline constexpr int kMinPasskeyTokens = 74;

/// Words of a distractor, `The house number is 1 2 3 4 5 .`
inline constexpr int kDistractorWords = 10;

/// Distractors for which a prompt of `tokens` has room; then it has no filler.
int max_distractors(int tokens);

/// Throws InputError when tokens < kMinPasskeyTokens, depth or noise are outside [0, 1], or distractors are
/// negative or more than max_distractors(tokens). Answer and depth of a (seed, index, tokens) do not depend
/// on noise, nor the answer on distractors; no distractor has the answer's number.
PasskeyPrompt make_passkey(const PasskeySpec& spec);

/// The vocabulary that noise words are drawn from.
const std::vector<std::string>& noise_words();

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Running text in which tasks hide what they ask for: sentences of a file, or one repeated.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace lawcat {

/// Which part of a haystack file is read: train, all but the last fifth of its paragraphs; test, that last
/// fifth (rounded down).
enum class Split { train, test };

std::string_view split_name(Split split);

/// Tokens that a model's tokenizer makes of a text, begin token left out. Called from several threads.
using CountTokens = std::function<int(std::string_view text)>;

/// Tokens that `text`, separator first, adds behind a sentence. Sums of these are a text's own count but for
/// tokenizers that join characters across sentences.
int added_tokens(const CountTokens& count, std::string_view text);

/// Sentences of running English: cut behind . ? or ! with the quotes and brackets that close there, where
/// white space and no small letter follows, except behind titles (`Mr.`) and initials.
std::vector<std::string> split_sentences(std::string_view paragraph);

class Haystack {
 public:
  /// Sentences as given, joined by `separator`; at least one.
  Haystack(std::vector<std::string> sentences, std::string separator, const CountTokens& count);
  /// A file of one paragraph a line, joined by spaces. Throws InputError when it cannot be read or has fewer
  /// than five paragraphs.
  static Haystack read(const std::filesystem::path& file, Split split, const CountTokens& count);

  std::size_t size() const { return sentences_.size(); }
  const std::string& separator() const { return separator_; }
  /// Sentence `i` of the text that begins at sentence `first` and starts again at the end.
  const std::string& sentence(std::size_t first, std::size_t i) const {
    return sentences_[(first + i) % sentences_.size()];
  }
  /// First words of that sentence, separator before them, as many as add at most `room` tokens: none to all.
  std::string beginning(std::size_t first, std::size_t i, int room, const CountTokens& count) const;
  /// How many sentences from `first` on, each with its separator, add at most `room` tokens.
  std::size_t fitting(std::size_t first, std::int64_t room) const;

 private:
  std::vector<std::string> sentences_;
  std::string separator_;
  std::vector<std::int64_t> before_;  ///< tokens of all sentences before one; the total at the end
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Sentences of haystack files, and how many of them fit.
#include "hostlib/trace/haystack.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

#include "hostlib/io/error.h"
#include "hostlib/io/file.h"

namespace lawcat {
namespace {

constexpr std::string_view kSentence = "Here it is.";

bool is_small(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_capital(char c) {
  return c >= 'A' && c <= 'Z';
}

/// Whether the word that ends with the full stop at `stop` is a title or an initial.
bool abbreviates(std::string_view text, std::size_t stop) {
  static constexpr std::array<std::string_view, 11> kTitles = {"Mr",  "Mrs",  "Ms",  "Dr", "St", "Mme",
                                                               "Vol", "Prof", "Rev", "vs", "viz"};
  std::size_t start = stop;
  while (start > 0 && (is_small(text[start - 1]) || is_capital(text[start - 1]))) --start;
  const std::string_view word = text.substr(start, stop - start);
  // "I." ends a sentence more often than it is somebody's initial.
  return (word.size() == 1 && is_capital(word[0]) && word != "I") ||
         std::find(kTitles.begin(), kTitles.end(), word) != kTitles.end();
}

/// Length of a quote or bracket that closes at `at`: ASCII, or the curly ones in UTF-8.
std::size_t closing_length(std::string_view text, std::size_t at) {
  if (at >= text.size()) return 0;
  if (std::string_view("\"')]_*").find(text[at]) != std::string_view::npos) return 1;
  const std::string_view three = text.substr(at, 3);
  return three == "\u201d" || three == "\u2019" ? 3 : 0;
}

}  // namespace

std::string_view split_name(Split split) {
  return split == Split::train ? "train" : "test";
}

int added_tokens(const CountTokens& count, std::string_view text) {
  return count(std::string(kSentence).append(text)) - count(kSentence);
}

std::vector<std::string> split_sentences(std::string_view paragraph) {
  std::vector<std::string> sentences;
  const auto trimmed = [](std::string_view text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) text.remove_suffix(1);
    return std::string(text);
  };
  std::size_t start = 0;
  for (std::size_t i = 0; i < paragraph.size(); ++i) {
    if (paragraph[i] != '.' && paragraph[i] != '?' && paragraph[i] != '!') continue;
    std::size_t end = i + 1;
    while (const std::size_t closing = closing_length(paragraph, end)) end += closing;
    if (end + 1 >= paragraph.size() || paragraph[end] != ' ' || is_small(paragraph[end + 1])) continue;
    if (paragraph[i] == '.' && abbreviates(paragraph, i)) continue;
    if (std::string sentence = trimmed(paragraph.substr(start, end - start)); !sentence.empty())
      sentences.push_back(std::move(sentence));
    start = end;
  }
  if (std::string rest = trimmed(paragraph.substr(start)); !rest.empty())
    sentences.push_back(std::move(rest));
  return sentences;
}

Haystack::Haystack(std::vector<std::string> sentences, std::string separator, const CountTokens& count)
    : sentences_(std::move(sentences)), separator_(std::move(separator)), before_{0} {
  if (sentences_.empty()) throw InputError("haystack", "at least one sentence", "none");
  for (const std::string& sentence : sentences_)
    before_.push_back(before_.back() + std::max(1, added_tokens(count, separator_ + sentence)));
}

Haystack Haystack::read(const std::filesystem::path& file, Split split, const CountTokens& count) {
  const std::string text = read_file(file);
  std::vector<std::string_view> paragraphs;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view line = std::string_view(text).substr(start, end - start);
    if (line.find_first_not_of(" \r\t") != std::string_view::npos) paragraphs.push_back(line);
    start = end + 1;
  }
  if (paragraphs.size() < 5)
    throw InputError(file.string(), "at least five paragraphs, one a line",
                     fmt::format("{}", paragraphs.size()));
  const std::size_t train = paragraphs.size() - paragraphs.size() / 5;
  std::vector<std::string> sentences;
  for (std::size_t i = split == Split::train ? 0 : train;
       i < (split == Split::train ? train : paragraphs.size()); ++i)
    for (std::string& sentence : split_sentences(paragraphs[i])) sentences.push_back(std::move(sentence));
  return {std::move(sentences), " ", count};
}

std::string Haystack::beginning(std::size_t first, std::size_t i, int room, const CountTokens& count) const {
  const std::string text = separator_ + sentence(first, i);
  std::vector<std::size_t> ends = {0};  // of the first words, no word first
  for (std::size_t at = text.find(' ', separator_.size()); at != std::string::npos;
       at = text.find(' ', at + 1))
    ends.push_back(at);
  ends.push_back(text.size());
  std::size_t most = 0;
  for (std::size_t step = std::bit_floor(ends.size()); step > 0; step /= 2)
    if (most + step < ends.size() && added_tokens(count, text.substr(0, ends[most + step])) <= room)
      most += step;
  return text.substr(0, ends[most]);
}

std::size_t Haystack::fitting(std::size_t first, std::int64_t room) const {
  if (room <= 0) return 0;
  const std::int64_t all = before_.back();
  const std::size_t rounds = static_cast<std::size_t>(room / all);
  // Within one round from `first`: up to the file's end, then from its beginning.
  std::int64_t left = room % all + before_[first];
  std::size_t last = 0;
  if (left <= all) {
    last =
        static_cast<std::size_t>(std::upper_bound(before_.begin(), before_.end(), left) - before_.begin()) -
        1;
    return rounds * size() + last - first;
  }
  left -= all;
  last =
      static_cast<std::size_t>(std::upper_bound(before_.begin(), before_.end(), left) - before_.begin()) - 1;
  return rounds * size() + size() - first + last;
}

}  // namespace lawcat

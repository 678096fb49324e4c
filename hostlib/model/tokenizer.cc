// SPDX-License-Identifier: Apache-2.0
// WordLevel tokenizer.json, and the choice between the kinds.
#include "hostlib/model/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/io/strict_json.h"

namespace lawcat {
namespace {

constexpr std::int64_t kMaxId = (1 << 24) - 1;

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
/// Letters, digits and underscore; bytes beyond ASCII count as letters.
bool is_word(char c) {
  return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
}

class WordLevel final : public Tokenizer::Form {
 public:
  explicit WordLevel(const std::filesystem::path& file) : place_(file.string()) {
    const nlohmann::json json = read_json(file);
    StrictObject root(json, place_);
    StrictObject model = root.get_object("model");
    if (const std::string type = model.get_string("type"); type != "WordLevel")
      throw InputError(model.place("type"),
                       "WordLevel (other kinds are read as tokenizer.model by SentencePiece)", type);
    for (const char* key : {"normalizer", "post_processor", "decoder"})
      if (root.has(key) && !root.get_any(key).is_null())
        throw InputError(root.place(key), "null", shown(root.get_any(key)));
    read_pre_tokenizer(root.get_any("pre_tokenizer"), root.place("pre_tokenizer"));

    StrictObject vocab = model.get_object("vocab");
    for (const auto& [word, id] : json["model"]["vocab"].items()) add(word, vocab.get_int(word, 0, kMaxId));
    if (root.has("added_tokens")) read_added_tokens(root.get_any("added_tokens"), root.place("added_tokens"));
    const std::string unknown = model.get_string("unk_token");
    const auto found = ids_.find(unknown);
    if (found == ids_.end()) throw InputError(model.place("unk_token"), "a word of the vocabulary", unknown);
    unknown_ = found->second;
  }

  std::vector<int> encode(std::string_view text) const override {
    std::vector<int> tokens;
    while (!text.empty()) {
      if (const std::string* added = added_at(text)) {
        tokens.push_back(ids_.at(*added));
        text.remove_prefix(added->size());
      } else if (is_space(text[0])) {
        text.remove_prefix(1);
      } else {
        const std::size_t length = piece_length(text);
        const auto found = ids_.find(std::string(text.substr(0, length)));
        tokens.push_back(found == ids_.end() ? unknown_ : found->second);
        text.remove_prefix(length);
      }
    }
    return tokens;
  }

  std::string decode(std::span<const int> tokens) const override {
    std::string text;
    for (const int id : tokens) {
      const auto found = words_.find(id);
      if (found == words_.end())
        throw InputError(place_, "token ids of the vocabulary", fmt::format("{}", id));
      if (!text.empty()) text += ' ';
      text += found->second;
    }
    return text;
  }

  int vocab_size() const override { return static_cast<int>(words_.size()); }

 private:
  void add(const std::string& word, std::int64_t id) {
    const auto word_id = static_cast<int>(id);
    const auto known = ids_.emplace(word, word_id).first;
    const auto named = words_.emplace(word_id, word).first;
    if (known->second != word_id || named->second != word)
      throw InputError(place_, "each word with one id",
                       fmt::format("\"{}\" and id {} in conflict", word, id));
  }

  void read_pre_tokenizer(const nlohmann::json& value, const std::string& place) {
    StrictObject step(value, place);
    const std::string type = step.get_string("type");
    if (type == "Sequence") {
      for (const auto& inner : step.get_any("pretokenizers"))
        read_pre_tokenizer(inner, step.place("pretokenizers"));
    } else if (type == "Digits" && step.get_bool("individual_digits")) {
      single_digits_ = true;
    } else if (type != "Whitespace") {
      throw InputError(place, "Whitespace, and Digits with individual_digits", shown(value));
    }
    step.finish();
  }

  void read_added_tokens(const nlohmann::json& list, const std::string& place) {
    for (const auto& value : list) {
      StrictObject token(value, place);
      for (const char* key : {"single_word", "lstrip", "rstrip"})
        if (token.has(key) && token.get_bool(key)) throw InputError(token.place(key), "false", "true");
      const std::string content = token.get_string("content");
      if (content.empty()) throw InputError(token.place("content"), "some text", "none");
      add(content, token.get_int("id", 0, kMaxId));
      added_.push_back(content);
    }
    std::stable_sort(added_.begin(), added_.end(),
                     [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  }

  /// The longest added token that `text` starts with.
  const std::string* added_at(std::string_view text) const {
    for (const std::string& added : added_)
      if (text.starts_with(added)) return &added;
    return nullptr;
  }

  /// Whitespace's pattern \w+|[^\w\s]+, cut at added tokens and around digits.
  std::size_t piece_length(std::string_view text) const {
    if (single_digits_ && is_digit(text[0])) return 1;
    std::size_t length = 1;
    while (length < text.size() && !is_space(text[length]) && is_word(text[length]) == is_word(text[0]) &&
           !(single_digits_ && is_digit(text[length])) && !added_at(text.substr(length)))
      ++length;
    return length;
  }

  std::string place_;
  std::unordered_map<std::string, int> ids_;
  std::unordered_map<int, std::string> words_;
  std::vector<std::string> added_;
  bool single_digits_ = false;
  int unknown_ = 0;
};

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& folder) {
  std::error_code unreadable;
  if (std::filesystem::exists(folder / "tokenizer.model", unreadable))
    return Tokenizer(load_sentencepiece(folder / "tokenizer.model"));
  if (std::filesystem::exists(folder / "tokenizer.json", unreadable))
    return Tokenizer(std::make_unique<WordLevel>(folder / "tokenizer.json"));
  throw InputError(folder.string(), "tokenizer.json (WordLevel) or tokenizer.model (SentencePiece)",
                   "neither");
}

}  // namespace lawcat

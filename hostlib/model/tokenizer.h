// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back: tokenizer.json of type WordLevel, or SentencePiece's tokenizer.model.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lawcat {

class Tokenizer {
 public:
  /// Reads tokenizer.model (SentencePiece, if built in) or tokenizer.json (WordLevel) of a model's folder;
  /// the first wins, as Hugging Face folders of SentencePiece models have both. Throws InputError when
  /// neither is there or the file asks for something that is not supported.
  static Tokenizer load(const std::filesystem::path& folder);

  /// Adds no begin or end token; WordLevel finds added tokens ("<bos>") in the text.
  std::vector<int> encode(std::string_view text) const { return form_->encode(text); }
  /// Throws InputError on an id outside the vocabulary.
  std::string decode(std::span<const int> tokens) const { return form_->decode(tokens); }
  int vocab_size() const { return form_->vocab_size(); }
  /// What begins and ends a sequence, where the tokenizer's own file tells (SentencePiece).
  std::optional<int> begin_token() const { return form_->begin_token(); }
  std::optional<int> end_token() const { return form_->end_token(); }

  /// One kind of tokenizer.
  class Form {
   public:
    virtual ~Form() = default;
    virtual std::vector<int> encode(std::string_view text) const = 0;
    virtual std::string decode(std::span<const int> tokens) const = 0;
    virtual int vocab_size() const = 0;
    virtual std::optional<int> begin_token() const { return {}; }
    virtual std::optional<int> end_token() const { return {}; }
  };

 private:
  explicit Tokenizer(std::unique_ptr<const Form> form) : form_(std::move(form)) {}
  std::unique_ptr<const Form> form_;
};

/// Throws InputError when the build lacks SentencePiece.
std::unique_ptr<const Tokenizer::Form> load_sentencepiece(const std::filesystem::path& file);

}  // namespace lawcat

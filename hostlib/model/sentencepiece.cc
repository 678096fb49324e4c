// SPDX-License-Identifier: Apache-2.0
// tokenizer.model by way of the SentencePiece library, where the build found it.
#include <fmt/format.h>

#include "hostlib/io/error.h"
#include "hostlib/model/tokenizer.h"

#if LAWCAT_WITH_SENTENCEPIECE
#include <sentencepiece_processor.h>
#endif

namespace lawcat {

#if LAWCAT_WITH_SENTENCEPIECE

namespace {

class SentencePiece final : public Tokenizer::Form {
 public:
  explicit SentencePiece(const std::filesystem::path& file) : place_(file.string()) {
    if (const auto status = processor_.Load(place_); !status.ok())
      throw InputError(place_, "a SentencePiece model", status.ToString());
  }
  std::vector<int> encode(std::string_view text) const override { return processor_.EncodeAsIds(text); }
  std::string decode(std::span<const int> tokens) const override {
    for (const int id : tokens)
      if (id < 0 || id >= vocab_size())
        throw InputError(place_, fmt::format("token ids below {}", vocab_size()), fmt::format("{}", id));
    return processor_.DecodeIds({tokens.begin(), tokens.end()});
  }
  int vocab_size() const override { return processor_.GetPieceSize(); }
  std::optional<int> begin_token() const override { return known(processor_.bos_id()); }
  std::optional<int> end_token() const override { return known(processor_.eos_id()); }

 private:
  /// The library says -1 where the vocabulary has no such token.
  static std::optional<int> known(int id) { return id < 0 ? std::nullopt : std::optional(id); }

  std::string place_;
  sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace

std::unique_ptr<const Tokenizer::Form> load_sentencepiece(const std::filesystem::path& file) {
  return std::make_unique<SentencePiece>(file);
}

#else

std::unique_ptr<const Tokenizer::Form> load_sentencepiece(const std::filesystem::path& file) {
  throw InputError(file.string(), "a build with SentencePiece (Debian: libsentencepiece-dev)", "one without");
}

#endif

}  // namespace lawcat

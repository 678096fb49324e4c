// SPDX-License-Identifier: Apache-2.0
// Tokenizers: the shipped WordLevel one, SentencePiece, and what is refused.
#include "hostlib/model/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "hostlib/io/file.h"
#include "hostlib/model/config.h"
#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using nlohmann::json;
using test::expect_input_error;
using test::TemporaryFolder;

json word_level() {
  return json::parse(
      R"({"added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>"}],
    "normalizer": null, "post_processor": null, "decoder": null,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"},
                                                            {"type": "Digits", "individual_digits": true}]},
    "model": {"type": "WordLevel", "unk_token": "<unk>",
              "vocab": {"<unk>": 0, "<s>": 1, "a": 2, "bc": 3, "1": 4, "2": 5, "?": 6, "?!": 7,
                        "a_b": 8, "é": 9}}})");
}

Tokenizer load(const json& text) {
  const TemporaryFolder folder;
  folder.add("tokenizer.json", text.dump());
  return Tokenizer::load(folder.path());
}

template <typename... Parts>
void expect_refused(const json& text, const Parts&... parts) {
  expect_input_error([&] { load(text); }, "tokenizer.json: ", parts...);
}

TEST(WordLevel, SplitsWordsPunctuationAndSingleDigits) {
  const Tokenizer tokenizer = load(word_level());
  EXPECT_EQ(tokenizer.encode("a bc\n\ta"), (std::vector{2, 3, 2}));
  EXPECT_EQ(tokenizer.encode("12 a1bc"), (std::vector{4, 5, 2, 4, 3}));
  EXPECT_EQ(tokenizer.encode("a?bc ?!"), (std::vector{2, 6, 3, 7}));
  EXPECT_EQ(tokenizer.encode("a_b é"), (std::vector{8, 9}));
  EXPECT_EQ(tokenizer.encode("?? 3"), (std::vector{0, 0}));
  EXPECT_TRUE(tokenizer.encode(" \n").empty());
  EXPECT_EQ(tokenizer.vocab_size(), 10);
}

TEST(WordLevel, KeepsDigitsTogetherWithoutTheDigitsStep) {
  json text = word_level();
  text["pre_tokenizer"] = {{"type", "Whitespace"}};
  text["model"]["vocab"]["12"] = 10;
  EXPECT_EQ(load(text).encode("12 1"), (std::vector{10, 4}));
}

TEST(WordLevel, FindsAddedTokensAnywhere) {
  EXPECT_EQ(load(word_level()).encode("<s>a<s>bc<unk> < s >"), (std::vector{1, 2, 1, 3, 0, 0, 0, 0}));
}

TEST(WordLevel, DecodesWithSpacesAndRefusesAnUnknownId) {
  const Tokenizer tokenizer = load(word_level());
  EXPECT_EQ(tokenizer.decode(std::vector{1, 4, 5, 6}), "<s> 1 2 ?");
  expect_input_error([&] { tokenizer.decode(std::vector{10}); }, "tokenizer.json", "got 10");
}

TEST(WordLevel, OfTheShippedModelsReadsTheQuestion) {
  const Tokenizer tokenizer = Tokenizer::load(find_model("passkey-tiny"));
  EXPECT_EQ(tokenizer.vocab_size(), 256);
  EXPECT_EQ(tokenizer.encode("<bos> The pass key is 01234."),
            (std::vector{1, 38, 50, 51, 14, 3, 4, 5, 6, 7, 25}));
}

TEST(WordLevel, RefusesStepsThatItDoesNotTake) {
  const auto with = [](const char* key, const json& value) {
    json text = word_level();
    text[key] = value;
    return text;
  };
  expect_refused(with("normalizer", {{"type", "Lowercase"}}), "normalizer: expected null", "Lowercase");
  expect_refused(with("post_processor", {{"type", "TemplateProcessing"}}), "post_processor");
  expect_refused(with("decoder", {{"type", "WordPiece"}}), "decoder");
  expect_refused(with("pre_tokenizer", {{"type", "ByteLevel"}}), "pre_tokenizer", "ByteLevel");
  expect_refused(with("pre_tokenizer", {{"type", "Digits"}, {"individual_digits", false}}), "pre_tokenizer");
  expect_refused(with("pre_tokenizer", nullptr), "pre_tokenizer");
  expect_refused(with("added_tokens", {{{"id", 1}, {"content", "<s>"}, {"lstrip", true}}}),
                 "lstrip: expected false");
  expect_refused(with("added_tokens", {{{"id", 1}, {"content", ""}}}), "content: expected some text");
}

TEST(WordLevel, RefusesAVocabularyInConflictWithItself) {
  json text = word_level();
  text["model"]["vocab"]["z"] = 2;
  expect_refused(text, "each word with one id", "id 2");
  text = word_level();
  text["added_tokens"][1]["id"] = 5;
  expect_refused(text, "\"<s>\" and id 5 in conflict");
  text = word_level();
  text["model"]["unk_token"] = "<none>";
  expect_refused(text, "model.unk_token", "<none>");
  text["model"]["type"] = "BPE";
  expect_refused(text, "model.type", "WordLevel", "got BPE");
}

TEST(Tokenizer, MissingFromAFolderIsRefusedNamingBothKinds) {
  const TemporaryFolder folder;
  expect_input_error([&] { Tokenizer::load(folder.path()); }, "tokenizer.json (WordLevel)",
                     "tokenizer.model (SentencePiece)", "neither");
}

#if LAWCAT_WITH_SENTENCEPIECE
TEST(SentencePiece, EncodesAndDecodesWithATrainedModel) {
  const std::string spm_train = LAWCAT_SPM_TRAIN;
  if (spm_train.empty()) GTEST_SKIP() << "spm_train was not found when the build was configured";
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 200; ++i) text += "The grass is green. The sky is blue. The pass key is hidden.\n";
  folder.add("text", text);
  const std::string command = spm_train + " --input=" + (folder / "text").string() +
                              " --model_prefix=" + (folder / "tokenizer").string() +
                              " --vocab_size=40 --model_type=bpe > /dev/null 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0);
  const Tokenizer tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer.vocab_size(), 40);
  EXPECT_EQ(tokenizer.begin_token(), 1);
  EXPECT_EQ(tokenizer.end_token(), 2);
  const auto tokens = tokenizer.encode("The sky is green.");
  EXPECT_GT(tokens.size(), 3u);
  EXPECT_LT(tokens.size(), 17u);
  EXPECT_EQ(tokenizer.decode(tokens), "The sky is green.");
  expect_input_error([&] { tokenizer.decode(std::vector{40}); }, "token ids below 40, got 40");
}

TEST(SentencePiece, RefusesAFileThatIsNone) {
  const TemporaryFolder folder;
  folder.add("tokenizer.model", "nonsense");
  expect_input_error([&] { Tokenizer::load(folder.path()); }, "tokenizer.model", "a SentencePiece model");
}
#else
TEST(SentencePiece, IsRefusedByABuildWithoutIt) {
  const TemporaryFolder folder;
  folder.add("tokenizer.model", "");
  expect_input_error([&] { Tokenizer::load(folder.path()); }, "tokenizer.model",
                     "a build with SentencePiece");
}
#endif

}  // namespace
}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// One sequence through the shipped models: the stored logits, the same logits however the tokens are cut.
#include "hostlib/model/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "hostlib/backend/reference.h"
#include "hostlib/io/safetensors.h"
#include "hostlib/model/generate.h"
#include "hostlib/model/tokenizer.h"
#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using test::expect_input_error;

double distance(std::span<const float> got, std::span<const float> expected) {
  EXPECT_EQ(got.size(), expected.size());
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - expected[i], 2);
    norm += std::pow(expected[i], 2);
  }
  return std::sqrt(difference / norm);
}

std::unique_ptr<Session> open_unit(const Model& model) {
  if (!model.is_lawcat()) return nullptr;
  static const std::unique_ptr<Backend> backend = make_reference_backend();
  return backend->open(model.unit_shape(), model.unit_weights(), model.config().layers);
}

struct Expected {
  std::vector<int> tokens;
  std::vector<float> logits;
};

Expected read_expected(const std::string& name) {
  const SafeTensors file = SafeTensors::open(find_model(name) / "expected.safetensors");
  const auto ids = file.at("tokens").to_ints();
  return {{ids.begin(), ids.end()}, file.at("logits").to_floats()};
}

class ShippedModel : public testing::TestWithParam<const char*> {
 protected:
  const Model model_ = Model::load(find_model(GetParam()));
  const Expected expected_ = read_expected(GetParam());
  const int count_ = static_cast<int>(expected_.tokens.size());
};

TEST_P(ShippedModel, HasTheStoredLogits) {
  ModelSession session(model_, open_unit(model_));
  const auto logits = session.forward(expected_.tokens, count_);
  EXPECT_LT(distance(logits, expected_.logits), 1e-4);
  EXPECT_EQ(session.position(), count_);
}

TEST_P(ShippedModel, HasTheSameLogitsInBlocksAndTokenByToken) {
  const std::span tokens = std::span(expected_.tokens).first(150);
  const std::span expected = std::span(expected_.logits).first(150 * model_.config().vocab_size);
  ModelSession blocks(model_, open_unit(model_));
  EXPECT_LT(distance(blocks.forward(tokens, 150, 64), expected), 1e-4);

  ModelSession single(model_, open_unit(model_));
  std::vector<float> logits;
  for (const int token : tokens) {
    const auto row = single.forward(std::span(&token, 1), 1);
    logits.insert(logits.end(), row.begin(), row.end());
  }
  EXPECT_LT(distance(logits, expected), 1e-4);

  ModelSession both(model_, open_unit(model_));
  EXPECT_TRUE(both.forward(tokens.first(100), 0).empty());
  EXPECT_LT(distance(both.forward(tokens.subspan(100), 50), expected.last(50 * model_.config().vocab_size)),
            1e-4);
}

TEST_P(ShippedModel, ReturnsTheLastRowsAlsoAcrossBlocks) {
  ModelSession session(model_, open_unit(model_));
  const auto logits = session.forward(expected_.tokens, 5, count_ - 3);
  EXPECT_LT(distance(logits, std::span(expected_.logits).last(5 * model_.config().vocab_size)), 1e-4);
}

class ShippedPassKeyModel : public ShippedModel {};

TEST_P(ShippedPassKeyModel, FindsThePassKeyGreedilyAndByText) {
  // The stored tokens end with the question, the five digits and a full stop.
  const Tokenizer tokenizer = Tokenizer::load(find_model(GetParam()));
  const std::string text = tokenizer.decode(expected_.tokens);
  EXPECT_EQ(tokenizer.encode(text), expected_.tokens);
  const std::string question = "The pass key is ";
  const std::size_t answer = text.rfind(question) + question.size();
  const auto prompt = tokenizer.encode(text.substr(0, answer));
  ModelSession session(model_, open_unit(model_));
  EXPECT_EQ(tokenizer.decode(generate(session, prompt, 5)), text.substr(answer, 9));
}

std::string identifier_of(const testing::TestParamInfo<const char*>& name) {
  std::string identifier = name.param;
  std::replace(identifier.begin(), identifier.end(), '-', '_');
  return identifier;
}

INSTANTIATE_TEST_SUITE_P(All, ShippedModel,
                         testing::Values("passkey-tiny", "passkey-plain", "passkey-tiny-teacher",
                                         "recall-small"),
                         identifier_of);
INSTANTIATE_TEST_SUITE_P(All, ShippedPassKeyModel,
                         testing::Values("passkey-tiny", "passkey-plain", "passkey-tiny-teacher"),
                         identifier_of);

class TeacherSession : public testing::Test {
 protected:
  const Model model_ = Model::load(find_model("passkey-tiny-teacher"));
  ModelSession session_{model_, nullptr};
};

TEST_F(TeacherSession, RefusesATokenOutsideTheVocabularyBeforeFeedingAny) {
  expect_input_error([&] { session_.forward(std::vector{1, 2, 256}, 1); }, "token 2", "below 256, got 256");
  expect_input_error([&] { session_.forward(std::vector{-1}, 1); }, "token 0", "got -1");
  EXPECT_EQ(session_.position(), 0);
}

TEST_F(TeacherSession, RefusesMoreLogitsThanTokensAndEmptyBlocks) {
  expect_input_error([&] { session_.forward(std::vector{1, 2}, 3); }, "0 to 2 tokens, got 3");
  expect_input_error([&] { session_.forward(std::vector{1, 2}, 1, 0); }, "block_tokens");
}

TEST_F(TeacherSession, SpendsAllItsTimeOnTheHost) {
  session_.forward(std::vector<int>(100, 1), 1);
  EXPECT_GT(session_.host_seconds(), 0);
  EXPECT_EQ(session_.unit_seconds(), 0);
}

TEST(LawcatSession, SplitsItsTimeBetweenHostAndUnit) {
  const Model model = Model::load(find_model("passkey-tiny"));
  ModelSession session(model, open_unit(model));
  session.forward(std::vector<int>(100, 1), 1);
  EXPECT_GT(session.host_seconds(), 0);
  EXPECT_GT(session.unit_seconds(), 0);
}

TEST(ModelSession, RefusesAUnitThatDoesNotFitTheAttentionAndAShapeWithoutWeights) {
  const Model lawcat = Model::load(find_model("passkey-tiny"));
  const Model teacher = Model::load(find_model("passkey-tiny-teacher"));
  const Model shape = Model::load(find_model("llama3.2-1b"));
  expect_input_error([&] { ModelSession session(lawcat, nullptr); }, "passkey-tiny", "a unit", "got none");
  expect_input_error([&] { ModelSession session(teacher, open_unit(lawcat)); }, "no unit");
  expect_input_error([&] { ModelSession session(shape, nullptr); }, "llama3.2-1b", "a shape only");
}

/// A runner whose logits are the same for every token.
class Constant final : public ModelRunner {
 public:
  Constant(const ModelConfig& config, std::vector<float> logits)
      : ModelRunner(config), logits_(std::move(logits)) {}

 private:
  std::vector<float> feed(std::span<const int>, int, std::optional<int>) override { return logits_; }
  std::vector<float> logits_;
};

TEST(Generate, TakesTheLowestIdAmongEquals) {
  ModelConfig config;
  config.vocab_size = 4;
  Constant runner(config, {0, 3, 1, 3});
  EXPECT_EQ(generate(runner, std::vector{0}, 2), (std::vector{1, 1}));
}

TEST(Generate, StopsAfterAnyOfTheEndTokens) {
  const Model model = Model::load(find_model("passkey-tiny-teacher"));
  ModelSession free(model, nullptr);
  const auto tokens = generate(free, std::vector{1, 13}, 10);
  ASSERT_EQ(tokens.size(), 10u);
  EXPECT_EQ(free.position(), 2 + 9);
  ModelSession stopped(model, nullptr);
  const auto first = std::find(tokens.begin(), tokens.end(), tokens[4]);
  EXPECT_EQ(generate(stopped, std::vector{1, 13}, 10, std::vector{model.config().vocab_size, tokens[4]}),
            std::vector<int>(tokens.begin(), first + 1));
}

TEST(Generate, RefusesAnEmptyPrompt) {
  const Model model = Model::load(find_model("passkey-tiny-teacher"));
  ModelSession session(model, nullptr);
  expect_input_error([&] { generate(session, {}, 1); }, "prompt");
}

}  // namespace
}  // namespace lawcat

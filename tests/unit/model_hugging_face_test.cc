// SPDX-License-Identifier: Apache-2.0
// Hugging Face checkpoints as transformers writes them, against the logits that transformers computes in
// float64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "hostlib/io/safetensors.h"
#include "hostlib/model/session.h"

namespace lawcat {
namespace {

class HuggingFace : public testing::TestWithParam<const char*> {
 protected:
  const std::filesystem::path folder_ = std::filesystem::path(LAWCAT_TEST_SUPPORT) / "hf" / GetParam();
  const Model model_ = Model::load(folder_);
};

TEST_P(HuggingFace, LogitsAreThoseOfTransformersAtOnceAndInBlocks) {
  const SafeTensors file = SafeTensors::open(folder_ / "expected.safetensors");
  const auto ids = file.at("tokens").to_ints();
  const std::vector<int> tokens(ids.begin(), ids.end());
  const auto expected = file.at("logits", {96, 128}).to_floats();
  for (const int block : {96, 7, 1}) {
    ModelSession session(model_, nullptr);
    const auto logits = session.forward(tokens, 96, block);
    double difference = 0;
    double norm = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      difference += std::pow(static_cast<double>(logits[i]) - expected[i], 2);
      norm += std::pow(expected[i], 2);
    }
    EXPECT_LT(std::sqrt(difference / norm), 1e-4) << "blocks of " << block;
  }
}

TEST_P(HuggingFace, ConfigurationIsTheOneThatItsNamePromises) {
  const std::string name = GetParam();
  EXPECT_EQ(model_.config().tied_head, name == "llama3-rope-tied");
  EXPECT_EQ(model_.config().rope_scaling.has_value(), name == "llama3-rope-tied");
  EXPECT_EQ(model_.config().sliding_window.value_or(0), name == "mistral-sliding" ? 24 : 0);
  EXPECT_EQ(std::filesystem::exists(folder_ / "model.safetensors.index.json"), name == "llama3-rope-tied");
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, HuggingFace,
                         testing::Values("llama-plain-untied", "llama3-rope-tied", "mistral-sliding"),
                         [](const auto& name) {
                           std::string identifier = name.param;
                           std::replace(identifier.begin(), identifier.end(), '-', '_');
                           return identifier;
                         });

}  // namespace
}  // namespace lawcat

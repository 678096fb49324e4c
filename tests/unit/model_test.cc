// SPDX-License-Identifier: Apache-2.0
// Loading a network: shapes, shipped weights, and what is wrong with a folder.
#include "hostlib/model/model.h"

#include <gtest/gtest.h>

#include "hostlib/io/file.h"
#include "hostlib/io/safetensors.h"
#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

namespace fs = std::filesystem;
using test::expect_input_error;
using test::TemporaryFolder;

TEST(Model, LoadsTheShapesOfThePaperWithoutWeights) {
  const Model llama = Model::load(find_model("llama3.2-1b"));
  EXPECT_FALSE(llama.has_weights());
  EXPECT_TRUE(llama.is_lawcat());
  EXPECT_EQ(llama.config().name, "llama3.2-1b");
  EXPECT_EQ(llama.unit_shape(), (UnitShape{32, 8, 64, 32}));
  // Llama-3.2-1B has 1.236e9 parameters; the gates of LAWCAT add 16 (2048 + 512) to each of 16 layers.
  EXPECT_EQ(llama.config().dense_weights() + llama.config().head_weights(),
            1'235'814'400 - (2 * 16 + 1) * 2048 + 16 * 16 * (2048 + 512));
  const Model mistral = Model::load(find_model("mistral-7b"));
  EXPECT_EQ(mistral.unit_shape(), (UnitShape{32, 8, 128, 64}));
  // Mistral-7B-v0.1 has 7.242e9 parameters, embedding and head apart.
  EXPECT_EQ(mistral.config().dense_weights() + 2 * mistral.config().head_weights(),
            7'241'732'096 - (2 * 32 + 1) * 4096LL + 32 * 16 * (4096LL + 1024));
}

TEST(Model, LoadsTheShippedStudentWithAUnitPerLayer) {
  const Model model = Model::load(find_model("passkey-tiny"));
  EXPECT_TRUE(model.has_weights());
  EXPECT_EQ(model.config().name, "passkey-tiny");
  EXPECT_EQ(model.unit_shape(), (UnitShape{4, 2, 64, 32}));
  EXPECT_EQ(model.config().bos_token, 1);
  ASSERT_EQ(model.unit_weights().size(), 4u);
  for (const UnitWeights& unit : model.unit_weights()) EXPECT_NO_THROW(validate(model.unit_shape(), unit));
  EXPECT_EQ(model.head().data(), model.embedding().data());
}

TEST(Model, LoadsTheShippedTeacherWithoutUnits) {
  const Model model = Model::load(find_model("passkey-tiny-teacher"));
  EXPECT_TRUE(model.has_weights());
  EXPECT_FALSE(model.is_lawcat());
  EXPECT_TRUE(model.unit_weights().empty());
  expect_input_error([&] { model.unit_shape(); }, "LAWCAT attention, got softmax");
}

class ModelFolder : public testing::Test {
 protected:
  /// Copies passkey-tiny with one text in its config replaced.
  void copy(const std::string& from = "", const std::string& to = "") {
    const fs::path source = find_model("passkey-tiny");
    std::string config = read_file(source / "config.json");
    if (!from.empty()) config.replace(config.find(from), from.size(), to);
    folder_.add("config.json", config);
    fs::create_symlink(fs::absolute(source / "model.safetensors"), folder_ / "model.safetensors");
  }
  TemporaryFolder folder_;
};

TEST_F(ModelFolder, WithoutConfigOrWeightsIsRefused) {
  expect_input_error([&] { Model::load(folder_.path()); }, "config.json", "No such file");
  copy();
  fs::remove(folder_ / "model.safetensors");
  expect_input_error([&] { Model::load(folder_.path()); }, "model.safetensors", "neither");
  expect_input_error([&] { Model::load(folder_ / "missing"); }, "missing", "No such file");
}

TEST_F(ModelFolder, WithWeightsOfAnotherShapeIsRefused) {
  copy("\"feature_dim\": 32", "\"feature_dim\": 16");
  expect_input_error([&] { Model::load(folder_.path()); }, "model.layers.0.self_attn.gk_proj.1.weight",
                     "shape [64, 16], got [128, 16]");
}

TEST_F(ModelFolder, WithALayerMissingIsRefused) {
  copy("\"num_hidden_layers\": 4", "\"num_hidden_layers\": 5");
  expect_input_error([&] { Model::load(folder_.path()); }, "a tensor model.layers.4.input_layernorm.weight");
}

TEST_F(ModelFolder, WithAnUntiedHeadThatIsMissingIsRefused) {
  copy("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
  expect_input_error([&] { Model::load(folder_.path()); }, "a tensor lm_head.weight");
}

}  // namespace
}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// config.json: the spellings that are read, and one sentence for each network that is another one.
#include "hostlib/model/config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using nlohmann::json;
using test::expect_input_error;
using test::TemporaryFolder;

json llama() {
  return json::parse(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 128, "rms_norm_eps": 1e-6, "hidden_act": "silu",
    "tie_word_embeddings": false, "rope_theta": 50000.0, "use_cache": true, "transformers_version": "5.0"})");
}

json lawcat() {
  json config = llama();
  config["architectures"] = {"LawcatForCausalLM"};
  config["lawcat"] = {{"feature_dim", 8},
                      {"conv_size", 4},
                      {"gate_low_rank_dim", 16},
                      {"gate_logit_normalizer", 16},
                      {"window_size", 0}};
  return config;
}

ModelConfig load(const json& config) {
  const TemporaryFolder folder;
  return load_config(folder.add("config.json", config.dump()));
}

/// `config` is refused with all of `parts` in the sentence.
template <typename... Parts>
void expect_refused(const json& config, const Parts&... parts) {
  expect_input_error([&] { load(config); }, "config.json: ", parts...);
}

TEST(LoadConfig, ReadsLlamaAndDerivesTheHeadSize) {
  const ModelConfig config = load(llama());
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.intermediate_size, 96);
  EXPECT_EQ(config.layers, 2);
  EXPECT_EQ(config.heads, 4);
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.vocab_size, 128);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.rope_theta, 50000);
  EXPECT_FALSE(config.tied_head || config.rope_scaling || config.sliding_window || config.lawcat ||
               config.bos_token);
}

TEST(LoadConfig, TakesAnExplicitHeadSizeAndTokenIds) {
  json config = llama();
  config["head_dim"] = 32;
  config["bos_token_id"] = 1;
  config["eos_token_id"] = 2;
  EXPECT_EQ(load(config).head_dim, 32);
  EXPECT_EQ(load(config).bos_token, 1);
  EXPECT_EQ(load(config).eos_tokens, std::vector{2});
  config["head_dim"] = nullptr;
  config["eos_token_id"] = {2, 3};
  EXPECT_EQ(load(config).head_dim, 16);
  EXPECT_EQ(load(config).eos_tokens, (std::vector{2, 3}));
}

TEST(LoadConfig, ReadsRopeInTheOldAndTheNewSpelling) {
  const json scaling = {{"factor", 32.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 8192}};
  json old = llama();
  old["rope_scaling"] = scaling;
  old["rope_scaling"]["rope_type"] = "llama3";
  json newer = llama();
  newer.erase("rope_theta");
  newer["rope_parameters"] = scaling;
  newer["rope_parameters"]["rope_type"] = "llama3";
  newer["rope_parameters"]["rope_theta"] = 50000.0;
  for (const json& config : {old, newer}) {
    const ModelConfig result = load(config);
    EXPECT_EQ(result.rope_theta, 50000);
    ASSERT_TRUE(result.rope_scaling);
    EXPECT_EQ(result.rope_scaling->factor, 32);
    EXPECT_EQ(result.rope_scaling->original_max_position_embeddings, 8192);
  }
  newer["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 1e6}};
  EXPECT_EQ(load(newer).rope_theta, 1e6);
  EXPECT_FALSE(load(newer).rope_scaling);
  old["rope_scaling"] = nullptr;
  EXPECT_FALSE(load(old).rope_scaling);
}

TEST(LoadConfig, ReadsMistralWithAndWithoutAWindow) {
  json config = llama();
  config["architectures"] = {"MistralForCausalLM"};
  config["sliding_window"] = 24;
  EXPECT_EQ(load(config).sliding_window, 24);
  config["sliding_window"] = nullptr;
  EXPECT_FALSE(load(config).sliding_window);
  config.erase("num_key_value_heads");
  expect_refused(config, "num_key_value_heads");
}

TEST(LoadConfig, ReadsLawcatAndKnowsTheArchitectureByModelTypeToo) {
  EXPECT_EQ(load(lawcat()).lawcat->feature_dim, 8);
  EXPECT_EQ(load(lawcat()).lawcat->gate_low_rank, 16);
  json config = lawcat();
  config.erase("architectures");
  config["model_type"] = "lawcat";
  EXPECT_TRUE(load(config).lawcat);
  config["model_type"] = "gpt2";
  expect_refused(config, "model_type", "llama, mistral or lawcat, got gpt2");
}

TEST(LoadConfig, CountsTheWeightsOfTheMatrices) {
  // Per layer: q and o 64x64, k and v 32x64, MLP 3x64x96, gate 16x64 + 32x16.
  const std::int64_t layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 96;
  EXPECT_EQ(load(llama()).dense_weights(), 2 * layer);
  EXPECT_EQ(load(lawcat()).dense_weights(), 2 * (layer + 16 * 64 + 32 * 16));
  EXPECT_EQ(load(llama()).head_weights(), 128 * 64);
}

TEST(LoadConfig, RefusesAnotherArchitecture) {
  json config = llama();
  config["architectures"] = {"Qwen2ForCausalLM"};
  expect_refused(config, "architectures", "LawcatForCausalLM", "Qwen2ForCausalLM");
}

TEST(LoadConfig, RefusesWhatWouldMakeItAnotherNetwork) {
  const auto with = [](const char* key, const json& value) {
    json config = llama();
    config[key] = value;
    return config;
  };
  expect_refused(with("attention_bias", true), "attention_bias: expected false");
  expect_refused(with("mlp_bias", true), "mlp_bias: expected false");
  expect_refused(with("hidden_act", "gelu"), "hidden_act: expected silu, got gelu");
  expect_refused(with("rope_scaling", {{"type", "linear"}, {"factor", 2.0}}), "rope_scaling.type",
                 "got linear");
  expect_refused(with("rope_scaling", {{"rope_type", "llama3"}}), "rope_scaling.factor");
  expect_refused(with("rope_scaling", {{"rope_type", "llama3"},
                                       {"factor", 2.0},
                                       {"low_freq_factor", 4.0},
                                       {"high_freq_factor", 4.0},
                                       {"original_max_position_embeddings", 64}}),
                 "more than low_freq_factor");
  expect_refused(with("num_key_value_heads", 3), "a divisor of 4 heads, got 3");
  expect_refused(with("num_attention_heads", 6), "head_dim", "6 heads do not divide hidden_size 64");
  expect_refused(with("head_dim", 15), "an even number");
  expect_refused(with("hidden_size", 0), "hidden_size", "got 0");
  expect_refused(with("vocab_size", "many"), "vocab_size", "got \"many\"");
  expect_refused(with("bos_token_id", 128), "bos_token_id", "got 128");
  json missing = llama();
  missing.erase("rms_norm_eps");
  expect_refused(missing, "rms_norm_eps");
}

TEST(LoadConfig, NamesTheModelAfterItsFolderOrItsFileWithoutJson) {
  const TemporaryFolder folder;
  const std::string text = llama().dump();
  std::filesystem::create_directory(folder / "Tiny-3.2-1B");
  folder.add("Tiny-3.2-1B/config.json", text);
  for (const char* path : {"Tiny-3.2-1B", "Tiny-3.2-1B/", "Tiny-3.2-1B/config.json"})
    EXPECT_EQ(load_config(folder.path() / path).name, "Tiny-3.2-1B") << path;
  EXPECT_EQ(load_config(folder.add("tiny-3.2-1b.json", text)).name, "tiny-3.2-1b");
  EXPECT_EQ(load_config(folder.add("tiny-3.2-1b", text)).name, "tiny-3.2-1b");
}

TEST(LoadConfig, RefusesALawcatLayerThatTheUnitIsNotBuiltFor) {
  const auto with = [](const char* key, const json& value) {
    json config = lawcat();
    config["lawcat"][key] = value;
    return config;
  };
  expect_refused(with("window_size", 64), "lawcat.window_size", "hybrid", "got 64");
  expect_refused(with("conv_size", 3), "lawcat.conv_size");
  expect_refused(with("gate_logit_normalizer", 8), "lawcat.gate_logit_normalizer");
  expect_refused(with("feature_dims", 8), "lawcat.feature_dims", "unknown key");
  json config = lawcat();
  config.erase("lawcat");
  expect_refused(config, "lawcat");
}

TEST(FindModel, FindsFoldersShapesAndPathsAndNamesWhatItLookedFor) {
  EXPECT_EQ(find_model("passkey-tiny").filename(), "passkey-tiny");
  EXPECT_EQ(find_model("mistral-7b").filename(), "mistral-7b.json");
  const TemporaryFolder folder;
  EXPECT_EQ(find_model(folder.path().string()), folder.path());
  expect_input_error([] { find_model("no-such"); }, "model no-such", "shapes/no-such.json");
}

}  // namespace
}  // namespace lawcat

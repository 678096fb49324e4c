// SPDX-License-Identifier: Apache-2.0
// Geometry and constants of a network: old and new spellings of config.json, and what is refused.
#include "hostlib/model/config.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "hostlib/backend/job.h"
#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "hostlib/io/strict_json.h"

namespace lawcat {
namespace {

constexpr double kMax = std::numeric_limits<double>::max();

/// Hugging Face writes null for "none".
bool given(StrictObject& object, const std::string& key) {
  return object.has(key) && !object.get_any(key).is_null();
}

int get_size(StrictObject& object, const std::string& key) {
  return static_cast<int>(object.get_int(key, 1, 1 << 24));
}

void refuse_true(StrictObject& object, const std::string& key) {
  if (given(object, key) && object.get_bool(key))
    throw InputError(object.place(key), "false or absent", "true");
}

void read_rope(StrictObject& config, ModelConfig& result) {
  // Newer files keep everything in `rope_parameters`; older ones have `rope_theta` beside `rope_scaling`.
  const bool newer = given(config, "rope_parameters");
  const std::string key = newer ? "rope_parameters" : "rope_scaling";
  if (given(config, "rope_theta")) result.rope_theta = config.get_number("rope_theta", 1, kMax);
  if (!given(config, key)) return;
  StrictObject rope = config.get_object(key);
  if (newer && given(rope, "rope_theta")) result.rope_theta = rope.get_number("rope_theta", 1, kMax);
  const std::string type_key = rope.has("rope_type") ? "rope_type" : "type";
  const std::string type = rope.get_string(type_key);
  if (type == "default") return;
  if (type != "llama3") throw InputError(rope.place(type_key), "default or llama3", type);
  RopeScaling scaling;
  scaling.factor = rope.get_number("factor", 1, kMax);
  scaling.low_freq_factor = rope.get_number("low_freq_factor", 0, kMax);
  scaling.high_freq_factor = rope.get_number("high_freq_factor", 0, kMax);
  scaling.original_max_position_embeddings = rope.get_number("original_max_position_embeddings", 1, kMax);
  if (scaling.high_freq_factor <= scaling.low_freq_factor)
    throw InputError(rope.place("high_freq_factor"), "more than low_freq_factor",
                     fmt::format("{} and {}", scaling.high_freq_factor, scaling.low_freq_factor));
  result.rope_scaling = scaling;
}

ModelConfig::Lawcat read_lawcat(StrictObject lawcat) {
  ModelConfig::Lawcat result;
  result.feature_dim = get_size(lawcat, "feature_dim");
  result.gate_low_rank = get_size(lawcat, "gate_low_rank_dim");
  // The unit is built for these three.
  lawcat.get_int("conv_size", kConvTaps, kConvTaps);
  lawcat.get_number("gate_logit_normalizer", 16, 16);
  if (const auto window = lawcat.get_int("window_size", 0, std::numeric_limits<int>::max()); window > 0)
    throw InputError(lawcat.place("window_size"), "0, as the hybrid with a softmax window is not supported",
                     fmt::format("{}", window));
  lawcat.finish();
  return result;
}

std::string architecture(StrictObject& config) {
  if (!given(config, "architectures")) {
    const std::string type = config.get_string("model_type");
    if (type == "llama") return "LlamaForCausalLM";
    if (type == "mistral") return "MistralForCausalLM";
    if (type == "lawcat") return "LawcatForCausalLM";
    throw InputError(config.place("model_type"), "llama, mistral or lawcat", type);
  }
  const nlohmann::json& list = config.get_any("architectures");
  if (list.is_array() && list.size() == 1)
    for (const char* known : {"LlamaForCausalLM", "MistralForCausalLM", "LawcatForCausalLM"})
      if (list[0] == known) return known;
  throw InputError(config.place("architectures"),
                   "one of LlamaForCausalLM, MistralForCausalLM, LawcatForCausalLM", shown(list));
}

}  // namespace

std::int64_t ModelConfig::dense_weights() const {
  const std::int64_t attention = 2 * std::int64_t{head_dim} * (heads + kv_heads) * hidden_size;
  const std::int64_t gate =
      lawcat ? std::int64_t{lawcat->gate_low_rank} * (hidden_size + kv_heads * 2 * lawcat->feature_dim) : 0;
  return layers * (attention + gate + 3 * std::int64_t{hidden_size} * intermediate_size);
}

ModelConfig load_config(const std::filesystem::path& path) {
  std::error_code unreadable;  // left to read_json() to report
  const std::filesystem::path file =
      std::filesystem::is_directory(path, unreadable) ? path / "config.json" : path;
  const nlohmann::json json = read_json(file);
  StrictObject config(json, file.string());
  const std::string kind = architecture(config);

  ModelConfig result;
  result.name = file.filename() == "config.json"
                    ? std::filesystem::absolute(file).lexically_normal().parent_path().filename().string()
                    : (file.extension() == ".json" ? file.stem() : file.filename()).string();
  result.hidden_size = get_size(config, "hidden_size");
  result.intermediate_size = get_size(config, "intermediate_size");
  result.layers = static_cast<int>(config.get_int("num_hidden_layers", 1, 1024));
  result.heads = static_cast<int>(config.get_int("num_attention_heads", 1, 1024));
  result.kv_heads = kind == "LlamaForCausalLM" && !given(config, "num_key_value_heads")
                        ? result.heads
                        : static_cast<int>(config.get_int("num_key_value_heads", 1, 1024));
  if (result.heads % result.kv_heads != 0)
    throw InputError(config.place("num_key_value_heads"), fmt::format("a divisor of {} heads", result.heads),
                     fmt::format("{}", result.kv_heads));
  if (given(config, "head_dim")) {
    result.head_dim = static_cast<int>(config.get_int("head_dim", 1, 4096));
  } else {
    if (result.hidden_size % result.heads != 0)
      throw InputError(
          config.place("head_dim"),
          fmt::format("this key, as {} heads do not divide hidden_size {}", result.heads, result.hidden_size),
          "nothing");
    result.head_dim = result.hidden_size / result.heads;
  }
  result.vocab_size = get_size(config, "vocab_size");
  result.rms_norm_eps = config.get_number("rms_norm_eps", 0, 1);
  result.tied_head = given(config, "tie_word_embeddings") && config.get_bool("tie_word_embeddings");
  const auto token = [&](const std::string& key) {
    return static_cast<int>(config.get_int(key, 0, result.vocab_size - 1));
  };
  if (given(config, "bos_token_id")) result.bos_token = token("bos_token_id");
  if (given(config, "eos_token_id")) {
    if (config.get_any("eos_token_id").is_array()) {
      for (const auto id : config.get_int_array("eos_token_id", 0, result.vocab_size - 1))
        result.eos_tokens.push_back(static_cast<int>(id));
    } else {
      result.eos_tokens = {token("eos_token_id")};
    }
  }
  if (given(config, "hidden_act"))
    if (const std::string activation = config.get_string("hidden_act"); activation != "silu")
      throw InputError(config.place("hidden_act"), "silu", activation);
  refuse_true(config, "attention_bias");
  refuse_true(config, "mlp_bias");

  if (kind == "LawcatForCausalLM") {
    result.lawcat = read_lawcat(config.get_object("lawcat"));
  } else {
    if (result.head_dim % 2 != 0)
      throw InputError(config.place("head_dim"), "an even number for rotary embedding",
                       fmt::format("{}", result.head_dim));
    read_rope(config, result);
    if (kind == "MistralForCausalLM" && given(config, "sliding_window"))
      result.sliding_window = static_cast<int>(config.get_int("sliding_window", 1, 1 << 30));
  }
  return result;
}

std::filesystem::path find_model(const std::string& name) {
  const std::filesystem::path models = data_root() / "models";
  const std::filesystem::path folder = models / name;
  const std::filesystem::path shape = models / "shapes" / (name + ".json");
  for (const std::filesystem::path& path : {std::filesystem::path(name), folder, shape}) {
    std::error_code unreadable;
    if (std::filesystem::exists(path, unreadable)) return path;
  }
  throw InputError("model " + name, fmt::format("a path, {} or {}", folder.string(), shape.string()),
                   "none of these");
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// A network: loading its weights under their Hugging Face names.
#include "hostlib/model/model.h"

#include <string>

#include "hostlib/io/error.h"
#include "hostlib/io/safetensors.h"

namespace lawcat {

Model Model::load(const std::filesystem::path& path) {
  Model model;
  model.config_ = load_config(path);
  if (!std::filesystem::is_directory(path)) return model;
  const ModelConfig& c = model.config_;
  const SafeTensors file = SafeTensors::open(path);
  const auto floats = [&](const std::string& name, const std::vector<std::int64_t>& shape) {
    return file.at(name, shape).to_floats();
  };

  model.embedding_ = floats("model.embed_tokens.weight", {c.vocab_size, c.hidden_size});
  model.final_norm_ = floats("model.norm.weight", {c.hidden_size});
  if (!c.tied_head) model.head_ = floats("lm_head.weight", {c.vocab_size, c.hidden_size});
  const std::int64_t queries = std::int64_t{c.heads} * c.head_dim;
  const std::int64_t keys = std::int64_t{c.kv_heads} * c.head_dim;
  for (int n = 0; n < c.layers; ++n) {
    const std::string layer = "model.layers." + std::to_string(n) + ".";
    const std::string attention = layer + "self_attn.";
    LayerWeights& w = model.layers_.emplace_back();
    w.input_norm = floats(layer + "input_layernorm.weight", {c.hidden_size});
    w.q_proj = floats(attention + "q_proj.weight", {queries, c.hidden_size});
    w.k_proj = floats(attention + "k_proj.weight", {keys, c.hidden_size});
    w.v_proj = floats(attention + "v_proj.weight", {keys, c.hidden_size});
    w.o_proj = floats(attention + "o_proj.weight", {c.hidden_size, queries});
    w.attention_norm = floats(layer + "post_attention_layernorm.weight", {c.hidden_size});
    w.mlp_gate = floats(layer + "mlp.gate_proj.weight", {c.intermediate_size, c.hidden_size});
    w.mlp_up = floats(layer + "mlp.up_proj.weight", {c.intermediate_size, c.hidden_size});
    w.mlp_down = floats(layer + "mlp.down_proj.weight", {c.hidden_size, c.intermediate_size});
    if (!c.lawcat) continue;
    const std::int64_t gates = std::int64_t{c.kv_heads} * model.unit_shape().key_features();
    w.gate_down = floats(attention + "gk_proj.0.weight", {c.lawcat->gate_low_rank, c.hidden_size});
    w.gate_up = floats(attention + "gk_proj.1.weight", {gates, c.lawcat->gate_low_rank});
    w.gate_bias = floats(attention + "gk_proj.1.bias", {gates});
    UnitWeights& unit = model.unit_weights_.emplace_back();
    unit.q_conv1d = floats(attention + "q_conv1d.weight", {queries, 1, kConvTaps});
    unit.k_conv1d = floats(attention + "k_conv1d.weight", {queries, 1, kConvTaps});
    unit.feature_map =
        floats(attention + "feature_map_q.mlp.layer", {c.heads, c.head_dim, c.lawcat->feature_dim});
  }
  return model;
}

UnitShape Model::unit_shape() const {
  if (!is_lawcat()) throw InputError("model " + config_.name, "LAWCAT attention", "softmax attention");
  return {config_.heads, config_.kv_heads, config_.head_dim, config_.lawcat->feature_dim};
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Geometry and constants of a network, from a config.json as Hugging Face writes it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hostlib/ops/rope.h"

namespace lawcat {

/// What is asked of a Llama-style decoder: RMSNorm, grouped projections, SwiGLU, residuals, head.
struct ModelConfig {
  std::string name;     ///< of the folder, or of the shape file without .json
  int hidden_size = 0;  ///< C
  int intermediate_size = 0;
  int layers = 0;
  int heads = 0;     ///< H
  int kv_heads = 0;  ///< Hkv
  int head_dim = 0;  ///< D
  int vocab_size = 0;
  double rms_norm_eps = 0;
  bool tied_head = false;  ///< the head is the embedding
  std::optional<int> bos_token;
  std::vector<int> eos_tokens;

  /// Softmax attention only; a LAWCAT layer has no position embedding.
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;
  std::optional<int> sliding_window;  ///< tokens seen, the own one included

  /// Set exactly when attention is the LAWCAT layer.
  struct Lawcat {
    int feature_dim = 0;    ///< F
    int gate_low_rank = 0;  ///< rows of the first gate projection
  };
  std::optional<Lawcat> lawcat;

  /// Weights of the matrices, embedding and head left out, that each token is multiplied with outside the
  /// unit.
  std::int64_t dense_weights() const;
  /// Weights of the head, for each token whose logits are asked for.
  std::int64_t head_weights() const { return std::int64_t{vocab_size} * hidden_size; }
};

/// Reads config.json of LlamaForCausalLM, MistralForCausalLM or LawcatForCausalLM, from its folder or as a
/// file of any name. Keys that this network does not depend on are ignored, except inside `lawcat`. Throws
/// InputError for anything that would make the network another one (biases, another activation, another rope,
/// the hybrid's window).
ModelConfig load_config(const std::filesystem::path& folder_or_file);

/// A model by path or name: an existing path as it stands, else models/NAME, else models/shapes/NAME.json
/// under data_root(). Throws InputError naming what was looked for.
std::filesystem::path find_model(const std::string& name);

}  // namespace lawcat

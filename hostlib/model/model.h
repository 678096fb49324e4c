// SPDX-License-Identifier: Apache-2.0
// A network: its configuration and, unless it is only a shape, its weights in float32.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "hostlib/backend/job.h"
#include "hostlib/model/config.h"

namespace lawcat {

/// Weights of one layer outside the unit, row-major [out, in] as in the checkpoint.
struct LayerWeights {
  std::vector<float> input_norm;      ///< [C]
  std::vector<float> q_proj;          ///< [H*D, C]
  std::vector<float> k_proj;          ///< [Hkv*D, C]
  std::vector<float> v_proj;          ///< [Hkv*D, C]
  std::vector<float> o_proj;          ///< [C, H*D]
  std::vector<float> gate_down;       ///< [low rank, C], LAWCAT only
  std::vector<float> gate_up;         ///< [Hkv*K, low rank], LAWCAT only
  std::vector<float> gate_bias;       ///< [Hkv*K], LAWCAT only
  std::vector<float> attention_norm;  ///< [C], after attention, before the MLP
  std::vector<float> mlp_gate;        ///< [intermediate, C]
  std::vector<float> mlp_up;          ///< [intermediate, C]
  std::vector<float> mlp_down;        ///< [C, intermediate]
};

class Model {
 public:
  /// A folder with config.json and safetensors (one file, or shards behind an index), or a JSON file with
  /// the same keys as config.json, which gives a shape without weights. Throws InputError.
  static Model load(const std::filesystem::path& folder_or_shape_json);

  const ModelConfig& config() const { return config_; }
  bool has_weights() const { return !layers_.empty(); }
  bool is_lawcat() const { return config_.lawcat.has_value(); }

  /// LAWCAT models only; throws InputError otherwise.
  UnitShape unit_shape() const;
  /// One element per layer; empty without weights or for softmax attention.
  std::span<const UnitWeights> unit_weights() const { return unit_weights_; }

  std::span<const LayerWeights> layers() const { return layers_; }
  std::span<const float> embedding() const { return embedding_; }    ///< [vocab, C]
  std::span<const float> final_norm() const { return final_norm_; }  ///< [C]
  /// [vocab, C]; the embedding when tied.
  std::span<const float> head() const { return config_.tied_head ? embedding_ : head_; }

 private:
  ModelConfig config_;
  std::vector<LayerWeights> layers_;
  std::vector<UnitWeights> unit_weights_;
  std::vector<float> embedding_, final_norm_, head_;
};

}  // namespace lawcat

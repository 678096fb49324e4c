// SPDX-License-Identifier: Apache-2.0
// The weights of a network as the GPU keeps them.
#pragma once

#include <cuda_bf16.h>

#include <vector>

#include "kernels/cuda_model.h"
#include "kernels/device.h"

namespace lawcat::cuda {

/// Widths of the fused tensors, in channels.
struct Widths {
  explicit Widths(const ModelConfig& config);
  int q = 0;      ///< H * D
  int kv = 0;     ///< Hkv * D, of k and of v
  int rank = 0;   ///< of the gate's first projection, up to a multiple of 8; 0 for softmax attention
  int gates = 0;  ///< Hkv * K; 0 for softmax attention
  int qkv() const { return q + 2 * kv + rank; }
};

struct CudaModel::Impl {
  struct Layer {
    DeviceBuffer input_norm;      ///< [C] fp32
    DeviceBuffer qkv;             ///< [q | k | v | gate_low, C] bf16
    DeviceBuffer gate_up;         ///< [Hkv*K, rank] bf16, LAWCAT only
    DeviceBuffer gate_bias;       ///< [Hkv*K] fp32, LAWCAT only
    DeviceBuffer unit;            ///< as attention.h packs it, LAWCAT only
    DeviceBuffer o;               ///< [C, H*D] bf16
    DeviceBuffer attention_norm;  ///< [C] fp32
    DeviceBuffer mlp_gate_up;     ///< [gate | up, C] bf16
    DeviceBuffer mlp_down;        ///< [C, intermediate] bf16
  };

  /// Memory of the right size, values unset but the padding of the gate's rank, which is 0.
  explicit Impl(const ModelConfig& model_config);

  UnitShape unit_shape() const;
  const __nv_bfloat16* head() const { return (config.tied_head ? embedding : own_head).as<__nv_bfloat16>(); }
  std::size_t bytes() const;

  ModelConfig config;
  Widths widths;
  std::vector<Layer> layers;
  DeviceBuffer embedding;   ///< [vocab, C] bf16
  DeviceBuffer final_norm;  ///< [C] fp32
  DeviceBuffer own_head;    ///< [vocab, C] bf16, unless tied
};

}  // namespace lawcat::cuda

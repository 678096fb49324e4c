// SPDX-License-Identifier: Apache-2.0
// Softmax attention by PyTorch's C++ library, as a fast baseline: cuDNN's fused attention or
// FlashAttention-2, on tensors that are already in GPU memory. Optional: without LAWCAT_WITH_TORCH everything
// here says so.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <string>

namespace lawcat::cuda {

enum class TorchKernel { cudnn, flash };

/// Empty when this build has PyTorch, else why not.
std::string why_no_torch();

/// B sequences of T queries and N keys in bf16, T = N (causal) or T = 1 (all keys seen). Element [b, t, h, d]
/// of q stands at b * q_sequence + t * q_token + h * D + d, of k and v at b * kv_sequence + t * Hkv * D + h *
/// D + d.
struct TorchCall {
  TorchKernel kernel = TorchKernel::cudnn;
  const void* q = nullptr;
  std::int64_t q_sequence = 0, q_token = 0;
  const void* k = nullptr;
  const void* v = nullptr;
  std::int64_t kv_sequence = 0;
  int sequences = 1;
  std::int64_t queries = 0, keys = 0;
  int heads = 0, kv_heads = 0, head_dim = 0;
};

class TorchAttention {
 public:
  TorchAttention();
  ~TorchAttention();

  /// Queues the attention on `stream` and returns o [B, T, H, D] in GPU memory, which lives until the next
  /// call. Throws std::bad_alloc when the GPU has no room and std::runtime_error, with PyTorch's first line,
  /// when PyTorch refuses.
  const void* operator()(const TorchCall& call, cudaStream_t stream);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lawcat::cuda

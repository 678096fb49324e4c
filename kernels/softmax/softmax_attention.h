// SPDX-License-Identifier: Apache-2.0
// Causal softmax attention with grouped heads over a key-value cache, with an optional sliding window: plain
// kernels, bf16 in and out, softmax and sums in fp32. Functions queue their kernels, return the launch's
// error and may be captured; same inputs give the same bits.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace lawcat::cuda {

/// Queries of B sequences against caches [B, capacity, Hkv, D] that already hold their keys and values. Row r
/// of q and o is token r % tokens of sequence r / tokens; positions[sequence] is where its first token
/// stands. Pointers are multiples of 16 bytes, strides of 8 elements.
struct SoftmaxCall {
  const __nv_bfloat16* q = nullptr;  ///< rows [H, D]
  std::int64_t q_stride = 0;
  const __nv_bfloat16* keys = nullptr;
  const __nv_bfloat16* values = nullptr;
  std::int64_t capacity = 0;
  const int* positions = nullptr;
  __nv_bfloat16* o = nullptr;  ///< rows [H, D]
  std::int64_t o_stride = 0;
  int sequences = 1, tokens = 0;
  int heads = 0, kv_heads = 0, head_dim = 0;
  int window = 0;  ///< tokens seen, the own one included; 0: all
};

/// Empty when the kernels take this geometry, else why not.
std::string why_no_softmax(int heads, int kv_heads, int head_dim);

cudaError_t softmax_prefill(const SoftmaxCall& call, cudaStream_t stream);

/// One token of each sequence. The keys are shared out to softmax_splits() blocks, whose partial sums stand
/// in `workspace` of softmax_workspace_bytes().
int softmax_splits(int sequences, int kv_heads);
std::size_t softmax_workspace_bytes(int sequences, int heads, int kv_heads, int head_dim);
cudaError_t softmax_decode(const SoftmaxCall& call, float* workspace, cudaStream_t stream);

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// The unit (steps 3-8 of the LAWCAT layer) on the GPU: prefill over a run of tokens and decode of a few. This
// header is plain C++: device memory is named by pointers, work is queued on a stream and nothing here waits
// for it.
//
// Two forms compute the same function. `Precision::bf16` is the fast one: bf16 tensors in and out, products
// on the tensor cores, state in fp32; geometry D = 64, F = 32 or D = 128, F = 64. `Precision::fp32` is the
// plain one, one token after another in fp32, for any D up to 128 and F up to 64: what the fast one is held
// to on the GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "hostlib/backend/job.h"

namespace lawcat::cuda {

enum class Precision { bf16, fp32 };

/// Tokens that one decode() call takes at most.
inline constexpr int kMostDecodeTokens = 8;

/// Empty when the form takes this shape, else why not.
std::string why_not(Precision precision, const UnitShape& shape);

/// Weights of one layer's unit as the kernels read them, one block of device memory of `weight_bytes(shape)`:
/// taps and feature maps of all heads, in fp32 and, scaled, in fp16 (layout.h).
std::size_t weight_bytes(const UnitShape& shape);
/// Writes host weights in that layout to `host_block` (weight_bytes() bytes), ready to be copied to the
/// device. Throws InputError for weights or a block of another size.
void pack_weights(const UnitShape& shape, const UnitWeights& weights, std::span<std::byte> host_block);

/// State of `sequences` sequences in one layer, one block of device memory of `state_bytes(shape)` bytes
/// each, zero at the start of a sequence. Within one: S [H, K, D], normaliser [H, K], tails of q [3, H, D]
/// and of k [3, H, D], oldest first (every head has its own copy of its group's k, so that none waits for
/// another); all fp32, each part from a multiple of 16 bytes.
std::size_t state_bytes(const UnitShape& shape);
struct StateLayout {
  std::size_t state, normaliser, q_tail, k_tail, size;  ///< byte offsets and the block's size
};
StateLayout state_layout(const UnitShape& shape);

/// Inputs and output of one call: token t of sequence b begins at `pointer + (b * tokens + t) * stride`,
/// strides in elements, so that tensors may be columns of one wider matrix. Elements are bf16 or fp32 as the
/// form says. For bf16 every pointer is a multiple of 16 bytes and every stride one of 8 elements.
struct Tensors {
  const void* q = nullptr;   ///< [T, H, D]
  const void* k = nullptr;   ///< [T, Hkv, D]
  const void* v = nullptr;   ///< [T, Hkv, D]
  const void* gk = nullptr;  ///< [T, Hkv, K], gate logits
  void* o = nullptr;         ///< [T, H, D]
  std::int64_t q_stride = 0, k_stride = 0, v_stride = 0, gk_stride = 0, o_stride = 0;
  /// Added to the logits, [Hkv, K] fp32; null for none.
  const float* gate_bias = nullptr;
};
/// Strides of tensors that stand alone.
Tensors with_dense_strides(Tensors tensors, const UnitShape& shape);

/// Scratch memory that prefill() of up to `tokens` tokens needs; 0 for fp32. It may hold anything.
std::size_t prefill_workspace_bytes(Precision precision, const UnitShape& shape, int tokens);

/// `tokens` tokens of one sequence, from its state and to it. Returns the launch's error, and
/// cudaErrorInvalidValue, nothing launched, for what is not as said above. Same inputs give the same bits.
/// Sequence-parallel for bf16: segments of the sequence run side by side.
cudaError_t prefill(Precision precision, const UnitShape& shape, const void* weights, void* state,
                    const Tensors& tensors, int tokens, void* workspace, cudaStream_t stream);

/// The next 1 to kMostDecodeTokens tokens of `sequences` sequences, each with a state block of its own,
/// `state_stride` bytes apart, a multiple of 16. Needs no workspace and may be captured in a graph. Errors as
/// of prefill().
cudaError_t decode(Precision precision, const UnitShape& shape, const void* weights, void* state,
                   std::size_t state_stride, const Tensors& tensors, int tokens, int sequences,
                   cudaStream_t stream);

}  // namespace lawcat::cuda

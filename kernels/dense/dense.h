// SPDX-License-Identifier: Apache-2.0
// The CUDA form of hostlib/ops beside the matrix products: activations in bf16, the residual stream in fp32.
// Rows are tokens; every count of channels is a multiple of 8 and every pointer to a row one of 16 bytes,
// unless said otherwise. Functions queue one kernel, return the launch's error and may be captured.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace lawcat::cuda {

/// x [rows, channels] = table[ids[row]]; ids must lie in the table.
cudaError_t embed(const int* ids, int rows, const __nv_bfloat16* table, int channels, float* x,
                  cudaStream_t stream);

/// y = x / sqrt(mean(x^2) + epsilon) * weight, x and y [rows, channels], weight [channels].
cudaError_t rms_norm(const float* x, const float* weight, float epsilon, int rows, int channels,
                     __nv_bfloat16* y, cudaStream_t stream);

/// y [rows, channels] = silu(gate) * up, from rows [gate | up] of 2 * channels.
cudaError_t swiglu(const __nv_bfloat16* gate_up, int rows, int channels, __nv_bfloat16* y,
                   cudaStream_t stream);

/// y = x + bias (null: 0), row by row; strides in elements, those of fp32 multiples of 4, those of bf16 of 8.
cudaError_t to_fp32(const __nv_bfloat16* x, std::int64_t x_stride, int rows, int channels, const float* bias,
                    float* y, std::int64_t y_stride, cudaStream_t stream);
cudaError_t to_bf16(const float* x, std::int64_t x_stride, int rows, int channels, __nv_bfloat16* y,
                    std::int64_t y_stride, cudaStream_t stream);

/// Cosine and sine of position * frequency, [rows, half], angles in double. Row r is token r % tokens of
/// sequence r / tokens, whose first token stands at positions[sequence].
cudaError_t rope_table(const double* frequencies, int half, const int* positions, int tokens, int rows,
                       float2* table, cudaStream_t stream);

/// Rotates q and k of rows [q: H, D | k: Hkv, D | v: Hkv, D | ...] by the table of rope_table(), q in place,
/// and stores k and v in the cache [sequences, capacity, Hkv, D] at their positions; rows as in rope_table().
/// D is a multiple of 16; a position outside the capacity is left out.
struct RopeCall {
  __nv_bfloat16* qkv = nullptr;
  std::int64_t stride = 0;
  const float2* table = nullptr;
  const int* positions = nullptr;
  int tokens = 0, rows = 0;
  int heads = 0, kv_heads = 0, head_dim = 0;
  __nv_bfloat16* keys = nullptr;
  __nv_bfloat16* values = nullptr;
  std::int64_t capacity = 0;  ///< tokens of one sequence
};
cudaError_t rope(const RopeCall& call, cudaStream_t stream);

/// ids[row] = the place of the largest of logits [rows, vocab], the lowest among equals; any vocab.
cudaError_t argmax(const float* logits, int rows, int vocab, int* ids, cudaStream_t stream);

/// positions[i] = positions[i] * keep + amount, i below count.
cudaError_t set_positions(int* positions, int count, int keep, int amount, cudaStream_t stream);

/// Uniform values of the given standard deviation; element i depends on seed and i only. Any count.
cudaError_t fill_uniform(__nv_bfloat16* x, std::size_t count, float deviation, std::uint64_t seed,
                         cudaStream_t stream);
cudaError_t fill_uniform(float* x, std::size_t count, float deviation, std::uint64_t seed,
                         cudaStream_t stream);
cudaError_t fill(float* x, std::size_t count, float value, cudaStream_t stream);

/// *flag = whether the first bytes (a multiple of 4) of a and b differ anywhere.
cudaError_t differ(const void* a, const void* b, std::size_t bytes, int* flag, cudaStream_t stream);

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// The two products into the MLP and SwiGLU in one kernel, for many rows: their results in bf16 are neither
// written nor read again.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace lawcat::cuda {

/// h [rows, channels] = silu(x Wg^T) * (x Wu^T), x [rows, in], w [gates Wg | others Wu: 2 * channels, in].
/// Sums and SiLU are fp32; only h is rounded. w and h stand alone.
struct GateUpCall {
  const __nv_bfloat16* x = nullptr;
  std::int64_t x_stride = 0;  ///< elements
  const __nv_bfloat16* w = nullptr;
  __nv_bfloat16* h = nullptr;
  int rows = 0;
  int in = 0;
  int channels = 0;
};

/// Whether gate_up computes the call: in, channels and stride multiples of 8, pointers of 16 bytes; any rows.
bool is_supported(const GateUpCall& call);

/// Whether gate_up computes the call and is expected to be faster than products and SwiGLU one after another:
/// at least 1,024 rows and 2,048 inputs, and tiles that fill the GPU.
bool is_profitable(const GateUpCall& call);

/// Queues the kernel; may be captured. The same call gives the same bits. A call that is not supported is
/// cudaErrorInvalidValue.
cudaError_t gate_up(const GateUpCall& call, cudaStream_t stream);

}  // namespace lawcat::cuda

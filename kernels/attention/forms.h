// SPDX-License-Identifier: Apache-2.0
// The forms behind attention.h, one file each; arguments as there.
#pragma once

#include "kernels/attention/attention.h"

namespace lawcat::cuda {

/// Largest D of the plain form; its F goes to half of that.
inline constexpr int kMostPlainDim = 128;

/// plain.cu: prefill and decode in one.
cudaError_t fp32_run(const UnitShape& shape, const void* weights, void* state, std::size_t state_stride,
                     const Tensors& tensors, int tokens, int sequences, cudaStream_t stream);

/// prefill.cu, with prefill128.cu for D = 128
std::size_t bf16_prefill_workspace_bytes(const UnitShape& shape, int tokens);
cudaError_t bf16_prefill(const UnitShape& shape, const void* weights, void* state, const Tensors& tensors,
                         int tokens, void* workspace, cudaStream_t stream);

/// decode.cu
cudaError_t bf16_decode(const UnitShape& shape, const void* weights, void* state, std::size_t state_stride,
                        const Tensors& tensors, int tokens, int sequences, cudaStream_t stream);

}  // namespace lawcat::cuda

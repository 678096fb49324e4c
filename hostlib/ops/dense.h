// SPDX-License-Identifier: Apache-2.0
// Dense work around the unit in float32: matrix product, RMS norm, SwiGLU. All tensors row-major, [tokens,
// channels].
#pragma once

#include <span>

namespace lawcat {

/// y [tokens, out] = x [tokens, in] w^T, with w [out, in] as in checkpoints. `in` and `out` follow from the
/// sizes of x and y. The result does not depend on the number of threads.
void matmul(std::span<const float> x, std::span<const float> w, int tokens, std::span<float> y);

/// y[t] = x[t] / sqrt(mean(x[t]^2) + epsilon) * weight, x and y [tokens, channels], weight [channels].
void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon, std::span<float> y);

/// gate = silu(gate) * up, elementwise, with silu(g) = g / (1 + exp(-g)).
void swiglu(std::span<float> gate, std::span<const float> up);

/// x += y, elementwise: the residual.
void add(std::span<float> x, std::span<const float> y);

}  // namespace lawcat

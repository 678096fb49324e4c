// SPDX-License-Identifier: Apache-2.0
// The unit in fp32, one token after another as the formulas stand (backend/reference.h on the GPU): prefill
// and decode in one kernel, a block per head and sequence, the head's state in shared memory. Not a fast
// form: the others are held to it, and it takes every shape.
//
// One version, for correctness and never a baseline: 16,384 tokens of Mistral-7B's shape take 151 ms on an
// H100 (ncu, a bench that was not kept), where the bf16 form takes 0.39.
#include "kernels/attention/forms.h"
#include "kernels/attention/layout.h"

namespace lawcat::cuda {
namespace {

constexpr int kThreads = 256;

struct PlainArguments {
  const float *taps, *map, *gate_bias;
  const float *q, *k, *v, *gk;
  float* o;
  std::int64_t q_stride, k_stride, v_stride, gk_stride, o_stride;
  std::byte* state;
  std::size_t state_stride;
  StateLayout at;
  int heads, kv_heads, head_dim, feature_dim, tokens;
};

// Shared memory: S [K, D+1], then these. Sizes are those of the largest shape.
struct Scratch {
  float tail[2][kConvTaps - 1][kMostPlainDim];  // of q and k, oldest first
  float conv[2][kMostPlainDim];
  float phi[2][kMostPlainDim];
  float forget[kMostPlainDim];  // 1 - a: exact at a near 1, where the state's sum of many tokens needs it
  float part[kThreads];
  float denominator;
};

__global__ void __launch_bounds__(kThreads) plain_kernel(PlainArguments x) {
  extern __shared__ float shared[];
  const int d = x.head_dim, f = x.feature_dim, features = 2 * f, width = d + 1;
  float* const s = shared;
  Scratch& scratch = *reinterpret_cast<Scratch*>(shared + features * width);
  const int head = blockIdx.x, sequence = blockIdx.y, kv = head / (x.heads / x.kv_heads),
            thread = threadIdx.x;
  std::byte* const block = x.state + sequence * x.state_stride;
  float* const state =
      reinterpret_cast<float*>(block + x.at.state) + static_cast<std::size_t>(head) * features * d;
  float* const norm = reinterpret_cast<float*>(block + x.at.normaliser) + head * features;
  float* const tails[2] = {reinterpret_cast<float*>(block + x.at.q_tail) + head * d,
                           reinterpret_cast<float*>(block + x.at.k_tail) + head * d};
  const int tail_row = x.heads * d;

  for (int i = thread; i < features * width; i += kThreads)
    s[i] = i % width == d ? norm[i / width] : state[i / width * d + i % width];
  for (int i = thread; i < 2 * (kConvTaps - 1) * d; i += kThreads) {
    const int which = i / ((kConvTaps - 1) * d), j = i / d % (kConvTaps - 1), c = i % d;
    scratch.tail[which][j][c] = tails[which][j * tail_row + c];
  }
  __syncthreads();

  for (int t = 0; t < x.tokens; ++t) {
    const std::int64_t row = static_cast<std::int64_t>(sequence) * x.tokens + t;
    for (int i = thread; i < 2 * d; i += kThreads) {
      const int which = i / d, c = i % d;
      const float now =
          which == 0 ? x.q[row * x.q_stride + head * d + c] : x.k[row * x.k_stride + kv * d + c];
      const float* const taps =
          x.taps + (static_cast<std::size_t>(which) * x.heads + head) * kConvTaps * d + c;
      float(&tail)[kConvTaps - 1][kMostPlainDim] = scratch.tail[which];
      scratch.conv[which][c] =
          taps[0] * tail[0][c] + taps[d] * tail[1][c] + taps[2 * d] * tail[2][c] + taps[3 * d] * now;
      tail[0][c] = tail[1][c];
      tail[1][c] = tail[2][c];
      tail[2][c] = now;
    }
    for (int i = thread; i < features; i += kThreads) {
      const float logit =
          x.gk[row * x.gk_stride + kv * features + i] + (x.gate_bias ? x.gate_bias[kv * features + i] : 0.0F);
      const float softplus = fmaxf(-logit, 0.0F) + log1pf(expf(-fabsf(logit)));
      scratch.forget[i] = -expm1f(-softplus / 16);
    }
    __syncthreads();

    for (int i = thread; i < 2 * f; i += kThreads) {
      const int which = i / f, feature = i % f;
      const float* const map = x.map + static_cast<std::size_t>(head) * d * f + feature;
      float z = 0;
      for (int c = 0; c < d; ++c) z += scratch.conv[which][c] * map[c * f];
      scratch.phi[which][feature] = z;
    }
    __syncthreads();
    // A warp for each of q and k: softmax(z) and softmax(-z).
    if (thread < 64) {
      const int lane = thread % 32;
      float(&phi)[kMostPlainDim] = scratch.phi[thread / 32];
      float high = -INFINITY, low = INFINITY, up = 0, down = 0;
      for (int i = lane; i < f; i += 32) {
        high = fmaxf(high, phi[i]);
        low = fminf(low, phi[i]);
      }
      for (int step = 16; step > 0; step /= 2) {
        high = fmaxf(high, __shfl_xor_sync(~0U, high, step));
        low = fminf(low, __shfl_xor_sync(~0U, low, step));
      }
      for (int i = lane; i < f; i += 32) {
        const float z = phi[i];
        up += phi[i] = expf(z - high);
        down += phi[f + i] = expf(low - z);
      }
      for (int step = 16; step > 0; step /= 2) {
        up += __shfl_xor_sync(~0U, up, step);
        down += __shfl_xor_sync(~0U, down, step);
      }
      for (int i = lane; i < f; i += 32) {
        phi[i] = fmaxf(phi[i] / up, 1e-12F);
        phi[f + i] = fmaxf(phi[f + i] / down, 1e-12F);
      }
    }
    __syncthreads();

    // Columns d of S is the normaliser, whose value is 1. Threads of one column split the rows.
    const int groups = max(1, kThreads / width), group = thread / width, c = thread % width;
    float u = 0;
    if (group < groups) {
      const float value = c == d ? 1.0F : x.v[row * x.v_stride + kv * d + c];
      for (int r = group; r < features; r += groups) {
        float& word = s[r * width + c];
        word = fmaf(scratch.phi[1][r], value, fmaf(-scratch.forget[r], word, word));
        u += scratch.phi[0][r] * word;
      }
      scratch.part[thread] = u;
    }
    __syncthreads();
    if (thread < width) {
      for (int g = 1; g < groups; ++g) u += scratch.part[g * width + thread];
      if (thread == d) scratch.denominator = u;
    }
    __syncthreads();
    if (thread < d) x.o[row * x.o_stride + head * d + thread] = u / (scratch.denominator + 1e-10F);
    __syncthreads();
  }

  for (int i = thread; i < features * width; i += kThreads)
    (i % width == d ? norm[i / width] : state[i / width * d + i % width]) = s[i];
  for (int i = thread; i < 2 * (kConvTaps - 1) * d; i += kThreads) {
    const int which = i / ((kConvTaps - 1) * d), j = i / d % (kConvTaps - 1), c = i % d;
    tails[which][j * tail_row + c] = scratch.tail[which][j][c];
  }
}

}  // namespace

cudaError_t fp32_run(const UnitShape& shape, const void* weights, void* state, std::size_t state_stride,
                     const Tensors& tensors, int tokens, int sequences, cudaStream_t stream) {
  const WeightLayout at = weight_layout(shape);
  const auto* const bytes = static_cast<const std::byte*>(weights);
  PlainArguments x{.taps = reinterpret_cast<const float*>(bytes + at.taps),
                   .map = reinterpret_cast<const float*>(bytes + at.map),
                   .head_dim = shape.head_dim,
                   .feature_dim = shape.feature_dim};
  take_tensors(x, tensors);
  take_sequences(x, shape, state, state_stride, tokens);
  const int shared =
      static_cast<int>(shape.key_features() * (shape.head_dim + 1) * sizeof(float) + sizeof(Scratch));
  if (const cudaError_t error =
          cudaFuncSetAttribute(plain_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
      error != cudaSuccess)
    return error;
  plain_kernel<<<dim3(shape.heads, sequences), kThreads, shared, stream>>>(x);
  return cudaGetLastError();
}

}  // namespace lawcat::cuda

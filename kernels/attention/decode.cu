// SPDX-License-Identifier: Apache-2.0
// Decode in bf16: the next 1 to 8 tokens of many sequences. A block holds one head's state of one sequence in
// registers: read once, advanced token by token, written once. What it waits for first (the state) is asked
// for first; convolution, feature map and gates run while it is on its way.
//
// The floor is the state's way to the chip and back, 8 K (D + 1) bytes per head and sequence, with tails.
// Ladder, H100, copies at 3.0 TB/s, `lawcat-sim gpu --shape llama3.2-1b,mistral-7b --decode-batch 1,64` in a
// graph:
//   D = 64: 3.8 us at batch 1; 31.3 us at batch 64, 77 % of the copy rate (2.5 us predicted at batch 1)
//   D = 128: 6.8 us at batch 1; 129 us at batch 64, 72 %. With the map read where it is used, two blocks fit
//   on a multiprocessor: 8.4 us and 126 us, not kept
// The first design replaced k's tail in a launch of its own, once all heads of a group had read it; every
// head's own copy of it costs 3 % more bytes and no launch.
#include "kernels/attention/forms.h"
#include "kernels/attention/layout.h"
#include "kernels/hopper.cuh"

namespace lawcat::cuda {
namespace {

constexpr int kHalo = kConvTaps - 1;

struct DecodeArguments {
  const float *taps, *z_scale, *gate_bias;
  const __half* map;
  const __nv_bfloat16 *q, *k, *v, *gk;
  __nv_bfloat16* o;
  std::int64_t q_stride, k_stride, v_stride, gk_stride, o_stride;
  std::byte* state;
  std::size_t state_stride;
  StateLayout at;
  int heads, kv_heads, tokens;
};

template <int kD>
struct DecodeShape {
  static constexpr int kF = kD / 2, kK = kD;
  static constexpr int kThreads = 2 * kD;
  static constexpr int kColumns = kD / 4;                 // threads across a row, four columns each
  static constexpr int kRowGroups = kThreads / kColumns;  // 8
  static constexpr int kRows = kK / kRowGroups;           // rows of a thread: every kRowGroups-th
  static constexpr int kParts = 4;  // threads that share a pair of features' sum over channels
};

template <int kD>
__global__ void __launch_bounds__(2 * kD) decode_kernel(const DecodeArguments x) {
  using G = DecodeShape<kD>;
  constexpr int kF = G::kF, kK = G::kK;
  __shared__ float conv[2][kD], phi[2][kK], forget[kK], normaliser_part[kK];
  __shared__ __align__(16) float parts[G::kRowGroups][kD];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int head = static_cast<int>(blockIdx.x), kv = head / (x.heads / x.kv_heads);
  std::byte* const block = x.state + blockIdx.y * x.state_stride;
  const int column = thread % G::kColumns, row_0 = thread / G::kColumns;

  float4* const state = reinterpret_cast<float4*>(block + x.at.state) +
                        (static_cast<std::size_t>(head) * kK + row_0) * G::kColumns + column;
  float4 s[G::kRows];
#pragma unroll
  for (int i = 0; i < G::kRows; ++i) s[i] = state[i * G::kRowGroups * G::kColumns];
  float* const norm_word = reinterpret_cast<float*>(block + x.at.normaliser) + head * kK + thread % kK;
  float norm = thread < kK ? *norm_word : 0;

  // A thread has one channel of q or of k.
  const bool is_q = thread < kD;
  const int channel = thread % kD;
  float* const tails =
      reinterpret_cast<float*>(block + (is_q ? x.at.q_tail : x.at.k_tail)) + head * kD + channel;
  const int tail_stride = x.heads * kD;
  float tail[kHalo], taps[kConvTaps];
#pragma unroll
  for (int j = 0; j < kHalo; ++j) tail[j] = tails[j * tail_stride];
#pragma unroll
  for (int j = 0; j < kConvTaps; ++j)
    taps[j] = x.taps[((is_q ? 0 : x.heads) + head) * kConvTaps * kD + j * kD + channel];

  // Its share of the feature map: two features over a part of the channels, for q or for k.
  const int which = thread / kD, pair = thread % kD / G::kParts, part = thread % G::kParts;
  constexpr int kChannels = kD / G::kParts;
  __half2 map[kChannels];
#pragma unroll
  for (int i = 0; i < kChannels; ++i)
    map[i] = *reinterpret_cast<const __half2*>(
        x.map + (static_cast<std::size_t>(head) * kD + i * G::kParts + part) * kF + 2 * pair);
  const float z_scale = x.z_scale[head];
  const float bias = x.gate_bias && thread < kK ? x.gate_bias[kv * kK + thread] : 0.0F;

  for (int token = 0; token < x.tokens; ++token) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.y) * x.tokens + token;
    const float now = __bfloat162float(is_q ? x.q[row * x.q_stride + head * kD + channel]
                                            : x.k[row * x.k_stride + kv * kD + channel]);
    const uint2 value_bits = *reinterpret_cast<const uint2*>(x.v + row * x.v_stride + kv * kD + 4 * column);
    if (thread < kK) {
      const float log2_a = log2_gate(__bfloat162float(x.gk[row * x.gk_stride + kv * kK + thread]) + bias);
      // 1 - a, not a: exact where a is close to 1 and a state sums up many tokens.
      forget[thread] = -expm1f(log2_a * 0.6931471805599453F);
    }
    conv[is_q ? 0 : 1][channel] = taps[0] * tail[0] + taps[1] * tail[1] + taps[2] * tail[2] + taps[3] * now;
    tail[0] = tail[1];
    tail[1] = tail[2];
    tail[2] = now;
    __syncthreads();

    float2 z{0, 0};
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      const float2 w = __half22float2(map[i]);
      const float c = conv[which][i * G::kParts + part];
      z.x += w.x * c;
      z.y += w.y * c;
    }
#pragma unroll
    for (int step = 1; step < G::kParts; step *= 2) {
      z.x += __shfl_xor_sync(~0U, z.x, step);
      z.y += __shfl_xor_sync(~0U, z.y, step);
    }
    if (part == 0) *reinterpret_cast<float2*>(&phi[which][2 * pair]) = float2{z.x * z_scale, z.y * z_scale};
    __syncthreads();
    // A warp for each of q and k makes the two softmax of it.
    if (thread < 64) {
      float(&row_phi)[kK] = phi[thread / 32];
      float zs[kF / 32], high = -INFINITY, low = INFINITY, up = 0, down = 0;
#pragma unroll
      for (int i = 0; i < kF / 32; ++i) {
        zs[i] = row_phi[i * 32 + lane];
        high = fmaxf(high, zs[i]);
        low = fminf(low, zs[i]);
      }
#pragma unroll
      for (int step = 16; step > 0; step /= 2) {
        high = fmaxf(high, __shfl_xor_sync(~0U, high, step));
        low = fminf(low, __shfl_xor_sync(~0U, low, step));
      }
      float ups[kF / 32], downs[kF / 32];
#pragma unroll
      for (int i = 0; i < kF / 32; ++i) {
        up += ups[i] = exp2_fast(zs[i] - high);
        down += downs[i] = exp2_fast(low - zs[i]);
      }
#pragma unroll
      for (int step = 16; step > 0; step /= 2) {
        up += __shfl_xor_sync(~0U, up, step);
        down += __shfl_xor_sync(~0U, down, step);
      }
#pragma unroll
      for (int i = 0; i < kF / 32; ++i) {
        row_phi[i * 32 + lane] = fmaxf(__fdividef(ups[i], up), 1e-12F);
        row_phi[kF + i * 32 + lane] = fmaxf(__fdividef(downs[i], down), 1e-12F);
      }
    }
    __syncthreads();

    const float2 v01 = unpack_bf16(value_bits.x), v23 = unpack_bf16(value_bits.y);
    float4 u{0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < G::kRows; ++i) {
      const int r = i * G::kRowGroups + row_0;
      const float lose = -forget[r], k = phi[1][r], q = phi[0][r];
      s[i].x = fmaf(k, v01.x, fmaf(lose, s[i].x, s[i].x));
      s[i].y = fmaf(k, v01.y, fmaf(lose, s[i].y, s[i].y));
      s[i].z = fmaf(k, v23.x, fmaf(lose, s[i].z, s[i].z));
      s[i].w = fmaf(k, v23.y, fmaf(lose, s[i].w, s[i].w));
      u.x = fmaf(q, s[i].x, u.x);
      u.y = fmaf(q, s[i].y, u.y);
      u.z = fmaf(q, s[i].z, u.z);
      u.w = fmaf(q, s[i].w, u.w);
    }
    *reinterpret_cast<float4*>(&parts[row_0][4 * column]) = u;
    if (thread < kK) {
      norm = norm + phi[1][thread] - forget[thread] * norm;
      normaliser_part[thread] = phi[0][thread] * norm;
    }
    __syncthreads();
    if (thread < kD) {
      float sum = 0, denominator = 0;
#pragma unroll
      for (int i = 0; i < G::kRowGroups; ++i) sum += parts[i][thread];
#pragma unroll
      for (int i = lane; i < kK; i += 32) denominator += normaliser_part[i];
#pragma unroll
      for (int step = 16; step > 0; step /= 2) denominator += __shfl_xor_sync(~0U, denominator, step);
      x.o[row * x.o_stride + head * kD + thread] = __float2bfloat16_rn(__fdividef(sum, denominator + 1e-10F));
    }
    // The next token writes conv, forget and phi; its first barrier keeps parts until then.
  }

#pragma unroll
  for (int i = 0; i < G::kRows; ++i) state[i * G::kRowGroups * G::kColumns] = s[i];
  if (thread < kK) *norm_word = norm;
#pragma unroll
  for (int j = 0; j < kHalo; ++j) tails[j * tail_stride] = tail[j];
}

}  // namespace

cudaError_t bf16_decode(const UnitShape& shape, const void* weights, void* state, std::size_t state_stride,
                        const Tensors& tensors, int tokens, int sequences, cudaStream_t stream) {
  const WeightLayout weight = weight_layout(shape);
  const auto* const w = static_cast<const std::byte*>(weights);
  DecodeArguments x{.taps = reinterpret_cast<const float*>(w + weight.taps),
                    .z_scale = reinterpret_cast<const float*>(w + weight.z_scale),
                    .map = reinterpret_cast<const __half*>(w + weight.scaled_map)};
  take_tensors(x, tensors);
  take_sequences(x, shape, state, state_stride, tokens);
  const dim3 grid(shape.heads, sequences);
  if (shape.head_dim == 64)
    decode_kernel<64><<<grid, 128, 0, stream>>>(x);
  else
    decode_kernel<128><<<grid, 256, 0, stream>>>(x);
  return cudaGetLastError();
}

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// See dense.h. Every thread moves 8 channels at a time: 16 bytes of bf16, 2 x 16 bytes of fp32.
#include <cuda_bf16.h>

#include "kernels/dense/dense.h"

namespace lawcat::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;

struct alignas(16) Bf16x8 {
  __nv_bfloat162 pair[4];
};
struct Fp32x8 {
  float value[kVector];
};

__device__ Fp32x8 load(const __nv_bfloat16* x) {
  const Bf16x8 packed = *reinterpret_cast<const Bf16x8*>(x);
  Fp32x8 result;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 two = __bfloat1622float2(packed.pair[i]);
    result.value[2 * i] = two.x;
    result.value[2 * i + 1] = two.y;
  }
  return result;
}

__device__ Fp32x8 load(const float* x) {
  const float4 a = reinterpret_cast<const float4*>(x)[0];
  const float4 b = reinterpret_cast<const float4*>(x)[1];
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

__device__ void store(const Fp32x8& x, __nv_bfloat16* y) {
  Bf16x8 packed;
#pragma unroll
  for (int i = 0; i < 4; ++i) packed.pair[i] = __floats2bfloat162_rn(x.value[2 * i], x.value[2 * i + 1]);
  *reinterpret_cast<Bf16x8*>(y) = packed;
}

__device__ void store(const Fp32x8& x, float* y) {
  reinterpret_cast<float4*>(y)[0] = make_float4(x.value[0], x.value[1], x.value[2], x.value[3]);
  reinterpret_cast<float4*>(y)[1] = make_float4(x.value[4], x.value[5], x.value[6], x.value[7]);
}

/// Blocks for `count` threads; kernels that take this loop over the grid, so a capped one is enough.
unsigned blocks_for(std::int64_t count) {
  const std::int64_t blocks = (count + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks > 65535 ? 65535 : blocks);
}

/// A thread for every vector of a [rows, channels] tensor: rows along x, as there may be many.
struct RowGrid {
  RowGrid(int rows, int channels) {
    const int vectors = channels / kVector;
    const int threads = vectors < kThreads ? (vectors + 31) / 32 * 32 : kThreads;
    block = dim3(static_cast<unsigned>(threads));
    grid = dim3(static_cast<unsigned>(rows), static_cast<unsigned>((vectors + threads - 1) / threads));
  }
  dim3 grid, block;
};

/// Calls f(row, channel) in the thread that has this vector.
template <class F>
__device__ void in_its_row(int channels, F f) {
  const int c = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * kVector;
  if (c < channels) f(std::int64_t{blockIdx.x}, c);
}

__global__ void embed_kernel(const int* ids, const __nv_bfloat16* table, int channels, float* x) {
  in_its_row(channels, [&](std::int64_t row, int c) {
    store(load(table + std::int64_t{ids[row]} * channels + c), x + row * channels + c);
  });
}

/// Sum over the block in a fixed order; every thread gets it.
__device__ float block_sum(float value) {
  __shared__ float part[32];
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = value;
  __syncthreads();
  value = 0;
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) value += part[warp];
  return value;
}

/// One block per row.
__global__ void rms_norm_kernel(const float* x, const float* weight, float epsilon, int channels,
                                __nv_bfloat16* y) {
  x += std::int64_t{blockIdx.x} * channels;
  y += std::int64_t{blockIdx.x} * channels;
  const int first = static_cast<int>(threadIdx.x) * kVector;
  const int step = static_cast<int>(blockDim.x) * kVector;
  float square = 0;
  for (int c = first; c < channels; c += step) {
    const Fp32x8 v = load(x + c);
#pragma unroll
    for (const float value : v.value) square += value * value;
  }
  const float scale = 1.0f / sqrtf(block_sum(square) / static_cast<float>(channels) + epsilon);
  for (int c = first; c < channels; c += step) {  // the row is in the first-level cache by now
    Fp32x8 v = load(x + c);
    const Fp32x8 w = load(weight + c);
#pragma unroll
    for (int i = 0; i < kVector; ++i) v.value[i] = v.value[i] * scale * w.value[i];
    store(v, y + c);
  }
}

__global__ void swiglu_kernel(const __nv_bfloat16* gate_up, int channels, __nv_bfloat16* y) {
  in_its_row(channels, [&](std::int64_t row, int c) {
    const __nv_bfloat16* const gate = gate_up + row * 2 * channels + c;
    Fp32x8 g = load(gate);
    const Fp32x8 up = load(gate + channels);
#pragma unroll
    for (int i = 0; i < kVector; ++i) g.value[i] = g.value[i] / (1.0f + __expf(-g.value[i])) * up.value[i];
    store(g, y + row * channels + c);
  });
}

template <class From, class To>
__global__ void convert_kernel(const From* x, std::int64_t x_stride, int channels, const float* bias, To* y,
                               std::int64_t y_stride) {
  in_its_row(channels, [&](std::int64_t row, int c) {
    Fp32x8 v = load(x + row * x_stride + c);
    if (bias) {
      const Fp32x8 b = load(bias + c);
#pragma unroll
      for (int i = 0; i < kVector; ++i) v.value[i] += b.value[i];
    }
    store(v, y + row * y_stride + c);
  });
}

__global__ void rope_table_kernel(const double* frequencies, int half, const int* positions, int tokens,
                                  int rows, float2* table) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= rows * half) return;
  const int row = i / half;
  const double angle = static_cast<double>(positions[row / tokens] + row % tokens) * frequencies[i % half];
  double sine, cosine;
  sincos(angle, &sine, &cosine);
  table[i] = make_float2(static_cast<float>(cosine), static_cast<float>(sine));
}

/// Vectors of 8 pairs for the H + Hkv rotated heads, then vectors of 8 channels of v.
__global__ void rope_kernel(RopeCall call) {
  const int half = call.head_dim / 2;
  const int pairs = half / kVector;
  const int turned = (call.heads + call.kv_heads) * pairs;
  const int copied = call.kv_heads * call.head_dim / kVector;
  const std::int64_t count = std::int64_t{call.rows} * (turned + copied);
  const std::int64_t kv_row = std::int64_t{call.kv_heads} * call.head_dim;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x) {
    const std::int64_t row = i / (turned + copied);
    const int work = static_cast<int>(i % (turned + copied));
    const std::int64_t sequence = row / call.tokens;
    const std::int64_t position = call.positions[sequence] + row % call.tokens;
    const bool fits = position >= 0 && position < call.capacity;
    const std::int64_t slot = (sequence * call.capacity + position) * kv_row;
    __nv_bfloat16* const from = call.qkv + row * call.stride;
    if (work >= turned) {
      const int c = (work - turned) * kVector;
      const __nv_bfloat16* const v = from + (call.heads + call.kv_heads) * call.head_dim + c;
      if (fits) store(load(v), call.values + slot + c);
      continue;
    }
    const int head = work / pairs;
    const int c = work % pairs * kVector;
    __nv_bfloat16* const x = from + head * call.head_dim + c;
    const float2* const turn = call.table + row * half + c;
    Fp32x8 a = load(x);
    Fp32x8 b = load(x + half);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      const float2 t = turn[j];
      const float first = a.value[j] * t.x - b.value[j] * t.y;
      b.value[j] = b.value[j] * t.x + a.value[j] * t.y;
      a.value[j] = first;
    }
    if (head >= call.heads && !fits) continue;
    __nv_bfloat16* const to =
        head < call.heads ? x : call.keys + slot + (head - call.heads) * call.head_dim + c;
    store(a, to);
    store(b, to + half);
  }
}

/// One block per row.
__global__ void argmax_kernel(const float* logits, int vocab, int* ids) {
  __shared__ float values[32];
  __shared__ int places[32];
  logits += std::int64_t{blockIdx.x} * vocab;
  float best = -INFINITY;
  int place = vocab;
  const auto consider = [&](float value, int at) {
    if (value > best || (value == best && at < place)) {
      best = value;
      place = at;
    }
  };
  for (int i = static_cast<int>(threadIdx.x); i < vocab; i += static_cast<int>(blockDim.x))
    consider(logits[i], i);
  const auto join_warp = [&] {
    for (int step = 16; step > 0; step /= 2) {
      const float value = __shfl_xor_sync(~0u, best, step);
      const int at = __shfl_xor_sync(~0u, place, step);
      consider(value, at);
    }
  };
  join_warp();
  if (threadIdx.x % 32 == 0) {
    values[threadIdx.x / 32] = best;
    places[threadIdx.x / 32] = place;
  }
  __syncthreads();
  if (threadIdx.x >= 32) return;
  best = threadIdx.x < blockDim.x / 32 ? values[threadIdx.x] : -INFINITY;
  place = threadIdx.x < blockDim.x / 32 ? places[threadIdx.x] : vocab;
  join_warp();
  // A row of NaN has no largest: the id must still lie in the vocabulary.
  if (threadIdx.x == 0) ids[blockIdx.x] = place < vocab ? place : 0;
}

__global__ void set_positions_kernel(int* positions, int count, int keep, int amount) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x))
    positions[i] = positions[i] * keep + amount;
}

/// SplitMix64 of seed and place, as a number in [-1, 1).
__device__ float uniform(std::uint64_t seed, std::uint64_t i) {
  std::uint64_t z = seed * 0xd1342543de82ef95ull + (i + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  return static_cast<float>(z >> 40) * 0x1p-23f - 1.0f;
}

__device__ void put(__nv_bfloat16* x, float value) {
  *x = __float2bfloat16_rn(value);
}
__device__ void put(float* x, float value) {
  *x = value;
}

template <class T>
__global__ void fill_uniform_kernel(T* x, std::uint64_t count, float half_width, std::uint64_t seed) {
  for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += std::uint64_t{gridDim.x} * blockDim.x)
    put(x + i, uniform(seed, i) * half_width);
}

__global__ void fill_kernel(float* x, std::uint64_t count, float value) {
  for (std::uint64_t i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += std::uint64_t{gridDim.x} * blockDim.x)
    x[i] = value;
}

__global__ void differ_kernel(const unsigned* a, const unsigned* b, std::size_t count, int* flag) {
  bool differs = false;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x)
    differs |= a[i] != b[i];
  if (differs) *flag = 1;
}

template <class T>
cudaError_t launch_fill_uniform(T* x, std::size_t count, float deviation, std::uint64_t seed,
                                cudaStream_t stream) {
  constexpr float kSqrt3 = 1.7320508f;  // a uniform value on [-w, w) deviates by w / sqrt(3)
  if (count == 0) return cudaSuccess;
  fill_uniform_kernel<<<blocks_for(static_cast<std::int64_t>(count)), kThreads, 0, stream>>>(
      x, count, deviation * kSqrt3, seed);
  return cudaGetLastError();
}

}  // namespace

cudaError_t embed(const int* ids, int rows, const __nv_bfloat16* table, int channels, float* x,
                  cudaStream_t stream) {
  const RowGrid g(rows, channels);
  embed_kernel<<<g.grid, g.block, 0, stream>>>(ids, table, channels, x);
  return cudaGetLastError();
}

cudaError_t rms_norm(const float* x, const float* weight, float epsilon, int rows, int channels,
                     __nv_bfloat16* y, cudaStream_t stream) {
  const int warps = (channels / kVector + 31) / 32;
  const int threads = 32 * (warps < 16 ? warps : 16);
  rms_norm_kernel<<<static_cast<unsigned>(rows), static_cast<unsigned>(threads), 0, stream>>>(
      x, weight, epsilon, channels, y);
  return cudaGetLastError();
}

cudaError_t swiglu(const __nv_bfloat16* gate_up, int rows, int channels, __nv_bfloat16* y,
                   cudaStream_t stream) {
  const RowGrid g(rows, channels);
  swiglu_kernel<<<g.grid, g.block, 0, stream>>>(gate_up, channels, y);
  return cudaGetLastError();
}

cudaError_t to_fp32(const __nv_bfloat16* x, std::int64_t x_stride, int rows, int channels, const float* bias,
                    float* y, std::int64_t y_stride, cudaStream_t stream) {
  const RowGrid g(rows, channels);
  convert_kernel<<<g.grid, g.block, 0, stream>>>(x, x_stride, channels, bias, y, y_stride);
  return cudaGetLastError();
}

cudaError_t to_bf16(const float* x, std::int64_t x_stride, int rows, int channels, __nv_bfloat16* y,
                    std::int64_t y_stride, cudaStream_t stream) {
  const RowGrid g(rows, channels);
  convert_kernel<<<g.grid, g.block, 0, stream>>>(x, x_stride, channels, nullptr, y, y_stride);
  return cudaGetLastError();
}

cudaError_t rope_table(const double* frequencies, int half, const int* positions, int tokens, int rows,
                       float2* table, cudaStream_t stream) {
  const unsigned blocks = static_cast<unsigned>((std::int64_t{rows} * half + kThreads - 1) / kThreads);
  rope_table_kernel<<<blocks, kThreads, 0, stream>>>(frequencies, half, positions, tokens, rows, table);
  return cudaGetLastError();
}

cudaError_t rope(const RopeCall& call, cudaStream_t stream) {
  const std::int64_t vectors =
      std::int64_t{call.rows} * ((call.heads + call.kv_heads) / 2 + call.kv_heads) * call.head_dim / kVector;
  rope_kernel<<<blocks_for(vectors), kThreads, 0, stream>>>(call);
  return cudaGetLastError();
}

cudaError_t argmax(const float* logits, int rows, int vocab, int* ids, cudaStream_t stream) {
  argmax_kernel<<<static_cast<unsigned>(rows), 1024, 0, stream>>>(logits, vocab, ids);
  return cudaGetLastError();
}

cudaError_t set_positions(int* positions, int count, int keep, int amount, cudaStream_t stream) {
  set_positions_kernel<<<1, kThreads, 0, stream>>>(positions, count, keep, amount);
  return cudaGetLastError();
}

cudaError_t fill_uniform(__nv_bfloat16* x, std::size_t count, float deviation, std::uint64_t seed,
                         cudaStream_t stream) {
  return launch_fill_uniform(x, count, deviation, seed, stream);
}

cudaError_t fill_uniform(float* x, std::size_t count, float deviation, std::uint64_t seed,
                         cudaStream_t stream) {
  return launch_fill_uniform(x, count, deviation, seed, stream);
}

cudaError_t fill(float* x, std::size_t count, float value, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  fill_kernel<<<blocks_for(static_cast<std::int64_t>(count)), kThreads, 0, stream>>>(x, count, value);
  return cudaGetLastError();
}

cudaError_t differ(const void* a, const void* b, std::size_t bytes, int* flag, cudaStream_t stream) {
  if (const cudaError_t error = cudaMemsetAsync(flag, 0, sizeof *flag, stream); error != cudaSuccess)
    return error;
  differ_kernel<<<blocks_for(static_cast<std::int64_t>(bytes / 4)), kThreads, 0, stream>>>(
      static_cast<const unsigned*>(a), static_cast<const unsigned*>(b), bytes / 4, flag);
  return cudaGetLastError();
}

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// What the bf16 prefill kernels of D = 64 and of D = 128 share: copies, convolution, feature map and gates of
// a chunk. prefill.cu tells the scheme.
#pragma once

#include <algorithm>

#include "kernels/attention/forms.h"
#include "kernels/attention/layout.h"
#include "kernels/hopper.cuh"

namespace lawcat::cuda {

inline constexpr int kChunk = 64;        // tokens
inline constexpr int kBlockTokens = 16;  // rows of a warp's products
inline constexpr int kGateTokens = 8;    // of a thread that computes gates
inline constexpr int kHalo = kConvTaps - 1;
inline constexpr float kMostSpan =
    100;  // log2; bf16 and fp32 hold 2^+-126, phi and sums of 64 tokens take the rest
inline constexpr int kTileBytes = 64 * 128;  // 64 rows of 64 16-bit words, swizzled: see hopper.cuh

struct PrefillArguments {
  const __half *taps, *map;
  const float *z_scale, *tap_scale, *gate_bias;
  const __nv_bfloat16 *q, *k, *v, *gk;
  __nv_bfloat16* o;
  std::int64_t q_stride, k_stride, v_stride, gk_stride, o_stride;
  float *q_tail, *k_tail;  // inputs before the first token
  float* starts;           // [segments, H, K, D]: states at the segments' starts; from kernel 1: their sums
                           // (prefill128.cu's scan: as its accumulators have them)
  float* norm_starts;      // [segments, H, K]
  float* decays;           // [segments, Hkv, K]: product of a segment's gates
  std::byte* sums;         // [segments, H, kJoinedSumsBytes]: prefill_joined.cu's
  float *state, *norm;     // final
  int heads, kv_heads, tokens, segments, segment_tokens;
  int pieces;  // of a segment; the states kernel does each by itself, and starts, norm_starts and decays are
               // theirs
};

/// A tile as wgmma reads it.
struct Tile {
  std::byte bytes[kTileBytes];
};
/// A column beside a tile of values, as row 0 of 8 rows.
struct ColumnTile {
  std::byte bytes[8 * 128];
};

__device__ inline std::uint32_t& word_at(std::byte* base, unsigned offset) {
  return *reinterpret_cast<std::uint32_t*>(base + offset);
}

struct Half4 {
  __half2 a, b;
};

/// Rows -3 to 15 of a warp's block convolved, in fp16, to 16 rows of a tile. A lane has four channels of 8
/// rows, kAtOnce of them at a time; input rows are kStride channels apart. Taps are scaled so that no sum
/// leaves fp16's range; inputs beyond it count as its largest value.
template <int kD, int kAtOnce = kBlockTokens / 2, int kStride = kD>
__device__ inline void convolve(const __nv_bfloat16* rows, const __half* taps, std::byte* out,
                                unsigned lane) {
  constexpr int kRows = kBlockTokens / 2;
  const unsigned channel = lane % 16 * 4, first = lane / 16 * kRows;
  Half4 w[kConvTaps];
#pragma unroll
  for (int j = 0; j < kConvTaps; ++j) w[j] = *reinterpret_cast<const Half4*>(taps + j * kD + channel);
  const auto row = [&](int i) {
    const uint2 bits = *reinterpret_cast<const uint2*>(rows + (first + i) * kStride + channel);
    const float2 low = unpack_bf16(bits.x), high = unpack_bf16(bits.y);
    const std::uint32_t halves[2] = {pack_fp16(low.x, low.y), pack_fp16(high.x, high.y)};
    return *reinterpret_cast<const Half4*>(halves);
  };
  const unsigned to = swizzled_piece(0, lane % 16 / 2) + lane % 2 * 8;
  Half4 x[kHalo + kAtOnce];
#pragma unroll
  for (int i = 0; i < kHalo; ++i) x[i] = row(i);
#pragma unroll
  for (int begin = 0; begin < kRows; begin += kAtOnce) {
    // All of them before the first result, whose place might be theirs for all the compiler knows.
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) x[kHalo + i] = row(begin + kHalo + i);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const Half4 &x0 = x[i], &x1 = x[i + 1], &x2 = x[i + 2], &x3 = x[i + 3];
      // The current token's tap, the largest as a rule, last.
      const Half4 sum{
          __hfma2(w[3].a, x3.a, __hfma2(w[2].a, x2.a, __hfma2(w[1].a, x1.a, __hmul2(w[0].a, x0.a)))),
          __hfma2(w[3].b, x3.b, __hfma2(w[2].b, x2.b, __hfma2(w[1].b, x1.b, __hmul2(w[0].b, x0.b))))};
      *reinterpret_cast<Half4*>(out + (first + begin + i) * 128 + (to ^ (begin + i) % 8 * 16)) = sum;
    }
#pragma unroll
    for (int i = 0; i < kHalo; ++i) x[i] = x[kAtOnce + i];
  }
}

/// Rows of 16-byte pieces, asynchronously: `from` is the piece of row `token` that the thread has a part of,
/// `row_0` its first row of kRowsAtOnce, `to` where that goes; a row is kRowBytes there. With kEdge there may
/// be tokens before the first, left out, and past the last, zeros.
template <int kRows, int kRowsAtOnce, bool kEdge, int kRowBytes>
__device__ inline void copy_rows(const __nv_bfloat16* from, std::int64_t stride, int token, int tokens,
                                 unsigned row_0, std::uint32_t to) {
  const __nv_bfloat16* at = from + (token + static_cast<int>(row_0)) * stride;
#pragma unroll
  for (int i = 0; i < kRows; i += kRowsAtOnce, at += kRowsAtOnce * stride) {
    const int row = i + static_cast<int>(row_0);
    if (kRows % kRowsAtOnce != 0 && row >= kRows) break;
    if constexpr (!kEdge)
      copy_async(to + i * kRowBytes, at);
    else if (token + row >= 0)
      copy_async(to + i * kRowBytes, token + row < tokens ? at : from, token + row < tokens);
  }
}

/// 16 rows (convolved, fp16) of a tile times the feature map: z[half][n] of row lane / 4 + 8 half, columns
/// 8 n + 2 (lane % 4) and the next.
template <class G>
__device__ inline void project(const std::byte* rows, const __half* map, float (&z)[2][G::kF / 8][2],
                               unsigned lane) {
  constexpr int kTiles = G::kF / 8;
  const unsigned from = swizzled_piece(lane % 16, lane / 16);
  float sum[kTiles][4] = {};
#pragma unroll
  for (int step = 0; step < G::kD / 16; ++step) {
    std::uint32_t a[4];
    load_matrices(a, rows + (from ^ 2 * step * 16));
#pragma unroll
    for (int pair = 0; pair < kTiles / 2; ++pair) {
      std::uint32_t b[4];
      load_matrices_transposed(b, map + (step * 16 + lane % 16) * G::kMapWide + pair * 16 + lane / 16 * 8);
      multiply_fp16(sum[2 * pair], a, b[0], b[1]);
      multiply_fp16(sum[2 * pair + 1], a, b[2], b[3]);
    }
  }
#pragma unroll
  for (int i = 0; i < G::kF / 2; ++i) z[i / 2 % 2][i / 4][i % 2] = sum[i / 4][i % 4];
}

/// phi of a row from its z, as bf16 pairs: `put(n, pair)` receives those of features 8 n + 2 (lane % 4) and
/// the next, multiplied by `factor(n)`; n of the softmax of z and n of the softmax of -z in turns. Four lanes
/// share a row, with two of each 8 neighbouring features.
template <int kTiles, class Factor, class Put>
__device__ inline void features(const float (&z)[kTiles][2], float z_scale, const Factor& factor,
                                const Put& put) {
  // exp needs its largest argument taken away only where fp32 would not hold the sums of both softmaxes.
  constexpr float kSafe = 1LL << 60;
  float ups[kTiles][2], downs[kTiles][2], up = 0, down = 0;
  const auto add_up = [&] {
    up = down = 0;
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        up += ups[n][e];
        down += downs[n][e];
      }
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
      up += __shfl_xor_sync(~0U, up, step);
      down += __shfl_xor_sync(~0U, down, step);
    }
  };
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    // Those of -z two at a time from those of z; what fp32 does not hold is infinite or no number in the
    // sums.
    const float a = ups[n][0] = exp2_fast(z[n][0] * z_scale), b = ups[n][1] = exp2_fast(z[n][1] * z_scale);
    const float inverse = reciprocal_fast(a * b);
    downs[n][0] = b * inverse;
    downs[n][1] = a * inverse;
  }
  add_up();
  if (!__all_sync(~0U, up < kSafe && down < kSafe)) {
    float high = -INFINITY, low = INFINITY;
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        high = fmaxf(high, z[n][e]);
        low = fminf(low, z[n][e]);
      }
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
      high = fmaxf(high, __shfl_xor_sync(~0U, high, step));
      low = fminf(low, __shfl_xor_sync(~0U, low, step));
    }
    high *= z_scale;  // the scale is positive
    low *= z_scale;
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        ups[n][e] = exp2_fast(z[n][e] * z_scale - high);
        downs[n][e] = exp2_fast(low - z[n][e] * z_scale);
      }
    add_up();
  }
  // The definition's floor of 1e-12 is far below what bf16 sums resolve: left out.
  up = reciprocal_fast(up);
  down = reciprocal_fast(down);
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    const float2 f_up = factor(n), f_down = factor(kTiles + n);
    put(n, pack_bf16(ups[n][0] * up * f_up.x, ups[n][1] * up * f_up.y));
    put(kTiles + n, pack_bf16(downs[n][0] * down * f_down.x, downs[n][1] * down * f_down.y));
  }
}

/// A warp's 16 rows of scores (accumulators of 64 columns), without those of later tokens, as the left
/// operand of products over the tokens: rounded to bf16. row_0 is the lane's first row in the chunk, t its
/// place in a fragment's row (hopper.cuh).
__device__ __forceinline__ void mask_scores(const float (&scores)[32], unsigned row_0, unsigned t,
                                            std::uint32_t (&weights)[4][4]) {
#pragma unroll
  for (int n = 0; n < 8; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const unsigned column = 8 * n + 2 * t, row = row_0 + 8 * half;
      const float* const two = scores + 4 * n + 2 * half;
      weights[n / 2][n % 2 * 2 + half] =
          pack_bf16(column <= row ? two[0] : 0.0F, column < row ? two[1] : 0.0F);
    }
}

/// Which of a chunk's tokens are done at once: `size` of them from token `from` on.
struct Window {
  int size, from;
};

/// What S's row of a feature was and is to be multiplied by, as log2: after the last window, and before the
/// chunk.
struct RowTail {
  float *after, *before;
};

/// The gates of kFeatures neighbouring features in a window (kWhole: all) of the chunk (kFull: of 64 tokens,
/// else maybe fewer) that begins at token `first` of a segment that ends at `end`. The lanes with the same
/// lane % 4 share them, 8 tokens each, whose logits of feature f, times log2(e), `logit(i, f)` gives. `put(i,
/// inside, distances)` receives for each of them b - b_ref, and whether the token is in the window. `rows(f,
/// factor, after)` is told in one of the lanes log2 of what S becomes S' by, and the new *tail.after; b_end
/// goes to `at_end`. With kMiddle the reference row is the window's middle, and for a whole chunk `wide(1 or
/// 2)` is called by warps that find it to need windows of 16 tokens or of one; without, it is the chunk's
/// end.
template <int kFeatures, bool kWhole, bool kFull, bool kMiddle, class Logit, class Put, class Wide,
          class Rows>
__device__ inline void gate_pass(int first, int end, Window window, unsigned lane, RowTail tail,
                                 float (&at_end)[kFeatures], const Logit& logit, const Put& put,
                                 const Wide& wide, const Rows& rows) {
  const int group = static_cast<int>(lane / 4);
  const bool one_token = !kWhole && window.size == 1;
  float sum[kFeatures][kGateTokens];  // of log2 gates from the first of the lane's tokens on
  float through[kFeatures];           // from the chunk's first token to the lane's last
  float before[kFeatures], to_end[kFeatures], start[kFeatures] = {}, ref[kFeatures] = {};
#pragma unroll
  for (int f = 0; f < kFeatures; ++f)
#pragma unroll
    for (int i = 0; i < kGateTokens; ++i) {
      constexpr float kRoot = 1.0F / 16;
      float one = log2_sigmoid(logit(i, f));
      if (!kFull && first + kChunk > end && first + group * kGateTokens + i >= end)
        one = 0;  // keeps the state as it is
      sum[f][i] = i == 0 ? one * kRoot : fmaf(one, kRoot, sum[f][i - 1]);
      if (!kWhole && (i == 0 || window.from % kGateTokens == i)) to_end[f] = one * kRoot;
    }
#pragma unroll
  for (int f = 0; f < kFeatures; ++f) through[f] = sum[f][kGateTokens - 1];
#pragma unroll
  for (unsigned step = 4; step < 32; step *= 2)
#pragma unroll
    for (int f = 0; f < kFeatures; ++f) {
      const float earlier = __shfl_up_sync(~0U, through[f], step);
      if (lane >= step) through[f] += earlier;
    }
  const auto after_group = [&](int f, int last) {
    return last < 0 ? 0.0F : __shfl_sync(~0U, through[f], last * 4 + static_cast<int>(lane) % 4);
  };
#pragma unroll
  for (int f = 0; f < kFeatures; ++f) {
    before[f] = __shfl_up_sync(~0U, through[f], 4);
    if (lane < 4) before[f] = 0;
    if constexpr (kWhole) {
      at_end[f] = after_group(f, 7);
      ref[f] = kMiddle ? after_group(f, 3) : at_end[f];
    } else if (!one_token) {
      start[f] = after_group(f, window.from / kGateTokens - 1);
      ref[f] = after_group(f, window.from / kGateTokens);
      at_end[f] = after_group(f, window.from / kGateTokens + 1);
    }
  }
  if constexpr (kWhole && kMiddle) {
    float half = 0, eighth = 0;
#pragma unroll
    for (int f = 0; f < kFeatures; ++f) {
      half = fminf(half, fminf(ref[f], at_end[f] - ref[f]));
      eighth = fminf(eighth, sum[f][kGateTokens - 1]);
    }
    if (__any_sync(~0U, half < -kMostSpan)) wide(__any_sync(~0U, eighth < -kMostSpan) ? 2 : 1);
  }
#pragma unroll
  for (int i = 0; i < kGateTokens; ++i) {
    const int row = group * kGateTokens + i;
    const bool inside = (kWhole || (row >= window.from && row < window.from + window.size)) &&
                        (kFull || first + kChunk <= end || first + row < end);
    float distances[kFeatures];
#pragma unroll
    for (int f = 0; f < kFeatures; ++f) distances[f] = one_token ? 0 : sum[f][i] + (before[f] - ref[f]);
    put(i, inside, distances);
  }
  if (one_token ? group == window.from / kGateTokens : lane < 4)
#pragma unroll
    for (int f = 0; f < kFeatures; ++f) {
      const float earlier = kWhole || window.from > 0 ? tail.after[f] : tail.before[f];
      if (kWhole) tail.before[f] = earlier;
      const float after = one_token ? 0 : at_end[f] - ref[f];
      rows(f, earlier + (one_token ? to_end[f] : ref[f] - start[f]), after);
      tail.after[f] = after;
    }
}

/// The convolution tail of channel c of all heads' q or k; `before` receives what it was.
__device__ inline void advance_tail(const PrefillArguments& x, bool is_q, int c, int head_dim,
                                    float (&before)[kHalo]) {
  const int channels = x.heads * head_dim, kv = c / head_dim / (x.heads / x.kv_heads);
  float* const tail = (is_q ? x.q_tail : x.k_tail) + c;
  const __nv_bfloat16* const input = is_q ? x.q + c : x.k + kv * head_dim + c % head_dim;
  const std::int64_t stride = is_q ? x.q_stride : x.k_stride;
  for (int j = 0; j < kHalo; ++j) before[j] = tail[j * channels];
  for (int j = 0; j < kHalo; ++j) {
    const int token = x.tokens - kHalo + j;
    tail[j * channels] = token < 0 ? before[token + kHalo] : __bfloat162float(input[token * stride]);
  }
}

/// Queues a kernel; with `overlapping` it may get ready while the one before it still runs. Clusters are of
/// blocks that are neighbours in x; with `waiting` all blocks run side by side, or it is an error.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, int threads, int shared_bytes, bool overlapping,
                   cudaStream_t stream, int cluster_blocks, bool waiting, Arguments... arguments) {
  cudaLaunchAttribute attributes[3]{};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = static_cast<unsigned>(cluster_blocks);
  attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
  unsigned count = 1;
  if (overlapping) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (waiting) {
    attributes[count].id = cudaLaunchAttributeCooperative;
    attributes[count++].val.cooperative = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = static_cast<unsigned>(threads);
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

/// prefill_joined.cu: all three kernels in one launch, for D = 64; a block has kJoinedHeads heads of a kv
/// head and a segment of `chunks` chunks, up to kMostJoinedChunks.
inline constexpr int kJoinedHeads = 2, kMostJoinedChunks = 3;
inline constexpr std::size_t kJoinedSumsBytes = 64 * 64 * 2 + 64 * 3 * sizeof(float);
cudaError_t launch_joined(const PrefillArguments& x, int chunks, cudaStream_t stream);

/// prefill128.cu: kernels 1 (without outputs) and 3 for D = 128, one head a block. With `scan` the latter
/// scans, and advances the tails; segments are then of one piece each.
cudaError_t launch_segments_128(const PrefillArguments& x, bool outputs, bool scan, cudaStream_t stream);

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// Prefill in bf16 of D = 64 in one cooperative launch, where segments are few enough for their blocks to run
// side by side: prefill.cu tells the scheme, and how this came to be.
//
// A block makes all of its chunks' k' at once, adds up what they add to the state, publishes that as its
// segment's sums, makes q' and scores while the other blocks do so, waits for all of them once, and takes the
// sums of the segments before its own, from which it has the state at its start and, once more through its
// chunks, each chunk's S'. Segment 0's sums begin with the sequence's state, so that only its block reads
// that.
#include <cooperative_groups.h>

#include <utility>

#include "kernels/attention/prefill64.cuh"

namespace lawcat::cuda {
namespace {

/// A block has two heads of a kv head and the kChunks chunks of a segment, a warpgroup for a chunk and a
/// head; or, with kSide 1, for a chunk and one head after the other.
template <int kChunks, int kSide>
struct JoinedBlock {
  using G = Dim64<kJoinedHeads>;
  static constexpr int kHeads = kJoinedHeads, kRounds = kHeads / kSide;
  static constexpr int kWarps = 4 * kChunks * kSide, kThreads = 32 * kWarps;
  // As those of Dim64, of threads that have two features.
  static constexpr int kFactorsOf8 = 8 * G::kWide + 8;

  /// A segment's sums of a head as its warps' accumulators have them, by four words: two columns of a row and
  /// of the row 8 further; in fp16, times a power of two per row. Likewise in fp32 the row's normaliser, what
  /// its sums are to be multiplied by, and both of the row 8 further.
  struct Sums {
    uint2 quads[G::kK * G::kD / 4];
    float4 rows[G::kK / 2];
    float2 decays[G::kK / 2];  // the segment's gates' product, of both rows
  };
  static_assert(sizeof(Sums) == kJoinedSumsBytes);
  static constexpr int kStages = 7;

  struct Shared {
    Tile v[kChunks];
    union {
      Tile keys[kChunks][kHeads];                      // k'; before that a warp's convolution in fp16
      std::byte logits[kChunks][kHeads * kTileBytes];  // before that; of a chunk as in Dim64
    };
    ColumnTile ones[2], norm_state[kChunks][kHeads];  // of the latter only the first row is used
    union {
      struct {
        __nv_bfloat16 q[kHalo + kChunks * kChunk][kHeads][G::kD];
        union {
          __nv_bfloat16 k[kChunks][kHalo + kChunk][G::kD];
          std::byte own[kWarps][16 * 128];  // a warp's 16 rows of q convolved, in fp16; later of its outputs
        };
        float shrink[kChunks][kChunk / 8 * kFactorsOf8];  // 2^(b_ref - b)
      };
      Sums sums[kStages][kHeads];   // after q', of the segments before
      Tile state[kChunks][kHeads];  // S', after that
    };
    __half map[kHeads][G::kD][G::kMapWide];
    __half taps[2][kHeads][kConvTaps][G::kD];
    float row_factor[kChunks][G::kK];  // log2 of 2^(b_ref - b_start)
    float row_tail[kChunks][G::kK];    // log2 of 2^(b_end - b_ref)
    float row_before[kChunks][G::kK];  // zeros
    std::uint64_t sums_here[kStages];
    int most_span;  // of all chunks, as in Dim64
  };
  static_assert(sizeof(Shared::q) >= sizeof(Shared::state));  // outputs are written beside S'
  static constexpr int kBytes = std::max(sizeof(Shared), sizeof(typename G::Shared));
};

template <int kChunks, int kSide>
__global__ void __launch_bounds__(JoinedBlock<kChunks, kSide>::kThreads, 1)
    joined_kernel(const PrefillArguments x) {
  using J = JoinedBlock<kChunks, kSide>;
  using G = typename J::G;
  constexpr int kHeads = J::kHeads, kRounds = J::kRounds;
  extern __shared__ __align__(1024) std::byte memory[];
  typename J::Shared& shared = *reinterpret_cast<typename J::Shared*>(memory);
  const unsigned thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const unsigned group = __shfl_sync(~0U, warp / 4, 0), chunk = group / kSide, side = group % kSide;
  const unsigned block = warp % 4, g = lane / 4, t = lane % 4, row_0 = block * 16 + g, piece = lane % 8;
  const auto fragment = [&](Tile& tile, int n, int half) -> std::uint32_t& {
    return word_at(tile.bytes + half * 1024, (row_0 * 128 + g * 16 + t * 4) ^ n * 16);
  };
  const int per_kv = x.heads / x.kv_heads / kHeads;
  const int kv = static_cast<int>(blockIdx.x) / per_kv, head_0 = static_cast<int>(blockIdx.x) * kHeads;
  const int segment = static_cast<int>(blockIdx.y), begin = segment * x.segment_tokens;
  const int first = begin + static_cast<int>(chunk) * kChunk;
  const bool last_segment = segment == x.segments - 1;

  // ---- copies
  if (thread == 0) {
#pragma unroll
    for (std::uint64_t& here : shared.sums_here) split_barrier_set(&here, 1);
    shared.most_span = 0;
  }
  publish_to_products();
  __syncthreads();
  {
    constexpr int kRowsAtOnce = 16 * kSide;
    const unsigned row = (thread - chunk * 128 * kSide) / 8;
    copy_rows<kChunk, kRowsAtOnce, true, G::kLogitsOf8 / 8>(
        x.gk + kv * G::kK + piece * 8, x.gk_stride, first, x.tokens, row,
        shared_address(shared.logits[chunk] + row / 8 * G::kLogitsOf8 + row % 8 * 128 + piece * 16));
    copy_commit();
    copy_rows<kHalo + kChunk, kRowsAtOnce, true, 2 * G::kD>(x.k + kv * G::kD + piece * 8, x.k_stride,
                                                            first - kHalo, x.tokens, row,
                                                            shared_address(&shared.k[chunk][row][piece * 8]));
    for (int i = static_cast<int>(thread); i < kHeads * G::kD * (G::kF / 8); i += J::kThreads) {
      const int map_row = i / (G::kF / 8), part = i % (G::kF / 8) * 8;
      copy_async(shared_address(&shared.map[0][map_row][part]),
                 x.map + (static_cast<std::size_t>(head_0) * G::kD + map_row) * G::kF + part);
    }
    for (int i = static_cast<int>(thread); i < 2 * kHeads * kConvTaps * G::kD / 8; i += J::kThreads) {
      const int which = i / (kHeads * kConvTaps * G::kD / 8), rest = i % (kHeads * kConvTaps * G::kD / 8);
      copy_async(
          shared_address(&shared.taps[which][0][0][0] + rest * 8),
          x.taps + (static_cast<std::size_t>(which) * x.heads + head_0) * kConvTaps * G::kD + rest * 8);
    }
    copy_commit();
  }
  if (begin == 0)  // what comes before the sequence's first token
    for (int i = static_cast<int>(thread); i < kHalo * G::kD; i += J::kThreads) {
      const int row = i / G::kD, c = i % G::kD, from = (row * x.heads + head_0) * G::kD + c;
      shared.k[0][row][c] = __float2bfloat16_rn(x.k_tail[from]);
#pragma unroll
      for (int head = 0; head < kHeads; ++head)
        shared.q[row][head][c] = __float2bfloat16_rn(x.q_tail[from + head * G::kD]);
    }
  for (int i = static_cast<int>(thread); i < kChunks * G::kK; i += J::kThreads)
    shared.row_tail[0][i] = shared.row_before[0][i] = 0;
  for (int i = static_cast<int>(thread); i < static_cast<int>(sizeof(shared.ones)) / 4; i += J::kThreads)
    reinterpret_cast<std::uint32_t*>(&shared.ones)[i] = 0x3f803f80U;
  float q_scale[kRounds], k_scale[kRounds];
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int head = head_0 + static_cast<int>(side) + round;
    q_scale[round] = x.z_scale[head] * x.tap_scale[head];
    k_scale[round] = x.z_scale[head] * x.tap_scale[x.heads + head];
  }

  // ---- gates: a lane has 8 tokens of two features of its warpgroup's chunk, a warp 8 features at a time
  constexpr int kPasses = G::kK / 8 / (4 * kSide);
  const unsigned feature_0 = (side * 4 + block) * kPasses * 8 + lane % 4 * 2;
  float2 bias[kPasses];
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    bias[pass] = x.gate_bias
                     ? *reinterpret_cast<const float2*>(x.gate_bias + kv * G::kK + feature_0 + pass * 8)
                     : float2{};
    bias[pass] = {kLog2E * bias[pass].x, kLog2E * bias[pass].y};
  }
  const auto make_factors = [&]<bool kFull, bool kMiddle>() {
    const std::byte* const logits = shared.logits[chunk] + lane / 4 * G::kLogitsOf8;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const unsigned feature = feature_0 + pass * 8;
      float at_end[2] = {};
      gate_pass<2, true, kFull, kMiddle>(
          first, x.tokens, {kChunk, 0}, lane,
          {&shared.row_tail[chunk][feature], &shared.row_before[chunk][feature]}, at_end,
          [&](int i, int f) {
            const float2 two =
                unpack_bf16(*reinterpret_cast<const std::uint32_t*>(logits + i * 128 + feature * 2));
            return f == 0 ? fmaf(two.x, kLog2E, bias[pass].x) : fmaf(two.y, kLog2E, bias[pass].y);
          },
          [&](int i, bool inside, const float(&distance)[2]) {
            *reinterpret_cast<float2*>(shared.shrink[chunk] + lane / 4 * J::kFactorsOf8 + i * G::kWide +
                                       feature) =
                inside ? float2{exp2_fast(-distance[0]), exp2_fast(-distance[1])} : float2{};
          },
          [&](int span) {
            if (lane == 0) atomicMax(&shared.most_span, span);
          },
          [&](int f, float factor, float) { shared.row_factor[chunk][feature + f] = factor; });
    }
  };
  copy_wait<1>();  // the logits
  __syncthreads();
  // Now that these need not share the memory with it, the rest.
  {
    for (int i = static_cast<int>(thread); i < kChunks * kChunk; i += J::kThreads)
      if (begin + i < x.tokens) {
        prefetch(x.v + kv * G::kD + (begin + i) * x.v_stride);
#pragma unroll
        for (int head = 0; head < kHeads; ++head)
          prefetch(x.q + (head_0 + head) * G::kD + (begin + i) * x.q_stride);
      }
  }
  if (first + kChunk <= x.tokens)
    make_factors.template operator()<true, true>();
  else
    make_factors.template operator()<false, true>();
  copy_wait<0>();  // k
  __syncthreads();
  {
    constexpr int kRowsAtOnce = 16 * kSide;
    const unsigned row = (thread - chunk * 128 * kSide) / 8;
    copy_rows<kChunk, kRowsAtOnce, true, 128>(
        x.v + kv * G::kD + piece * 8, x.v_stride, first, x.tokens, row,
        shared_address(shared.v[chunk].bytes + swizzled_piece(row, piece)));
    const unsigned q_row = kHalo + chunk * kChunk + row;
#pragma unroll
    for (int head = 0; head < kHeads; ++head) {
      const __nv_bfloat16* const from = x.q + (head_0 + head) * G::kD + piece * 8;
      copy_rows<kChunk, kRowsAtOnce, true, kHeads * G::kD * 2>(
          from, x.q_stride, first, x.tokens, row, shared_address(&shared.q[q_row][head][piece * 8]));
      if (begin > 0 && chunk == 0 && row < kHalo)
        copy_async(shared_address(&shared.q[row][head][piece * 8]),
                   from + (begin - kHalo + static_cast<int>(row)) * x.q_stride);
    }
    copy_commit();
  }
  // Windows have no one S': only sums, as kernel 1 has them, and then S, from which segment_work goes on.
  const bool wide = shared.most_span > 0;
  if (wide) {
    for (int i = static_cast<int>(thread); i < kChunks * G::kK; i += J::kThreads) shared.row_tail[0][i] = 0;
    __syncthreads();
    make_factors.template operator()<false, false>();
    __syncthreads();
  }

  // ---- k'
  // phi of the warp's 16 convolved rows as the left operand of products over the features, 16 each.
  float2 factors[2][8];
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int n = 0; n < 8; ++n)
      factors[half][n] = *reinterpret_cast<const float2*>(
          shared.shrink[chunk] + (block * 2 + half) * J::kFactorsOf8 + g * G::kWide + 2 * t + 8 * n);
  const auto features_to = [&](std::uint32_t(&to)[4][4], const std::byte* rows, unsigned head, float scale) {
    float z[2][G::kF / 8][2];
    project<G>(rows, &shared.map[head][0][0], z, lane);
#pragma unroll
    for (int half = 0; half < 2; ++half)
      features(
          z[half], scale, [&](int n) { return factors[half][n]; },
          [&](int n, std::uint32_t pair) { to[n / 2][n % 2 * 2 + half] = pair; });
  };
#pragma unroll 1
  for (int round = 0; round < kRounds; ++round) {
    const unsigned head = side + round;
    Tile& keys = shared.keys[chunk][head];
    std::byte* const rows = keys.bytes + block * 16 * 128;
    convolve<G::kD>(&shared.k[chunk][block * 16][0], &shared.taps[1][head][0][0], rows, lane);
    __syncwarp();
    std::uint32_t key[4][4];
    features_to(key, rows, head, round == 0 ? k_scale[0] : k_scale[kRounds - 1]);
    __syncwarp();
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half) fragment(keys, n, half) = key[n / 2][n % 2 * 2 + half];
  }
  // From here on those of q'.
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int n = 0; n < 8; ++n)
      factors[half][n] = {reciprocal_fast(factors[half][n].x), reciprocal_fast(factors[half][n].y)};
  // ---- sums: a head's in one of the last warpgroups, through all chunks; the first thread has the grid's
  // barrier to attend to
  const bool owner = static_cast<int>(group) >= kChunks * kSide - kHeads;
  const unsigned mine = owner ? group - (kChunks * kSide - kHeads) : 0;
  float s[36];  // the warp's 16 rows of S, and of the normaliser 8 times
  const auto add_chunk = [&](int c) {
    const std::uint64_t keys_tile = tile_descriptor(&shared.keys[c][mine]);
    const std::uint64_t v_tile = tile_pair_descriptor(&shared.v[c], &shared.ones);
    products_begin();
#pragma unroll
    for (int step = 0; step < 4; ++step)  // the ones are the same for each
      warpgroup_multiply_transposed(s, keys_tile + step * kNextRows,
                                    v_tile + step * (kNextRows - (kNextRows << 16)));
    products_commit();
    products_wait();
  };
  const auto multiply_rows = [&](float low, float high) {
#pragma unroll
    for (int i = 0; i < 36; ++i) s[i] *= i / 2 % 2 == 0 ? low : high;
  };
  // From S at the segment's start to its end; with kPrimes S' of the chunks to where the outputs take them,
  // and as far as that of the last.
  const auto chain = [&]<bool kPrimes>() {
    float before[2] = {};
#pragma unroll 1
    for (int c = 0; c < kChunks; ++c) {
      multiply_rows(exp2_fast(before[0] + shared.row_factor[c][row_0]),
                    exp2_fast(before[1] + shared.row_factor[c][row_0 + 8]));
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        before[half] = shared.row_tail[c][row_0 + 8 * half];
        if constexpr (kPrimes) {
#pragma unroll
          for (int n = 0; n < 8; ++n)
            fragment(shared.state[c][mine], n, half) =
                pack_bf16(s[4 * n + 2 * half], s[4 * n + 2 * half + 1]);
          if (t == 0)
            *reinterpret_cast<__nv_bfloat16*>(shared.norm_state[c][mine].bytes + 2 * (row_0 + 8 * half)) =
                __float2bfloat16_rn(s[32 + 2 * half]);
        }
      }
      if (!kPrimes || c < kChunks - 1) add_chunk(c);
    }
    if constexpr (!kPrimes) multiply_rows(exp2_fast(before[0]), exp2_fast(before[1]));
  };
  // The warp's rows in memory as states are.
  const std::size_t state_rows = (static_cast<std::size_t>(head_0) + mine) * G::kK + row_0;
  const auto load_state = [&](const float* states, const float* norms) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        const float2 two =
            *reinterpret_cast<const float2*>(states + (state_rows + 8 * half) * G::kD + 8 * n + 2 * t);
        s[4 * n + 2 * half] = two.x;
        s[4 * n + 2 * half + 1] = two.y;
      }
      s[32 + 2 * half] = norms[state_rows + 8 * half];
    }
  };
  const auto store_state = [&](float* states, float* norms) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int n = 0; n < 8; ++n)
        *reinterpret_cast<float2*>(states + (state_rows + 8 * half) * G::kD + 8 * n + 2 * t) =
            float2{s[4 * n + 2 * half], s[4 * n + 2 * half + 1]};
      if (t == 0) norms[state_rows + 8 * half] = s[32 + 2 * half];
    }
  };
  const std::size_t start_rows = static_cast<std::size_t>(segment) * x.heads * G::kK;
  float* const starts = x.starts + start_rows * G::kD;
  float* const norm_starts = x.norm_starts + start_rows;
  using Sums = typename J::Sums;
  Sums* const all_sums = reinterpret_cast<Sums*>(x.sums) + head_0;  // of segment 0; then the next ones'
  const unsigned my_quad = block * 256 + lane, my_rows = block * 8 + g;
  std::uint32_t query[kRounds][4][4], weights[kRounds][4][4];
  std::byte* const own = shared.own[warp];
  const auto make_query = [&](int round) {
    const unsigned head = side + round;
    convolve<G::kD, kBlockTokens / 2, kHeads * G::kD>(&shared.q[chunk * kChunk + block * 16][head][0],
                                                      &shared.taps[0][head][0][0], own, lane);
    __syncwarp();
    features_to(query[round], own, head, q_scale[round]);
    __syncwarp();
  };
  if (owner) {
#pragma unroll
    for (int i = 0; i < 36; ++i) s[i] = 0;
    if (segment == 0) load_state(x.state, x.norm);
  }
  copy_wait<0>();
  publish_to_products();
  __syncthreads();
  if (!owner) {
    make_query(0);
  } else {
    // The last segment's block writes over the sequence's state.
    if (segment == 0) store_state(starts, norm_starts);
    chain.template operator()<false>();
    Sums& to = all_sums[segment * x.heads + static_cast<int>(mine)];
    float scale[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = 0;
#pragma unroll
      for (int i = 0; i < 16; ++i) most = fmaxf(most, fabsf(s[i / 2 * 4 + 2 * half + i % 2]));
      most = fmaxf(most, __shfl_xor_sync(~0U, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0U, most, 2));
      scale[half] = power_of_two_of(most) / kHalfMost;
    }
    if (t == 0) {
      to.rows[my_rows] = {s[32], scale[0], s[34], scale[1]};
      float decay[2] = {};
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int c = 0; c < kChunks; ++c)
          decay[half] += shared.row_factor[c][row_0 + 8 * half] + shared.row_tail[c][row_0 + 8 * half];
      to.decays[my_rows] = {exp2_fast(decay[0]), exp2_fast(decay[1])};
    }
    const float inverse[2] = {__frcp_rn(scale[0]), __frcp_rn(scale[1])};
#pragma unroll
    for (int n = 0; n < 8; ++n)
      to.quads[my_quad + 32 * n] = {pack_fp16(s[4 * n] * inverse[0], s[4 * n + 1] * inverse[0]),
                                    pack_fp16(s[4 * n + 2] * inverse[1], s[4 * n + 3] * inverse[1])};
    if (x.segments == 1) store_state(x.state, x.norm);
    publish_to_copies();
  }
  auto arrived = cooperative_groups::this_grid().barrier_arrive();

  // ---- q' and scores, while the others' sums are on their way
  const auto score = [&](int round) {
    const std::uint64_t keys_tile = tile_descriptor(&shared.keys[chunk][side + round]);
    float scores[32];
    products_begin();
#pragma unroll
    for (int step = 0; step < 4; ++step)
      warpgroup_multiply<false>(scores, query[round][step], keys_tile + step * kNextAlongRow, step > 0);
    products_commit();
    products_wait();
    mask_scores(scores, row_0, t, weights[round]);
  };
  if (owner) {
    make_query(0);
  }
#pragma unroll
  for (int round = 1; round < kRounds; ++round) make_query(round);
  score(0);
  publish_to_products();
  cooperative_groups::this_grid().barrier_wait(std::move(arrived));
  constexpr unsigned kOwners = 128 * kHeads, kFirstOwner = J::kThreads - kOwners;
  const int sums = segment == 0 ? 0 : segment + last_segment;  // that this block takes
  const auto ask = [&](int i) {
    if (i >= sums) return;
    constexpr unsigned kBytes = sizeof(shared.sums[0]);
    split_barrier_arrive(&shared.sums_here[i % J::kStages], kBytes);
    copy_bulk(shared_address(&shared.sums[i % J::kStages][0]), all_sums + i * x.heads, kBytes,
              shared_address(&shared.sums_here[i % J::kStages]));
  };
  if (thread == kFirstOwner) {
    publish_to_copies();
#pragma unroll
    for (int i = 0; i < J::kStages; ++i) ask(i);
  }
#pragma unroll
  for (int round = 1; round < kRounds; ++round) score(round);

  // ---- S at the segment's start, and S'
  if (owner) {
    if (segment == 0) {
      load_state(starts, norm_starts);
    } else {
#pragma unroll
      for (int j = 0; j < 36; ++j) s[j] = 0;
      // S at the end of segment i from that at its start: `four` receives tile n's, `norms` the normalisers.
      const auto advance = [&](int i, const auto& four, const auto& norms) {
        split_barrier_wait(&shared.sums_here[i % J::kStages], i / J::kStages % 2);
        const Sums& from = shared.sums[i % J::kStages][mine];
        const float4 rows = from.rows[my_rows];
        const float2 decay = i == 0 ? float2{} : from.decays[my_rows];  // segment 0's start is in its sums
        uint2 sum[8];
#pragma unroll
        for (int n = 0; n < 8; ++n) sum[n] = from.quads[my_quad + 32 * n];
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          const float2 low = unpack_fp16(sum[n].x), high = unpack_fp16(sum[n].y);
          four(n, float4{s[4 * n] * decay.x + low.x * rows.y, s[4 * n + 1] * decay.x + low.y * rows.y,
                         s[4 * n + 2] * decay.y + high.x * rows.w, s[4 * n + 3] * decay.y + high.y * rows.w});
        }
        norms(s[32] * decay.x + rows.x, s[34] * decay.y + rows.z);
      };
#pragma unroll 1
      for (int i = 0; i < segment; ++i) {
        advance(
            i,
            [&](int n, float4 four) {
              s[4 * n] = four.x;
              s[4 * n + 1] = four.y;
              s[4 * n + 2] = four.z;
              s[4 * n + 3] = four.w;
            },
            [&](float low, float high) {
              s[32] = low;
              s[34] = high;
            });
        if (i + J::kStages < sums) {
          publish_to_copies();
          barrier(1, kOwners);  // all have read them
          if (thread == kFirstOwner) ask(i + J::kStages);
        }
      }
      if (last_segment) {  // and at its end
        float* const to = x.state + state_rows * G::kD + 2 * t;
        advance(
            segment,
            [&](int n, float4 four) {
              *reinterpret_cast<float2*>(to + 8 * n) = {four.x, four.y};
              *reinterpret_cast<float2*>(to + 8 * G::kD + 8 * n) = {four.z, four.w};
            },
            [&](float low, float high) {
              if (t == 0) {
                x.norm[state_rows] = low;
                x.norm[state_rows + 8] = high;
              }
            });
      }
      if (wide) store_state(starts, norm_starts);
    }
    barrier(1, kOwners);  // S' goes where sums were
    chain.template operator()<true>();
    publish_to_products();
  }
  __syncthreads();

  // ---- outputs
  if (!wide) {
    float o[kRounds][32], o_norm[kRounds][4];
    const std::uint64_t v_tile = tile_descriptor(&shared.v[chunk]), ones_tile = tile_descriptor(&shared.ones);
    products_begin();
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      const std::uint64_t state_tile = tile_descriptor(&shared.state[chunk][side + round]),
                          norm_tile = tile_descriptor(&shared.norm_state[chunk][side + round]);
#pragma unroll
      for (int step = 0; step < 4; ++step)
        warpgroup_multiply<true>(o[round], query[round][step], state_tile + step * kNextRows, step > 0);
#pragma unroll
      for (int step = 0; step < 4; ++step)
        warpgroup_multiply<true>(o[round], weights[round][step], v_tile + step * kNextRows, true);
#pragma unroll
      for (int step = 0; step < 4; ++step)
        warpgroup_multiply<false>(o_norm[round], query[round][step], norm_tile + step * kNextAlongRow,
                                  step > 0);
#pragma unroll
      for (int step = 0; step < 4; ++step)
        warpgroup_multiply<false>(o_norm[round], weights[round][step], ones_tile, true);
      products_commit();
    }
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      if (round == kRounds - 1)
        products_wait<0>();
      else
        products_wait<1>();
      const float inverse[2] = {__fdividef(1.0F, __shfl_sync(~0U, o_norm[round][0], lane & ~3) + 1e-10F),
                                __fdividef(1.0F, __shfl_sync(~0U, o_norm[round][2], lane & ~3) + 1e-10F)};
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          word_at(own + half * 1024, (g * 128 + g * 16 + t * 4) ^ n * 16) = pack_bf16(
              o[round][4 * n + 2 * half] * inverse[half], o[round][4 * n + 2 * half + 1] * inverse[half]);
      __syncwarp();
      const int token = first + static_cast<int>(block * 16 + lane / 8);
      __nv_bfloat16* to = x.o + token * x.o_stride + (head_0 + side + round) * G::kD + piece * 8;
#pragma unroll
      for (int i = 0; i < 4; ++i, to += 4 * x.o_stride)
        if (token + 4 * i < x.tokens)
          *reinterpret_cast<uint4*>(to) =
              *reinterpret_cast<const uint4*>(own + swizzled_piece(lane / 8 + 4 * i, piece));
      __syncwarp();
    }
  }
  if (wide) {
    PrefillArguments windows = x;
    windows.state = nullptr;  // the final one is there already
    __syncthreads();
    if (thread < G::kThreads) segment_work<kHeads, Form::outputs>(windows);
  }
  constexpr int kChannels = kHeads * G::kD;
  if (segment == 0 && thread < 2 * kChannels) {
    float before[kHalo];
    advance_tail(x, thread < kChannels, head_0 * G::kD + static_cast<int>(thread) % kChannels, G::kD, before);
  }
}

template <int kChunks, int kSide>
cudaError_t launch_blocks(const PrefillArguments& x, cudaStream_t stream) {
  using J = JoinedBlock<kChunks, kSide>;
  constexpr auto kernel = joined_kernel<kChunks, kSide>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, J::kBytes);
      error != cudaSuccess)
    return error;
  return launch(kernel, dim3(x.heads / kJoinedHeads, x.segments), J::kThreads, J::kBytes, false, stream, 1,
                true, x);
}

}  // namespace

cudaError_t launch_joined(const PrefillArguments& x, int chunks, cudaStream_t stream) {
  switch (chunks) {
    case 1:
      return launch_blocks<1, 2>(x, stream);
    case 2:
      return launch_blocks<2, 2>(x, stream);
    default:  // both heads side by side would leave a thread too few registers
      return launch_blocks<3, 1>(x, stream);
  }
}

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// Prefill in bf16 of D = 64, what a block does for its segment, chunk after chunk: kernels 1 and 3 of
// prefill.cu, which tells the scheme, and prefill_joined.cu's where gates need windows.
#pragma once

#include "kernels/attention/prefill_parts.cuh"

namespace lawcat::cuda {

/// Which of the three kernels it is the work of: 1 or 3.
enum class Form { sums, outputs };

template <int kHeads>
struct Dim64 {
  static constexpr int kD = 64, kF = 32, kK = 64;
  static constexpr int kWarps = 4 * kHeads, kThreads = 32 * kWarps;
  static constexpr int kWide = 72;  // stride of rows of 64 to 72: no bank conflicts of fragment loads
  static constexpr int kMapWide = 40;
  // 8 rows, and padding that puts the rows of a warp's 8 gate threads into different banks.
  static constexpr int kLogitsOf8 = 8 * 128 + 16, kFactorsOf8 = 8 * kWide + 4;

  struct Shared {
    Tile v[2];           // this chunk's and the next one's
    Tile keys[kHeads];   // k', a row per token; before that a warp's convolution in fp16
    Tile state[kHeads];  // S', a row per feature; before that a warp's convolution in fp16, after it outputs
    ColumnTile norm_state[kHeads];                      // its normaliser
    ColumnTile ones;                                    // v's
    __nv_bfloat16 q[kWarps][kHalo + kBlockTokens][kD];  // each warp's own rows
    __nv_bfloat16 k[2][kHalo + kChunk][kD];
    std::byte logits[kChunk / 8 * kLogitsOf8];  // the next chunk's, bf16
    float grow[kChunk / 8 * kFactorsOf8];       // 2^(b - b_ref), 0 outside the window
    float shrink[kChunk / 8 * kFactorsOf8];     // 2^(b_ref - b), likewise
    __half map[kHeads][kD][kMapWide];
    __half taps[2][kHeads][kConvTaps][kD];
    float row_factor[kK];  // log2 of what S is multiplied by to become S'
    float row_tail[kK];    // log2 of what is still to be multiplied after the window
    float row_before[kK];  // row_tail before this chunk
    int most_span[2];  // of a chunk, by its buffer: 0 one window does, 1 windows of 16 tokens, 2 windows of
                       // one
    std::uint64_t features_done;
  };
};

/// The work of a block.
template <int kHeads, Form kForm>
__device__ inline void segment_work(const PrefillArguments& x) {
  using G = Dim64<kHeads>;
  constexpr bool kOutputs = kForm == Form::outputs;
  extern __shared__ __align__(1024) std::byte memory[];
  typename G::Shared& shared = *reinterpret_cast<typename G::Shared*>(memory);
  // Which thread this is: its head among the block's, its block of 16 rows, its place in fragments
  // (hopper.cuh) and in tiles, its piece of 16 bytes of a row.
  unsigned thread, lane, warp, local, block, g, t, row_0, piece;
  const auto identify = [&] {
    thread = thread_index();
    lane = thread % 32;
    warp = thread / 32;
    local = warp / 4;
    block = warp % 4;
    g = lane / 4;
    t = lane % 4;
    row_0 = block * 16 + g;
    piece = lane % 8;
  };
  const auto block_rows = [&](Tile& tile) { return tile.bytes + block * 16 * 128; };
  // Of a tile, the two words of row_0 + 8 half that a fragment's tile n of 8 columns holds.
  const auto fragment = [&](Tile& tile, int n, int half) -> std::uint32_t& {
    return word_at(tile.bytes + half * 1024, (row_0 * 128 + g * 16 + t * 4) ^ n * 16);
  };
  identify();
  const int per_kv = x.heads / x.kv_heads / kHeads;
  const int kv = static_cast<int>(blockIdx.x) / per_kv, head_0 = static_cast<int>(blockIdx.x) * kHeads;
  const int segment = static_cast<int>(blockIdx.y), begin = segment * x.segment_tokens;
  const int end = min(begin + x.segment_tokens, x.tokens);

  // ---- copies
  constexpr int kRowsAtOnce = G::kThreads / 8;
  const auto load_q = [&]<bool kEdge>(int first) {  // the warp's rows first - 3 ... first + 15
    copy_rows<kHalo + kBlockTokens, 4, kEdge, 2 * G::kD>(
        x.q + (head_0 + local) * G::kD + piece * 8, x.q_stride,
        first + static_cast<int>(block) * kBlockTokens - kHalo, x.tokens, lane / 8,
        shared_address(&shared.q[warp][lane / 8][piece * 8]));
  };
  const auto load_k_and_v = [&]<bool kEdge>(int first, int buffer) {
    const unsigned row = thread / 8;
    copy_rows<kHalo + kChunk, kRowsAtOnce, kEdge, 2 * G::kD>(
        x.k + kv * G::kD + piece * 8, x.k_stride, first - kHalo, x.tokens, row,
        shared_address(&shared.k[buffer][row][piece * 8]));
    copy_rows<kChunk, kRowsAtOnce, kEdge, 128>(
        x.v + kv * G::kD + piece * 8, x.v_stride, first, x.tokens, row,
        shared_address(shared.v[buffer].bytes + swizzled_piece(row, piece)));
  };
  const auto load_logits = [&]<bool kEdge>(int first) {
    const unsigned row = thread / 8;
    copy_rows<kChunk, kRowsAtOnce, kEdge, G::kLogitsOf8 / 8>(
        x.gk + kv * G::kK + piece * 8, x.gk_stride, first, x.tokens, row,
        shared_address(shared.logits + row / 8 * G::kLogitsOf8 + row % 8 * 128 + piece * 16));
  };
  // What comes before the sequence's first token.
  const auto load_tails = [&] {
    for (int i = static_cast<int>(thread); i < kHalo * G::kD; i += G::kThreads)
      shared.k[0][i / G::kD][i % G::kD] =
          __float2bfloat16_rn(x.k_tail[(i / G::kD * x.heads + head_0) * G::kD + i % G::kD]);
    if (kOutputs && block == 0)
      for (int i = static_cast<int>(lane); i < kHalo * G::kD; i += 32)
        shared.q[warp][i / G::kD][i % G::kD] =
            __float2bfloat16_rn(x.q_tail[(i / G::kD * x.heads + head_0 + local) * G::kD + i % G::kD]);
  };

  // ---- gates: a lane has 8 tokens of one feature, a warp 4 features at a time
  constexpr int kPasses = G::kK / 4 / G::kWarps;
  float bias[kPasses], decay[kPasses] = {};  // decay: log2 of the segment's gates' product so far
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass)
    bias[pass] =
        kLog2E * (x.gate_bias ? x.gate_bias[kv * G::kK + (warp * kPasses + pass) * 4 + lane % 4] : 0.0F);
  // The factors of a window (kWhole: all) of the chunk that begins at token `first`; kFull and kMiddle as in
  // gate_pass.
  const auto make_factors = [&]<bool kWhole, bool kFull, bool kMiddle = kOutputs>(int first, int buffer,
                                                                                  Window window) {
    const std::byte* const logits = shared.logits + lane / 4 * G::kLogitsOf8;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const unsigned feature = (warp * kPasses + pass) * 4 + lane % 4;
      float at_end[1] = {};
      gate_pass<1, kWhole, kFull, kMiddle>(
          first, end, window, lane, {&shared.row_tail[feature], &shared.row_before[feature]}, at_end,
          [&](int i, int) {
            return fmaf(
                __bfloat162float(*reinterpret_cast<const __nv_bfloat16*>(logits + i * 128 + feature * 2)),
                kLog2E, bias[pass]);
          },
          [&](int i, bool inside, const float(&distance)[1]) {
            const unsigned to = lane / 4 * G::kFactorsOf8 + i * G::kWide + feature;
            if constexpr (kMiddle) shared.grow[to] = inside ? exp2_fast(distance[0]) : 0;
            shared.shrink[to] = inside ? exp2_fast(-distance[0]) : 0;
          },
          [&](int span) {
            if (lane == 0) atomicMax(&shared.most_span[buffer], span);
          },
          [&](int, float factor, float) { shared.row_factor[feature] = factor; });
      decay[pass] += at_end[0];
    }
  };

  // ---- start
  load_logits.template operator()<true>(begin);
  copy_commit();
  for (int i = static_cast<int>(thread); i < kHeads * G::kD * (G::kF / 8); i += G::kThreads) {
    const int h = i / (G::kD * (G::kF / 8)), c = i / (G::kF / 8) % G::kD, part = i % (G::kF / 8);
    copy_async(shared_address(&shared.map[h][c][part * 8]),
               x.map + (static_cast<std::size_t>(blockIdx.x * kHeads + h) * G::kD + c) * G::kF + part * 8);
  }
  for (int i = static_cast<int>(thread); i < 2 * kHeads * kConvTaps * G::kD / 8; i += G::kThreads) {
    const int which = i / (kHeads * kConvTaps * G::kD / 8), rest = i % (kHeads * kConvTaps * G::kD / 8);
    copy_async(shared_address(&shared.taps[which][0][0][0] + rest * 8),
               x.taps +
                   (static_cast<std::size_t>(which) * x.heads + blockIdx.x * kHeads) * kConvTaps * G::kD +
                   rest * 8);
  }
  if constexpr (kOutputs) load_q.template operator()<true>(begin);
  load_k_and_v.template operator()<true>(begin, 0);
  copy_commit();
  let_next_kernel_start();
  if (thread < G::kK) shared.row_tail[thread] = 0;
  if (thread < 2) shared.most_span[thread] = 0;
  if (thread == 0) split_barrier_set(&shared.features_done, G::kWarps);
  copy_wait<1>();  // the logits
  __syncthreads();
  make_factors.template operator()<true, false>(begin, 0, {kChunk, 0});
  if constexpr (kOutputs) wait_for_earlier_kernels();
  if (begin == 0) load_tails();
  const float q_scale = x.z_scale[head_0 + local] * x.tap_scale[head_0 + local];
  const float k_scale = x.z_scale[head_0 + local] * x.tap_scale[x.heads + head_0 + local];

  for (int i = static_cast<int>(thread);
       i < static_cast<int>(sizeof(shared.norm_state) + sizeof(shared.ones)) / 4; i += G::kThreads) {
    constexpr int kOnes = sizeof(shared.norm_state) / 4;  // ones comes after norm_state
    reinterpret_cast<std::uint32_t*>(shared.norm_state)[i] = i >= kOnes && i < kOnes + 32 ? 0x3f803f80U : 0;
  }

  // The warp's 16 rows of S and of its normaliser (its first column), relative to the last window's reference
  // row.
  float s[32] = {}, s_norm[4] = {};
  if constexpr (kForm == Form::outputs) {
    const std::size_t rows = (static_cast<std::size_t>(segment) * x.heads + head_0 + local) * G::kK + row_0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float* const row = x.starts + (rows + 8 * half) * G::kD + 2 * t;
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        const float2 pair = *reinterpret_cast<const float2*>(row + 8 * n);
        s[4 * n + 2 * half] = pair.x;
        s[4 * n + 2 * half + 1] = pair.y;
      }
      if (t == 0) s_norm[2 * half] = x.norm_starts[rows + 8 * half];
    }
  }
  copy_wait<0>();
  publish_to_products();
  __syncthreads();

  int window = kChunk, from = 0, buffer = 0;
  unsigned phase = 0;
  for (int first = begin; first < end;) {
    identify();
    if constexpr (kOutputs) {
      if (from == 0) {
        const int span = shared.most_span[buffer];
        window = span == 0 ? kChunk : span == 1 ? 16 : 1;
      }
      if (window != kChunk) {
        make_factors.template operator()<false, false>(first, buffer, {window, from});
        __syncthreads();
      }
    }
    const bool last_window = from + window >= kChunk;
    const int next = first + kChunk;
    const bool load_next = last_window && next < end, next_is_whole = next + kChunk <= x.tokens;
    if (load_next) {
      if (thread == 0) shared.most_span[buffer ^ 1] = 0;
      if (next_is_whole) {
        load_logits.template operator()<false>(next);
        copy_commit();
        load_k_and_v.template operator()<false>(next, buffer ^ 1);
      } else {
        load_logits.template operator()<true>(next);
        copy_commit();
        load_k_and_v.template operator()<true>(next, buffer ^ 1);
      }
    }

    // ---- features: the warp's 16 tokens of its head
    const unsigned factors = block * 2 * G::kFactorsOf8 + g * G::kWide + 2 * t;  // of the thread's first row
    // phi of the warp's 16 convolved rows as the left operand of products over the features, 16 each.
    const auto features_to = [&](std::uint32_t(&to)[4][4], const std::byte* rows, float scale,
                                 const float* factor) {
      float z[2][G::kF / 8][2];
      project<G>(rows, &shared.map[local][0][0], z, lane);
#pragma unroll
      for (int half = 0; half < 2; ++half)
        features(
            z[half], scale,
            [&](int n) { return *reinterpret_cast<const float2*>(factor + half * G::kFactorsOf8 + 8 * n); },
            [&](int n, std::uint32_t pair) { to[n / 2][n % 2 * 2 + half] = pair; });
    };
    convolve<G::kD>(&shared.k[buffer][block * 16][0], &shared.taps[1][local][0][0],
                    block_rows(shared.keys[local]), lane);
    __syncwarp();
    {
      std::uint32_t key[4][4];
      features_to(key, block_rows(shared.keys[local]), k_scale, shared.shrink + factors);
      __syncwarp();
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          fragment(shared.keys[local], n, half) = key[n / 2][n % 2 * 2 + half];
    }
    std::uint32_t query[4][4];
    if constexpr (kOutputs) {
      convolve<G::kD>(&shared.q[warp][0][0], &shared.taps[0][local][0][0], block_rows(shared.state[local]),
                      lane);
      __syncwarp();
      features_to(query, block_rows(shared.state[local]), q_scale, shared.grow + factors);
      __syncwarp();
      if (load_next && next_is_whole)
        load_q.template operator()<false>(next);
      else if (load_next)
        load_q.template operator()<true>(next);
    }
    copy_commit();
    // ---- S'
    {
      const float factor[2] = {exp2_fast(shared.row_factor[row_0]), exp2_fast(shared.row_factor[row_0 + 8])};
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float* const two = s + 4 * n + 2 * half;
          two[0] *= factor[half];
          two[1] *= factor[half];
          if constexpr (kOutputs) fragment(shared.state[local], n, half) = pack_bf16(two[0], two[1]);
        }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        s_norm[2 * half] *= factor[half];
        if (kOutputs && t == 0)
          *reinterpret_cast<__nv_bfloat16*>(shared.norm_state[local].bytes + 2 * (row_0 + 8 * half)) =
              __float2bfloat16_rn(s_norm[2 * half]);
      }
    }
    publish_to_products();
    if (load_next) {
      copy_wait<1>();  // the logits; k, v and q may be under way
      __syncwarp();
      if (lane == 0) split_barrier_arrive(&shared.features_done);
    }
    barrier(1 + local, 4 * 32);  // the head's warps

    // ---- scores and outputs of the warp's 16 tokens
    identify();
    local = __shfl_sync(~0U, local, 0);  // the same in the warp, and so the compiler sees that
    const std::uint64_t keys_tile = tile_descriptor(&shared.keys[local]),
                        state_tile = tile_descriptor(&shared.state[local]);
    const std::uint64_t norm_tile = tile_descriptor(&shared.norm_state[local]),
                        ones_tile = tile_descriptor(&shared.ones);
    const std::uint64_t v_tile = tile_descriptor(&shared.v[buffer]);
    std::uint32_t out[8][2];  // bf16, in accumulator layout
    if constexpr (kOutputs) {
      std::uint32_t weights[4][4];
      {
        float scores[32];
        products_begin();
#pragma unroll
        for (int step = 0; step < 4; ++step)
          warpgroup_multiply<false>(scores, query[step], keys_tile + step * kNextAlongRow, step > 0);
        products_commit();
        products_wait();
        mask_scores(scores, row_0, t, weights);
      }
      // Half of the columns after the other: registers are short. The normaliser with the first, so that a
      // part can be divided and rounded at once.
      constexpr int kParts = 2;
      float o_norm[4], inverse[2] = {};
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        constexpr std::uint64_t kHalfRow = 64 / 16;
        float o[32 / kParts];
        products_begin();
#pragma unroll
        for (int step = 0; step < 4; ++step)
          warpgroup_multiply<true>(o, query[step], state_tile + step * kNextRows + part * kHalfRow, step > 0);
#pragma unroll
        for (int step = 0; step < 4; ++step)
          warpgroup_multiply<true>(o, weights[step], v_tile + step * kNextRows + part * kHalfRow, true);
        if (part == 0) {
#pragma unroll
          for (int step = 0; step < 4; ++step)
            warpgroup_multiply<false>(o_norm, query[step], norm_tile + step * kNextAlongRow, step > 0);
#pragma unroll
          for (int step = 0; step < 4; ++step)
            warpgroup_multiply<false>(o_norm, weights[step], ones_tile, true);
        }
        products_commit();
        products_wait();
        if (part == 0) {
          inverse[0] = __fdividef(1.0F, __shfl_sync(~0U, o_norm[0], lane & ~3) + 1e-10F);
          inverse[1] = __fdividef(1.0F, __shfl_sync(~0U, o_norm[2], lane & ~3) + 1e-10F);
        }
#pragma unroll
        for (int n = 0; n < 8 / kParts; ++n)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            out[8 / kParts * part + n][half] =
                pack_bf16(o[4 * n + 2 * half] * inverse[half], o[4 * n + 2 * half + 1] * inverse[half]);
      }
    }
    // ---- the state, and meanwhile the next chunk's gates
    products_begin();
#pragma unroll
    for (int step = 0; step < 4; ++step) {  // to the warp's 16 rows
      warpgroup_multiply_transposed<true>(s, keys_tile + step * kNextRows, v_tile + step * kNextRows);
      warpgroup_multiply_transposed<false>(s_norm, keys_tile + step * kNextRows, ones_tile);
    }
    products_commit();
    if (load_next) {
      split_barrier_wait(&shared.features_done, phase);  // this chunk's factors are no longer read
      phase ^= 1;
      if (next + kChunk <= end)
        make_factors.template operator()<true, true>(next, buffer ^ 1, {kChunk, 0});
      else
        make_factors.template operator()<true, false>(next, buffer ^ 1, {kChunk, 0});
    }
    products_wait();
    copy_wait<0>();
    publish_to_products();
    __syncthreads();
    identify();

    const int this_first = first, this_from = from, this_window = window;
    if (last_window) {
      first = next;
      from = 0;
      buffer ^= 1;
    } else {
      from += window;
    }

    // ---- outputs to memory
    if constexpr (kOutputs) {
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) fragment(shared.state[local], n, half) = out[n][half];
      __syncwarp();
      const int row = static_cast<int>(block * 16 + lane / 8), token = this_first + row;
      __nv_bfloat16* to = x.o + token * x.o_stride + (head_0 + local) * G::kD + piece * 8;
      const bool whole = this_window == kChunk && this_first + kChunk <= end;
#pragma unroll
      for (int i = 0; i < 4; ++i, to += 4 * x.o_stride)
        if (whole ||
            (row + 4 * i >= this_from && row + 4 * i < this_from + this_window && token + 4 * i < end))
          *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(
              shared.state[local].bytes + swizzled_piece(block * 16 + lane / 8 + 4 * i, piece));
      __syncwarp();
    }
  }

  // ---- end
  __syncthreads();
  const bool final_state = segment == x.segments - 1 && x.state;
  const float tail[2] = {exp2_fast(shared.row_tail[row_0]), exp2_fast(shared.row_tail[row_0 + 8])};
  if (!kOutputs || final_state) {
    const std::size_t rows =
        (static_cast<std::size_t>(kOutputs ? 0 : segment) * x.heads + head_0 + local) * G::kK + row_0;
    float* const states = kOutputs ? x.state : x.starts;
    float* const norms = kOutputs ? x.norm : x.norm_starts;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int n = 0; n < 8; ++n)
        *reinterpret_cast<float2*>(states + (rows + 8 * half) * G::kD + 8 * n + 2 * t) =
            float2{s[4 * n + 2 * half] * tail[half], s[4 * n + 2 * half + 1] * tail[half]};
      if (t == 0) norms[rows + 8 * half] = s_norm[2 * half] * tail[half];
    }
  }
  if (!kOutputs && lane < 4 && static_cast<int>(blockIdx.x) % per_kv == 0)
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass)
      x.decays[(static_cast<std::size_t>(segment) * x.kv_heads + kv) * G::kK + (warp * kPasses + pass) * 4 +
               lane] = exp2_fast(decay[pass]);
}

}  // namespace lawcat::cuda

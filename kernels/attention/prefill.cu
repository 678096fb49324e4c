// SPDX-License-Identifier: Apache-2.0
// Prefill in bf16: a run of tokens of one sequence, chunked and sequence-parallel, convolution, feature map,
// gates and normaliser fused in.
//
// The sequence is cut into segments that run side by side, and each segment into chunks of 64 tokens:
//   1. states:  what each segment but the last adds to a zero state, and its gates' product
//   2. scan:    from these the state at each segment's start (elementwise, over the segments)
//   3. outputs: each segment from its state at the start, to its outputs; the last one leaves the final state
// The first and the third are one kernel; q and outputs are left out in the first.
//
// Where a segment is a chunk and a block has four heads (513 to 1,024 tokens of 32 heads), the three are one
// cooperative launch, `joined`: all blocks run side by side and wait for one another twice, for the sums and
// for S', which all of them scan together. So k' is made once, and q' while the others' S' is on its way.
//
// Those of D = 128 are in prefill128.cu; its states kernel may do a segment in pieces.
//
// Within a chunk, with b_i the running sum of log2 of the gates, per feature r, and a reference row `ref`:
//   q'_i = phi(q_i) 2^(b_i - b_ref),  k'_i = phi(k_i) 2^(b_ref - b_i),  S' = 2^(b_ref - b_start) S
//   o_i  = sum_{j<=i} (q'_i . k'_j) [v_j, 1] + q'_i S',   S <- 2^(b_end - b_ref) (S' + sum_j k'_j [v_j, 1]^T)
// which multiplies 2^(b_i - b_j) <= 1 out of two factors. `ref` is the middle of the chunk, so each factor
// stays within 2^(+-sum over half a chunk). Where any feature forgets more than 2^kMostSpan in half a chunk,
// the chunk is done in windows of 16 tokens, and where that is still too much in windows of one: tokens
// outside the window have k' = 0. No gate overflows, and a window of one token is the recurrence itself. The
// states kernel takes ref = end and needs none of this.
//
// Ladder, Llama-3.2-1B's shape at T = 16,384 on an H100 (copies at 3.0 TB/s), by graph replay. The last
// figure is `lawcat-sim gpu --shape llama3.2-1b --tokens 16384`; the versions before it were timed by a bench
// that was not kept. The floor, 184 MB of q, k, v, gk and o, is 61 us. Instructions are a warp's for a chunk,
// of the outputs kernel and of the states kernel (ncu). Where no prediction stands, none had been written
// down.
//   us   version
//   310  mma.sync for all products, gates' sums exchanged in shared memory. About 160 predicted, from 1,700 +
//        880 instructions: there were 2,690 + 1,130, and prefetched logits spilled
//   261  logits by asynchronous copy; k and v in two buffers; softmax scale folded into exp2. 215 predicted
//   272  scores, outputs and state by wgmma, the normaliser as a column of its own. A fifth less predicted:
//        addresses of swizzled tiles, computed anew to save registers, ate it (2,840 instructions)
//   226  unsigned indices, a swizzle is one xor, descriptors the same in a warp (2,270 + 1,050)
//   215  whole chunks copied and stored without bounds checks; kernels launched to overlap. 12 % fewer
//        instructions and 5 us less for launches predicted
//   208  a thread sums 8 tokens of a gate, so that warps exchange no sums: one block-wide barrier a chunk and
//        a split one (2,000 + 980). 185 predicted: barriers had been hidden better than thought
//   196  convolution in packed fp16, taps scaled per head. 10 us less predicted
//   193  gates of the first chunk before waiting for the scan, the scan's loads at once. Within the spread
//        here (191 to 196 from run to run); at T = 1,024 30.7 fell to 28.6, where 26.5 were predicted
//   186  exponentials tested by their sums, not each argument; no series in the gates' logarithm; no bounds
//        checks in whole chunks' gates. 171 predicted from 12 % fewer instructions; 192 to 198 before on the
//        same GPUs: instructions a cycle fell with them. Sums by mma.sync besides gained nothing
//
// Few tokens, us at T = 1,024, where the three kernels took 27.7 and cuDNN's attention takes 22.7 to 23.2; by
// a bench that was not kept, but the last figure, which was 21.2 to 21.8 by it.
//   27.9  joined, the segments of a few heads a cluster that exchanges states by shared memory. 17
//         predicted, but the GPU has no room for 16 clusters of 8 blocks of 130 kB: its groups of processors
//         are no multiples of 8. Above 256 tokens (14.4 us) it was two launches
//   26.8  sums and S' by the L2 cache, scanned by all blocks between two waits for the whole grid. 19
//         predicted. Of 22.9 us in the kernel, by clocks, 3.2 are the scan, of two rounds, and 2.8 the wait
//         behind it
//   25.6  the scan asks for 4 chunks' sums at once, not 8: fewer spilled registers
//   24.1  the scan in one round and before q'. 22.5 predicted; by clocks the scan still took 3.5
//   23.6  the cheaper exponentials and gates of above
//   20.6  the scan asks for all chunks' sums at once, their gates by way of shared memory; chunks that need
//         windows are done in a second pass, which leaves it the registers. 21.6 predicted. 18.5 at 576
// From 1,025 tokens on it is three kernels again: 34.4 at 1,280 with two chunks of four heads a block, 32.4
// with three of two, where cuDNN takes 29.1. A joined form of two chunks would have to keep q' and scores of
// both.
//
// What is left: 2.0 of 4 instructions a cycle with 4 warps a scheduler, no stall of which stands out (ncu).
#include <cooperative_groups.h>

#include <algorithm>
#include <utility>

#include "kernels/attention/prefill_parts.cuh"

namespace lawcat::cuda {
namespace {

constexpr int kMostJoinedChunks = 16;

/// What a segment_kernel is: 1 and 3 of the three above, or all of them as one.
enum class Form { sums, outputs, joined };

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

/// The work of a block; joined, whether it has yet to be done as Form::outputs from the start in x.starts.
template <int kHeads, Form kForm>
__device__ inline bool segment_work(const PrefillArguments& x) {
  using G = Dim64<kHeads>;
  constexpr bool kOutputs = kForm != Form::sums, kJoined = kForm == Form::joined;
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

  // Joined: a chunk's sums as its warps' accumulators have them, S' likewise, by four words: two columns of a
  // row and of the row 8 further; those of the normaliser last, its column alone. Of the quads of all chunks
  // that have the same place, a thread scans some. Other blocks' results are in the L2 cache.
  constexpr int kStateQuads = G::kK * G::kD / 4, kQuads = kStateQuads + G::kK / 2;  // of a head
  const auto quads_of_warp = [&](auto* quads) {
    return quads + (static_cast<std::size_t>(segment) * x.heads + head_0 + local) * kQuads + block * 256 +
           lane;
  };
  const auto norm_quad = [&](auto* quads) {  // of the lanes with t = 0
    return quads_of_warp(quads) + kStateQuads - block * (256 - 8) - (lane - g);
  };
  const auto scan = [&] {
    // The gates of all chunks, which all threads need, on their way beside the sums; k' is made, so there is
    // room.
    float(*const gates)[2][G::kK] = reinterpret_cast<float(*)[2][G::kK]>(shared.shrink);
    static_assert(sizeof(shared.shrink) >= kMostJoinedChunks * sizeof(*gates));
    for (int i = static_cast<int>(thread); i < x.segments * 2 * G::kK / 4; i += G::kThreads) {
      const int chunk = i / (2 * G::kK / 4), which = i / (G::kK / 4) % 2, part = i % (G::kK / 4) * 4;
      copy_async(shared_address(&gates[chunk][which][part]),
                 (which == 0 ? x.decays : x.to_refs) + (chunk * x.kv_heads + kv) * G::kK + part);
    }
    copy_commit();
    // Warps in turns to the blocks; with 9 chunks or more one round does.
    for (int round = 0; round * x.segments * G::kThreads < kHeads * kQuads; ++round) {
      const int item =
          ((round * G::kWarps + static_cast<int>(warp)) * x.segments + segment) * 32 + static_cast<int>(lane);
      const int quad = item % kQuads, stride = x.heads * kQuads;
      const bool any = item < kHeads * kQuads, is_norm = quad >= kStateQuads;
      const int row = is_norm ? quad % kStateQuads / 8 * 16 + quad % 8 : quad / 256 * 16 + quad / 4 % 8;
      const float4* const sums = x.sums + head_0 * kQuads + item;
      float4 sum[kMostJoinedChunks];
#pragma unroll
      for (int c = 0; c < kMostJoinedChunks; ++c)
        if (any && c < x.segments) sum[c] = __ldcg(sums + c * stride);
      const int of_state = (head_0 + item / kQuads) * G::kK + row;
      float2* const state =
          reinterpret_cast<float2*>(x.state) + of_state * (G::kD / 2) + quad / 32 % 8 * 4 + quad % 4;
      float2 low{}, high{};  // before a chunk
      if (any && !is_norm) {
        low = state[0];
        high = state[8 * G::kD / 2];
      } else if (any) {
        low.x = x.norm[of_state];
        high.x = x.norm[of_state + 8];
      }
      if (round == 0) {
        copy_wait<0>();
        __syncthreads();
      }
      uint2* const primes = x.primes + head_0 * kQuads + item;
#pragma unroll
      for (int c = 0; c < kMostJoinedChunks; ++c)
        if (any && c < x.segments) {
          const float decay[2] = {gates[c][0][row], gates[c][0][row + 8]};
          const float to_ref[2] = {gates[c][1][row], gates[c][1][row + 8]};
          primes[c * stride] = {pack_bf16(low.x * to_ref[0], low.y * to_ref[0]),
                                pack_bf16(high.x * to_ref[1], high.y * to_ref[1])};
          low = {low.x * decay[0] + sum[c].x, low.y * decay[0] + sum[c].y};
          high = {high.x * decay[1] + sum[c].z, high.y * decay[1] + sum[c].w};
        }
      if (any && !is_norm) {
        state[0] = low;
        state[8 * G::kD / 2] = high;
      } else if (any) {
        x.norm[of_state] = low.x;
        x.norm[of_state + 8] = high.x;
      }
    }
  };

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
        if constexpr (kJoined) {
          // Windows have no one S': only sums, as kernel 1 has them, then S instead.
          if (thread < G::kK) shared.row_tail[thread] = 0;
          __syncthreads();
          make_factors.template operator()<true, false, false>(first, buffer, {kChunk, 0});
        } else {
          make_factors.template operator()<false, false>(first, buffer, {window, from});
        }
        __syncthreads();
      }
    }
    const bool last_window = from + window >= kChunk;
    const int next = first + kChunk;
    const bool load_next = !kJoined && last_window && next < end, next_is_whole = next + kChunk <= x.tokens;
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
    const auto make_queries = [&] {
      convolve<G::kD>(&shared.q[warp][0][0], &shared.taps[0][local][0][0], block_rows(shared.state[local]),
                      lane);
      __syncwarp();
      features_to(query, block_rows(shared.state[local]), q_scale, shared.grow + factors);
      __syncwarp();
    };
    if constexpr (kForm == Form::outputs) {
      make_queries();
      if (load_next && next_is_whole)
        load_q.template operator()<false>(next);
      else if (load_next)
        load_q.template operator()<true>(next);
    }
    copy_commit();
    // ---- S'
    if constexpr (!kJoined) {
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
    const auto add_keys = [&] {  // to the warp's 16 rows of the state
      products_begin();
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        warpgroup_multiply_transposed<true>(s, keys_tile + step * kNextRows, v_tile + step * kNextRows);
        warpgroup_multiply_transposed<false>(s_norm, keys_tile + step * kNextRows, ones_tile);
      }
      products_commit();
    };
    cooperative_groups::grid_group::arrival_token arrived{};
    if constexpr (kJoined) {
      add_keys();
      products_wait();
      const float tail[2] = {exp2_fast(shared.row_tail[row_0]), exp2_fast(shared.row_tail[row_0 + 8])};
      float4* const quads = quads_of_warp(x.sums);
#pragma unroll
      for (int n = 0; n < 8; ++n)
        quads[32 * n] = {s[4 * n] * tail[0], s[4 * n + 1] * tail[0], s[4 * n + 2] * tail[1],
                         s[4 * n + 3] * tail[1]};
      if (t == 0) *norm_quad(x.sums) = {s_norm[0] * tail[0], 0, s_norm[2] * tail[1], 0};
      if (thread < G::kK) {
        const int at = (segment * x.kv_heads + kv) * G::kK + static_cast<int>(thread);
        x.to_refs[at] = window == kChunk ? exp2_fast(shared.row_factor[thread]) : 1;
        x.decays[at] = exp2_fast(shared.row_factor[thread] + shared.row_tail[thread]);
      }
      cooperative_groups::this_grid().sync();
      scan();
      arrived = cooperative_groups::this_grid().barrier_arrive();
      make_queries();
    }
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
      if constexpr (kJoined) {
        cooperative_groups::this_grid().barrier_wait(std::move(arrived));
        const uint2* const primes = quads_of_warp(x.primes);
        uint2 prime[8];
#pragma unroll
        for (int n = 0; n < 8; ++n) prime[n] = __ldcg(primes + 32 * n);
        const uint2 norm = t == 0 ? __ldcg(norm_quad(x.primes)) : uint2{};
        if (window != kChunk) {
          const std::size_t rows =
              (static_cast<std::size_t>(segment) * x.heads + head_0 + local) * G::kK + row_0;
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            float* const row = x.starts + (rows + 8 * half) * G::kD + 2 * t;
#pragma unroll
            for (int n = 0; n < 8; ++n)
              *reinterpret_cast<float2*>(row + 8 * n) = unpack_bf16(half == 0 ? prime[n].x : prime[n].y);
            if (t == 0) x.norm_starts[rows + 8 * half] = unpack_bf16(half == 0 ? norm.x : norm.y).x;
          }
          return true;
        }
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          fragment(shared.state[local], n, 0) = prime[n].x;
          fragment(shared.state[local], n, 1) = prime[n].y;
        }
        if (t == 0)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            *reinterpret_cast<std::uint16_t*>(shared.norm_state[local].bytes + 2 * (row_0 + 8 * half)) =
                static_cast<std::uint16_t>(half == 0 ? norm.x : norm.y);
        publish_to_products();
        barrier(1 + local, 4 * 32);
      }
      // Half of the columns after the other where registers are short; the normaliser with the first, so that
      // a part can be divided and rounded at once.
      constexpr int kParts = kJoined ? 1 : 2;
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
    if constexpr (!kJoined) {
      add_keys();
      if (load_next) {
        split_barrier_wait(&shared.features_done, phase);  // this chunk's factors are no longer read
        phase ^= 1;
        if (next + kChunk <= end)
          make_factors.template operator()<true, true>(next, buffer ^ 1, {kChunk, 0});
        else
          make_factors.template operator()<true, false>(next, buffer ^ 1, {kChunk, 0});
      }
      products_wait();
    }
    copy_wait<0>();
    publish_to_products();
    __syncthreads();
    identify();

    const int this_first = first, this_from = from, this_window = window;
    if (kJoined || last_window) {
      first = kJoined ? end : next;
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
  if constexpr (kJoined) return false;
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
  return false;
}

/// Kernels 1 and 3. Grid: (kv heads x groups of kHeads heads, segments); a warp per head and 16 tokens, and
/// per head and 16 features of the state. Joined, a segment is a chunk and all blocks run side by side.
template <int kHeads, Form kForm>
__global__ void __launch_bounds__(Dim64<kHeads>::kThreads) segment_kernel(const PrefillArguments x) {
  const bool again = segment_work<kHeads, kForm>(x);
  if constexpr (kForm == Form::joined) {
    if (again) {
      PrefillArguments windows = x;
      windows.state = nullptr;  // the scan has left the final one
      __syncthreads();
      segment_work<kHeads, Form::outputs>(windows);
    }
    constexpr int kChannels = kHeads * Dim64<kHeads>::kD;
    if (blockIdx.y == 0)
      for (int i = static_cast<int>(threadIdx.x); i < 2 * kChannels; i += Dim64<kHeads>::kThreads) {
        float before[kHalo];
        advance_tail(x, i < kChannels, static_cast<int>(blockIdx.x) * kChannels + i % kChannels,
                     Dim64<kHeads>::kD, before);
      }
  }
}

/// From the segments' sums to the states at their starts, in place, beginning with the sequence's own state;
/// and the convolution tails: a copy of the old ones for the outputs kernel, then the new ones.
__global__ void scan_kernel(const PrefillArguments x, float* old_tails, int head_dim, int features,
                            int segments) {
  let_next_kernel_start();
  if (segments > 1) wait_for_earlier_kernels();
  const int index = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int row_parts = head_dim / 4, rows = x.heads * features;
  const auto decay =
      [&](int row) {  // of segment 0; those of the next segments follow at x.kv_heads * features
        return x.decays + row / features / (x.heads / x.kv_heads) * features + row % features;
      };
  // The sums of several segments are asked for before the first is used.
  constexpr int kAtOnce = 16;
  if (index < rows * row_parts) {
    auto* const starts = reinterpret_cast<float4*>(x.starts) + index;
    const float* const factors = decay(index / row_parts);
    float4 now = reinterpret_cast<const float4*>(x.state)[index];
    int until_segment = 1;  // only where a segment starts is the state read
    for (int first = 0; first < segments; first += kAtOnce) {
      float4 sum[kAtOnce];
      float a[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i)
        if (first + i + 1 < segments) {
          sum[i] = starts[static_cast<std::size_t>(first + i) * rows * row_parts];
          a[i] = factors[(first + i) * x.kv_heads * features];
        }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i >= segments) break;
        if (--until_segment == 0) {
          starts[static_cast<std::size_t>(first + i) * rows * row_parts] = now;
          until_segment = x.pieces;
        }
        if (first + i + 1 < segments)
          now = {now.x * a[i] + sum[i].x, now.y * a[i] + sum[i].y, now.z * a[i] + sum[i].z,
                 now.w * a[i] + sum[i].w};
      }
    }
  } else if (index < rows * row_parts + rows) {
    const int row = index - rows * row_parts;
    const float* const factors = decay(row);
    float now = x.norm[row];
    for (int segment = 0; segment < segments; ++segment) {
      float& at = x.norm_starts[static_cast<std::size_t>(segment) * rows + row];
      const float start = now;
      if (segment + 1 < segments) now = now * factors[segment * x.kv_heads * features] + at;
      at = start;
    }
  } else {
    const int channels = x.heads * head_dim, at = index - rows * row_parts - rows;
    if (at >= 2 * channels) return;
    float before[kHalo];
    advance_tail(x, at < channels, at % channels, head_dim, before);
    for (int j = 0; j < kHalo; ++j)
      old_tails[(at < channels ? 0 : kHalo * channels) + j * channels + at % channels] = before[j];
  }
}

struct Plan {
  int heads_per_block, blocks, segments, segment_tokens, pieces;
  bool joined;
  /// Segments and pieces that have a state at their start.
  int starts() const { return (segments - 1) * pieces + 1; }
};

constexpr int kMostPieces = 4;
/// Of a joined block; fewer heads gained nothing.
constexpr int kJoinedHeads = 4;

int multiprocessors() {
  static const int count = [] {
    int value = 1;
    cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0);
    return value;
  }();
  return count;
}

/// Segments that fill the GPU once: blocks of D = 64 have up to four heads, those of D = 128 one.
int most_segments(const UnitShape& s) {
  return std::max(1, multiprocessors() * (s.head_dim == 64 ? 4 : 1) / s.heads);
}

/// As many segments as fill the GPU once.
Plan plan_for(const UnitShape& s, int tokens) {
  Plan plan{};
  const int chunks = (tokens + kChunk - 1) / kChunk;
  const bool small = s.head_dim == 64;
  plan.heads_per_block = !small ? 1 : s.group() % 4 == 0 ? 4 : s.group() % 2 == 0 ? 2 : 1;
  // Too few blocks of many heads for the GPU: more blocks of fewer.
  while (plan.heads_per_block > 1 && 2 * chunks * (s.heads / plan.heads_per_block) <= multiprocessors())
    plan.heads_per_block /= 2;
  const int most = std::min(most_segments(s), chunks);
  int per_segment = (chunks + most - 1) / most;
  // Three chunks of two heads take less than two of four, where there is room for their blocks.
  if (plan.heads_per_block == 4 && per_segment == 2 &&
      (chunks + 2) / 3 * (s.heads / 2) <= multiprocessors()) {
    plan.heads_per_block = 2;
    per_segment = 3;
  }
  plan.blocks = s.heads / plan.heads_per_block;
  plan.segments = (chunks + per_segment - 1) / per_segment;
  plan.segment_tokens = per_segment * kChunk;
  plan.pieces = 1;
  // All blocks wait for one another, and a thread has the sums of all chunks in registers.
  plan.joined = small && plan.heads_per_block == kJoinedHeads && per_segment == 1 &&
                chunks <= kMostJoinedChunks && plan.blocks * plan.segments <= multiprocessors();
  if (!small && plan.segments > 1) {
    // Without the last segment the GPU is not full: pieces whose number comes closer to filling it a few
    // times.
    const auto chunks_of_time = [&](int pieces) {
      constexpr int kStart = 2;  // what a block's start costs
      const int count = plan.blocks * (plan.segments - 1) * pieces;
      return (count + multiprocessors() - 1) / multiprocessors() * (per_segment / pieces + kStart);
    };
    for (int pieces = 2; pieces <= kMostPieces; ++pieces)
      if (per_segment % pieces == 0 && chunks_of_time(pieces) < chunks_of_time(plan.pieces))
        plan.pieces = pieces;
  }
  return plan;
}

struct Workspace {
  std::size_t starts, norm_starts, decays, tails, to_refs, sums, primes, size;
};

Workspace workspace_of(const UnitShape& s, int starts) {
  const auto count = static_cast<std::size_t>(starts);
  const std::size_t rows = static_cast<std::size_t>(s.heads) * s.key_features();
  const std::size_t gates = to_16_bytes(count * s.kv_heads * s.key_features() * sizeof(float));
  Workspace at{};
  at.norm_starts = to_16_bytes(count * rows * s.head_dim * sizeof(float));
  at.decays = at.norm_starts + to_16_bytes(count * rows * sizeof(float));
  at.tails = at.decays + gates;
  at.to_refs = at.tails + to_16_bytes(2 * std::size_t{kHalo} * s.heads * s.head_dim * sizeof(float));
  at.sums = at.primes = at.size = at.to_refs + gates;
  if (s.head_dim == 64) {  // by quads, with the normaliser's
    const std::size_t quads =
        std::min<std::size_t>(count, kMostJoinedChunks) * rows * (s.head_dim / 2 + 1) / 2;
    at.primes = at.sums + quads * sizeof(float4);
    at.size = at.primes + quads * sizeof(uint2);
  }
  return at;
}

template <int kHeads, Form kForm>
cudaError_t launch_form(const PrefillArguments& x, const Plan& plan, cudaStream_t stream) {
  constexpr auto kernel = segment_kernel<kHeads, kForm>;
  constexpr int bytes = sizeof(typename Dim64<kHeads>::Shared);
  const int segments = kForm == Form::sums ? plan.segments - 1 : plan.segments;
  if (segments == 0) return cudaSuccess;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
      error != cudaSuccess)
    return error;
  constexpr bool overlapping = kForm == Form::outputs, waiting = kForm == Form::joined;
  return launch(kernel, dim3(plan.blocks, segments), Dim64<kHeads>::kThreads, bytes, overlapping, stream, 1,
                waiting, x);
}

template <Form kForm>
cudaError_t launch_segments(const PrefillArguments& x, const UnitShape& shape, const Plan& plan,
                            cudaStream_t stream) {
  if (shape.head_dim == 128) return launch_segments_128(x, kForm == Form::outputs, stream);
  switch (plan.heads_per_block) {
    case 4:
      return launch_form<4, kForm>(x, plan, stream);
    case 2:
      return launch_form<2, kForm>(x, plan, stream);
    default:
      return launch_form<1, kForm>(x, plan, stream);
  }
}

}  // namespace

std::size_t bf16_prefill_workspace_bytes(const UnitShape& shape, int tokens) {
  // Fewer tokens may be cut into more segments or pieces than these.
  const int chunks = (tokens + kChunk - 1) / kChunk, pieces = shape.head_dim == 64 ? 1 : kMostPieces;
  return workspace_of(shape, std::min((most_segments(shape) - 1) * pieces + 1, chunks)).size;
}

cudaError_t bf16_prefill(const UnitShape& shape, const void* weights, void* state, const Tensors& tensors,
                         int tokens, void* workspace, cudaStream_t stream) {
  const WeightLayout weight = weight_layout(shape);
  const StateLayout at = state_layout(shape);
  const Plan plan = plan_for(shape, tokens);
  const Workspace work = workspace_of(shape, plan.starts());
  const auto* const w = static_cast<const std::byte*>(weights);
  auto* const own = static_cast<std::byte*>(state);
  auto* const scratch = static_cast<std::byte*>(workspace);
  auto* const old_tails = reinterpret_cast<float*>(scratch + work.tails);
  PrefillArguments x{.taps = reinterpret_cast<const __half*>(w + weight.scaled_taps),
                     .map = reinterpret_cast<const __half*>(w + weight.scaled_map),
                     .z_scale = reinterpret_cast<const float*>(w + weight.z_scale),
                     .tap_scale = reinterpret_cast<const float*>(w + weight.tap_scale),
                     .q_tail = reinterpret_cast<float*>(own + at.q_tail),
                     .k_tail = reinterpret_cast<float*>(own + at.k_tail),
                     .starts = reinterpret_cast<float*>(scratch),
                     .norm_starts = reinterpret_cast<float*>(scratch + work.norm_starts),
                     .decays = reinterpret_cast<float*>(scratch + work.decays),
                     .to_refs = reinterpret_cast<float*>(scratch + work.to_refs),
                     .sums = reinterpret_cast<float4*>(scratch + work.sums),
                     .primes = reinterpret_cast<uint2*>(scratch + work.primes),
                     .state = reinterpret_cast<float*>(own + at.state),
                     .norm = reinterpret_cast<float*>(own + at.normaliser),
                     .heads = shape.heads,
                     .kv_heads = shape.kv_heads,
                     .tokens = tokens,
                     .segments = plan.segments,
                     .segment_tokens = plan.segment_tokens,
                     .pieces = plan.pieces};
  take_tensors(x, tensors);
  if (plan.joined) {
    const cudaError_t error = launch_form<kJoinedHeads, Form::joined>(x, plan, stream);
    if (error != cudaErrorCooperativeLaunchTooLarge) return error;
    cudaGetLastError();  // some of the GPU is not ours: the kernels below need not run side by side
  }
  if (const cudaError_t error = launch_segments<Form::sums>(x, shape, plan, stream); error != cudaSuccess)
    return error;
  const int rows = shape.heads * shape.key_features();
  const int threads = rows * shape.head_dim / 4 + rows + 2 * shape.heads * shape.head_dim;
  if (const cudaError_t error =
          launch(scan_kernel, dim3((threads + 127) / 128), 128, 0, plan.segments > 1, stream, 1, false, x,
                 old_tails, shape.head_dim, shape.key_features(), plan.starts());
      error != cudaSuccess)
    return error;
  x.q_tail = old_tails;
  x.k_tail = old_tails + std::size_t{kHalo} * shape.heads * shape.head_dim;
  return launch_segments<Form::outputs>(x, shape, plan, stream);
}

}  // namespace lawcat::cuda

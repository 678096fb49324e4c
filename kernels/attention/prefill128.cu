// SPDX-License-Identifier: Apache-2.0
// Prefill's segment kernels for D = 128 (prefill.cu tells the scheme). A block has one head, and each of its
// four warpgroups a part of the work, chunk after chunk; what one makes for another goes through shared
// memory in two stages, so that convolution and exponentials of one chunk run beside the matrix products of
// an earlier one:
//   gates     distances b - b_ref, of all tokens and features, and the factors of S
//   queries   q': convolution, feature map
//   keys      k': likewise
//   products  scores, outputs and S
// A step is a chunk, or a window of one where its gates are wide; such a chunk's first step is an empty one.
// Where the number of heads to a kv head is even, two blocks are a cluster: gates are those of the kv head,
// and each makes half of them, for both.
//
// S is held transposed, a row per column of the values: its accumulators are then the left operand of
// o^T = S'^T q'^T + v^T w^T (w the masked scores), and S' needs no place in shared memory.
//
// Ladder, Mistral-7B's shape at T = 16,384 on an H100, all three kernels, by graph replay, by
// `lawcat-sim gpu --shape mistral-7b --tokens 16384`; from 470 on by a bench that was not kept, where the
// version before took 487 to 523 on several H100s. The floor, 369 MB of q, k, v, gk and o, is 122 us; 400 us
// were aimed at.
//   us    version
//   1187  roles in a pipeline, feature map by mma.sync
//    553  feature map by wgmma; gates shared by the two heads of a cluster, stored into each other's memory
//         asynchronously; two warpgroups make keys in the states kernel
//    485  gates of two features at once, q' and k' stored by halves
//    470  the scan writes only the states that are read (38 to 19 us); loops rolled, since 1.7 of 8.8 cycles
//         between two instructions of a warp were misses of the instruction cache (0.3 now, and yet the
//         outputs kernel only fell from 331 to 324 us)
//    457  outputs are stored by whole rows of 64 columns, not by a warp's 16. 18 us less predicted
// What is left: states 148, scan 19, outputs 306 us. The outputs kernel is bound by the data pipe of loads
// and stores, at 70 % of its peak by ncu before the last version, which predicted that version's gain: of
// 6,700 wavefronts for a chunk of a head 770 were the outputs' and the logits' accesses of 32 bytes a row.
// Tried and not kept: scores and normalisers by the gates' warpgroup, a step behind (469 for 471; 80 us less
// predicted from the products' warpgroup being the one that never waits); besides, the convolution in place,
// by registers to the feature map, before a stage is free (500); gates of four features at once (540:
// prefetched logits are spilled); logits 8 bytes a lane (525: waits for them); 224 registers for products and
// 96 for the others (535); sums of exponentials by mma.sync with these (540).
#include "kernels/attention/prefill_parts.cuh"

namespace lawcat::cuda {
namespace {

constexpr int kStages = 2;
constexpr int kRecords =
    2 * kStages;             // the products are at most kStages steps behind the keys, these behind the gates
constexpr int kGroup = 128;  // threads of a warpgroup
constexpr int kThreads = 4 * kGroup;
enum Role : unsigned { kQueries, kKeys, kGates, kProducts };
// Registers of a thread: S is 128 of the products'.
constexpr int kProductRegisters = 240, kOtherRegisters = 88;
enum : int { kProductsBarrier = 1, kQueriesBarrier, kKeysBarrier };  // barrier numbers

struct Dim128 {
  static constexpr int kD = 128, kF = 64, kK = 128;
};
using G = Dim128;

struct Shared {
  Tile queries[kStages][2],
      keys[kStages][2];  // q', k': a row per token; before that a warp's convolution in fp16
  Tile v[2];
  Tile map[2];                                             // fp16, a row per channel
  Tile weights;                                            // w
  Tile out;                                                // outputs on their way, 64 columns of them
  ColumnTile norm_state[2];                                // S's normaliser
  ColumnTile ones;                                         // v's
  float distances[kStages][kChunk][G::kK];                 // see distance_at; outside the window +infinity
  __nv_bfloat16 input[2][4][kHalo + kBlockTokens][G::kD];  // of q and of k, each warp's own rows
  float bias[G::kK];
  __half taps[2][kConvTaps][G::kD];
  float row_factor[kRecords][G::kK];  // what S is multiplied by to become S'
  float row_tail[G::kK];              // log2 of what is still to be multiplied after the window
  float row_before[G::kK];            // row_tail before this chunk
  float inverse[kChunk];              // one over the normalisers of the chunk's outputs
  float row_end[G::kK];               // 2^row_tail of the last step
  int window[kRecords];               // size
  float spans[2][2 * 4];  // of every other chunk: what each of the cluster's gate warps asks for (gate_pass)
  std::uint64_t distances_full[kStages], distances_free[kStages];
  std::uint64_t spans_full;
  std::uint64_t record_full[kRecords];  // for the products, who may be too late to tell a stage's step from
                                        // the next one's
  std::uint64_t queries_full[kStages], keys_full[kStages], features_free[kStages];
};

static_assert(sizeof(Shared) <= 227 * 1024);

/// Index of a row's distance of a feature (even, as pairs are read and written): features are swapped by
/// groups of 8, so that neither the rows of a fragment nor those 8 apart share their banks. With x known to
/// the compiler, distance_at(row, feature ^ 8 x) is distance_at(row, feature) ^ 8 x for x < 4, and so is
/// distance_at(row ^ x, feature) plus that many rows.
__device__ inline unsigned distance_at(unsigned row, unsigned feature) {
  return row * G::kK + (feature ^ ((row ^ row / 8) & 3) * 8);
}

/// Where a warpgroup is: a step's window in its chunk. All of them see the same steps.
struct Step {
  unsigned number = 0;
  int first, from = 0, size = kChunk;
  __device__ unsigned stage() const { return number % kStages; }
  __device__ unsigned parity() const { return number / kStages % 2; }
  __device__ unsigned record() const { return number % kRecords; }
  __device__ unsigned record_parity() const { return number / kRecords % 2; }
  __device__ bool last_of_chunk() const { return from + size >= kChunk; }
  __device__ void next() {
    ++number;
    if (last_of_chunk()) {
      first += kChunk;
      from = 0;
      size = kChunk;
    } else {
      from += size;
    }
  }
};

template <bool kOutputs, int kBlocks>
struct Segment {
  static constexpr int kGateWarps = 4;
  // The states kernel has no queries: their warpgroup makes every other step's keys.
  static constexpr int kKeyGroups = kOutputs ? 1 : 2;

  const PrefillArguments& x;
  Shared& shared;
  int head, kv, segment, begin, end;
  unsigned rank;              // in the cluster
  std::uint32_t peer_offset;  // from an address in shared memory to the same one in the other block

  /// Stores in both blocks; in the other it counts for its `barrier`.
  template <class Value>
  __device__ void store_in_cluster(Value* to, Value value, std::uint64_t* barrier) const {
    *to = value;
    if constexpr (kBlocks > 1)
      store_in_peer(shared_address(to) + peer_offset, value, shared_address(barrier) + peer_offset);
  }
  /// The warp's stores are done for those who wait; the other block's warp stores as much here as this one
  /// has stored there, `bytes`.
  __device__ void arrive_after_stores(std::uint64_t* barrier, unsigned bytes, unsigned lane) const {
    if (kBlocks > 1 && lane == 0)
      split_barrier_arrive(barrier, bytes);
    else
      split_barrier_arrive(barrier);
  }

  __device__ void gates(unsigned gate_warp) {
    constexpr unsigned kPasses =
        G::kK / 8 / kGateWarps / kBlocks;  // of 8 features, a lane two neighbours of them
    gate_warp += rank * kGateWarps;
    const unsigned lane = thread_index() % 32, group = lane / 4,
                   feature_0 = gate_warp * kPasses * 8 + lane % 4 * 2;
    const auto load_logits = [&](unsigned pass, int chunk, std::uint32_t(&to)[kGateTokens]) {
      const int token = chunk + static_cast<int>(group) * kGateTokens;
      const __nv_bfloat16* from = x.gk + kv * G::kK + feature_0 + pass * 8 + token * x.gk_stride;
#pragma unroll
      for (int i = 0; i < kGateTokens; ++i, from += x.gk_stride)
        to[i] = token + i < x.tokens ? *reinterpret_cast<const std::uint32_t*>(from) : 0U;
    };
    std::uint32_t logits[kGateTokens], next_logits[kGateTokens];
    float decay[kPasses][2] = {};  // log2 of the segment's gates' product so far
    Step step{.first = begin};
    int span = 0;
    const auto pass_of = [&]<bool kWhole, bool kFull>(unsigned pass,
                                                      const std::uint32_t(&logits)[kGateTokens]) {
      const unsigned feature = feature_0 + pass * 8;
      float* const distances = &shared.distances[step.stage()][0][0];
      std::uint64_t* const record_full = &shared.record_full[step.record()];
      const unsigned to = distance_at(group * kGateTokens, feature);
      const float2 bias = *reinterpret_cast<const float2*>(&shared.bias[feature]);
      float at_end[2] = {};
      gate_pass<2, kWhole, kFull, kOutputs>(
          step.first, end, {step.size, step.from}, lane,
          {&shared.row_tail[feature], &shared.row_before[feature]}, at_end,
          [&](int i, int f) {
            const float2 pair = unpack_bf16(logits[i]);
            return f == 0 ? fmaf(pair.x, kLog2E, bias.x) : fmaf(pair.y, kLog2E, bias.y);
          },
          [&](int i, bool inside, const float(&distance)[2]) {
            store_in_cluster(reinterpret_cast<float2*>(distances + (to ^ i % 4 * 8) + i * G::kK),
                             inside ? float2{distance[0], distance[1]} : float2{INFINITY, INFINITY},
                             &shared.distances_full[step.stage()]);
          },
          [&](int wide) { span = max(span, wide); },
          [&](int f, float factor, float after) {
            store_in_cluster(&shared.row_factor[step.record()][feature + f], exp2_fast(factor), record_full);
            store_in_cluster(&shared.row_end[feature + f], exp2_fast(after), record_full);
          });
      return float2{at_end[0], at_end[1]};
    };
    const auto publish = [&] {
      if (gate_warp % kGateWarps == 0 && lane == 0) shared.window[step.record()] = step.size;
      arrive_after_stores(&shared.distances_full[step.stage()], kPasses * 8 * kChunk * sizeof(float), lane);
      arrive_after_stores(&shared.record_full[step.record()], kPasses * 8 * 2 * sizeof(float), lane);
      step.next();
    };
    load_logits(0, begin, next_logits);
    while (step.first < end) {
      const int first = step.first, next = first + kChunk;
      split_barrier_wait(&shared.distances_free[step.stage()], step.parity() ^ 1);
      span = 0;
#pragma unroll 1
      for (unsigned pass = 0; pass < kPasses; ++pass) {
#pragma unroll
        for (int i = 0; i < kGateTokens; ++i) logits[i] = next_logits[i];
        load_logits(pass + 1 < kPasses ? pass + 1 : 0, pass + 1 < kPasses ? first : next, next_logits);
        const float2 at_end = next <= end ? pass_of.template operator()<true, true>(pass, logits)
                                          : pass_of.template operator()<true, false>(pass, logits);
        if constexpr (!kOutputs)
#pragma unroll
          for (unsigned p = 0; p < kPasses; ++p)
            if (p == pass) {
              decay[p][0] += at_end.x;
              decay[p][1] += at_end.y;
            }
      }
      int most_span = 0;
      if constexpr (kOutputs) {
        const unsigned chunk = static_cast<unsigned>(first - begin) / kChunk;
        float(&spans)[2 * kGateWarps] = shared.spans[chunk % 2];
        if (lane == 0) store_in_cluster(&spans[gate_warp], static_cast<float>(span), &shared.spans_full);
        arrive_after_stores(&shared.spans_full, sizeof(float), lane);
        split_barrier_wait(&shared.spans_full, chunk % 2);
        const float any = lane < kGateWarps * kBlocks ? spans[lane] : 0;
        most_span = __any_sync(~0U, any > 1) ? 2 : __any_sync(~0U, any > 0) ? 1 : 0;
      }
      if (most_span > 0) {
        step.size = 0;
        publish();
        step.size = most_span > 1 ? 1 : 16;
        while (step.first == first) {
          split_barrier_wait(&shared.distances_free[step.stage()], step.parity() ^ 1);
#pragma unroll 1
          for (unsigned pass = 0; pass < kPasses; ++pass) {
            load_logits(pass, first, logits);
            pass_of.template operator()<false, false>(pass, logits);
          }
          publish();
        }
      } else {
        publish();
      }
    }
    if (!kOutputs && group == 0 && head % (x.heads / x.kv_heads) < kBlocks)
#pragma unroll
      for (unsigned pass = 0; pass < kPasses; ++pass)
        *reinterpret_cast<float2*>(x.decays + (static_cast<std::size_t>(segment) * x.kv_heads + kv) * G::kK +
                                   feature_0 +
                                   pass * 8) = {exp2_fast(decay[pass][0]), exp2_fast(decay[pass][1])};
  }

  /// q' (kQuery) or k', a warp 16 tokens.
  template <bool kQuery, int kTurn = 0>
  __device__ void features_of() {
    constexpr int kBarrier = kQuery ? kQueriesBarrier : kKeysBarrier + kTurn;
    const unsigned warp = thread_index() / 32 % 4;
    const int input_head = kQuery ? head : kv;
    const __nv_bfloat16* const input = (kQuery ? x.q : x.k) + input_head * G::kD;
    const std::int64_t stride = kQuery ? x.q_stride : x.k_stride;
    __nv_bfloat16(&rows)[kHalo + kBlockTokens][G::kD] = shared.input[kQuery || kTurn > 0 ? 0 : 1][warp];
    const auto load = [&]<bool kEdge>(int first) {
      const unsigned lane = thread_index() % 32, piece = lane % 16;
      copy_rows<kHalo + kBlockTokens, 2, kEdge, 2 * G::kD>(
          input + piece * 8, stride, first + static_cast<int>(warp) * kBlockTokens - kHalo, x.tokens,
          lane / 16, shared_address(&rows[lane / 16][piece * 8]));
      copy_commit();
    };
    load.template operator()<true>(begin + kTurn * kChunk);
    if (kTurn == 0 && begin == 0 && warp == 0)  // what comes before the sequence's first token
      for (unsigned i = thread_index() % 32; i < kHalo * G::kD; i += 32)
        rows[i / G::kD][i % G::kD] = __float2bfloat16_rn(
            (kQuery ? x.q_tail : x.k_tail)[(i / G::kD * x.heads + head) * G::kD + i % G::kD]);
    const float scale = x.z_scale[head] * x.tap_scale[(kQuery ? 0 : x.heads) + head];
    copy_wait<0>();
    __syncwarp();
    for (Step step{.first = begin}; step.first < end; step.next()) {
      if (kKeyGroups > 1 && step.number % kKeyGroups != kTurn) continue;
      const unsigned lane = thread_index() % 32, stage = step.stage();
      if (step.from == 0) {
        copy_wait<0>();
        __syncwarp();
      }
      split_barrier_wait(&shared.features_free[stage], step.parity() ^ 1);
      std::byte* const to =
          (kQuery ? shared.queries : shared.keys)[stage][0].bytes + warp * kBlockTokens * 128;
#pragma unroll 1  // the roles' code together is more than the instruction cache likes
      for (int c = 0; c < 2; ++c)
        convolve<G::kD>(&rows[0][64 * c], &shared.taps[kQuery ? 0 : 1][0][64 * c], to + c * kTileBytes, lane);
      __syncwarp();
      publish_to_products();
      barrier(kBarrier, kGroup);
      float z[G::kF / 2];
      const std::uint64_t input_tile = tile_descriptor(&(kQuery ? shared.queries : shared.keys)[stage]);
      const std::uint64_t map_tile = tile_descriptor(&shared.map);
      products_begin();
#pragma unroll
      for (int i = 0; i < G::kD / 16; ++i)
        warpgroup_multiply_fp16<true>(z, input_tile + i / 4 * kNextTile + i % 4 * kNextAlongRow,
                                      map_tile + i * kNextRows, i > 0);
      products_commit();
      products_wait();
      barrier(kBarrier, kGroup);  // all have read their products' operands
      split_barrier_wait(&shared.distances_full[stage], step.parity());
      if (step.from == 0) step.size = shared.window[step.record()];
      if (step.size > 0) {
        if (const int next = step.first + kKeyGroups * kChunk; step.last_of_chunk() && next < end) {
          if (next + kChunk <= x.tokens)
            load.template operator()<false>(next);
          else
            load.template operator()<true>(next);
        }
        const float* const distances = &shared.distances[stage][0][0];
        const unsigned at = distance_at(warp * kBlockTokens + lane / 4, lane % 4 * 2);
        std::uint32_t words[2][4];  // of four neighbouring tiles of either softmax
        const unsigned row_at = swizzled_piece(lane % 8, lane / 8);
        float z_row[G::kF / 8][2];
#pragma unroll
        for (int i = 0; i < G::kF / 4; ++i) z_row[i / 2][i % 2] = z[i / 2 * 4 + i % 2];
#pragma unroll 1
        for (int half = 0; half < 2; ++half) {
          features(
              z_row, scale,
              [&](int n) {  // the row 8 further is swapped differently
                const float2 distance = *reinterpret_cast<const float2*>(
                    distances + (at ^ half * 8 ^ n % 4 * 8) + half * 8 * G::kK + n / 4 * 32);
                return kQuery ? float2{exp2_fast(distance.x), exp2_fast(distance.y)}
                              : float2{exp2_fast(-distance.x), exp2_fast(-distance.y)};
              },
              [&](int n, std::uint32_t pair) {
                words[n / 8][n % 4] = pair;
                if (n % 4 == 3)
                  store_matrices(words[n / 8],
                                 to + n / 8 * kTileBytes + half * 1024 + (row_at ^ n % 8 / 4 * 64));
              });
#pragma unroll
          for (int i = 0; i < G::kF / 4; ++i) z_row[i / 2][i % 2] = z[i / 2 * 4 + 2 + i % 2];
        }
        publish_to_products();
      }
      split_barrier_arrive(&(kQuery ? shared.queries_full : shared.keys_full)[stage]);
      split_barrier_arrive(&shared.distances_free[stage]);
      if constexpr (kBlocks > 1)
        split_barrier_arrive_in_peer(shared_address(&shared.distances_free[stage]) + peer_offset);
    }
  }

  __device__ void products() {
    // Of a thread: its rows of S^T are columns row_0 + 64 c + 8 half of the values, its columns features
    // 64 h + 8 n + 2 t and the next: s[c][h][4 n + 2 half].
    const unsigned warp = thread_index() / 32 % 4, lane = thread_index() % 32, g = lane / 4, t = lane % 4;
    const unsigned row_0 = warp * 16 + g;
    const auto load_v = [&](int first) {
      const unsigned thread = thread_index() % kGroup, row = thread / 8, piece = thread % 8;
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const __nv_bfloat16* const from = x.v + kv * G::kD + c * 64 + piece * 8;
        const std::uint32_t to = shared_address(shared.v[c].bytes + swizzled_piece(row, piece));
        if (first + kChunk <= x.tokens)
          copy_rows<kChunk, kGroup / 8, false, 128>(from, x.v_stride, first, x.tokens, row, to);
        else
          copy_rows<kChunk, kGroup / 8, true, 128>(from, x.v_stride, first, x.tokens, row, to);
      }
      copy_commit();
    };
    load_v(begin);
    float s[2][2][32] = {},
          s_norm[2][4] = {};  // of s_norm the first column, a row per feature row_0 + 64 h + 8 half
    // Applies `each` to S and `norm` to its normaliser, with where these lie in a state block.
    const auto for_state = [&](std::size_t state, const auto& each, const auto& norm) {
      const std::size_t rows = state * G::kK;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int i = 0; i < 32; ++i) {
          const unsigned feature = h * 64 + i / 4 * 8 + 2 * t + i % 2;
#pragma unroll
          for (int c = 0; c < 2; ++c)
            each(s[c][h][i], (rows + feature) * G::kD + c * 64 + row_0 + i % 4 / 2 * 8, feature);
        }
        if (t == 0)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            norm(s_norm[h][2 * half], rows + h * 64 + row_0 + 8 * half, h * 64 + row_0 + 8 * half);
      }
    };
    if constexpr (kOutputs)
      for_state(
          static_cast<std::size_t>(segment) * x.pieces * x.heads + head,
          [&](float& to, std::size_t at, unsigned) { to = x.starts[at]; },
          [&](float& to, std::size_t at, unsigned) { to = x.norm_starts[at]; });

    const std::uint64_t ones_tile = tile_descriptor(&shared.ones),
                        norm_tile = tile_descriptor(&shared.norm_state);
    const std::uint64_t v_tile = tile_descriptor(&shared.v), weights_tile = tile_descriptor(&shared.weights);
    constexpr std::uint64_t kNextColumnTile = sizeof(ColumnTile) / 16;
    const auto tiles_step = [](int i) { return i / 4 * kNextTile + i % 4 * kNextAlongRow; };
    Step step{.first = begin};
    for (; step.first < end; step.next()) {
      const unsigned stage = step.stage();
      split_barrier_wait(&shared.record_full[step.record()], step.record_parity());
      if (step.from == 0) step.size = shared.window[step.record()];
      if (kOutputs && step.size == 0) {
        split_barrier_wait(&shared.keys_full[stage], step.parity());
        split_barrier_wait(&shared.queries_full[stage], step.parity());
        split_barrier_arrive(&shared.features_free[stage]);
        continue;
      }
      // ---- S'
      const float* const factors = shared.row_factor[step.record()];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          const float2 factor = *reinterpret_cast<const float2*>(factors + h * 64 + n * 8 + 2 * t);
#pragma unroll
          for (int c = 0; c < 2; ++c)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              s[c][h][4 * n + 2 * half] *= factor.x;
              s[c][h][4 * n + 2 * half + 1] *= factor.y;
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float& norm = s_norm[h][2 * half];
          norm *= factors[h * 64 + row_0 + 8 * half];
          if (kOutputs && t == 0)
            *reinterpret_cast<__nv_bfloat16*>(shared.norm_state[h].bytes + 2 * (row_0 + 8 * half)) =
                __float2bfloat16_rn(norm);
        }
      }
      split_barrier_wait(&shared.keys_full[stage], step.parity());
      if constexpr (kOutputs) split_barrier_wait(&shared.queries_full[stage], step.parity());
      const std::uint64_t keys_tile = tile_descriptor(&shared.keys[stage]);
      const std::uint64_t keys_pair = tile_pair_descriptor(&shared.keys[stage]);
      const std::uint64_t queries_tile = tile_descriptor(&shared.queries[stage]);

      if constexpr (kOutputs) {
        float scores[32];
        products_begin();
#pragma unroll
        for (int i = 0; i < 8; ++i)
          warpgroup_multiply<false>(scores, queries_tile + tiles_step(i), keys_tile + tiles_step(i), i > 0);
        products_commit();
        products_wait();
        const unsigned from = swizzled_piece(warp * 16 + lane % 16, lane / 16);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          std::uint32_t weights[4];
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const unsigned column = 16 * i + e / 2 * 8 + 2 * t, row = row_0 + e % 2 * 8;
            const float* const two = scores + 8 * i + e / 2 * 4 + e % 2 * 2;
            weights[e] = pack_bf16(column <= row ? two[0] : 0.0F, column < row ? two[1] : 0.0F);
          }
          store_matrices(weights, shared.weights.bytes + (from ^ 2 * i * 16));
        }
      }
      copy_wait<0>();
      publish_to_products();
      barrier(kProductsBarrier, kGroup);

      const auto add_keys = [&] {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int c = 0; c < 2; ++c)
            warpgroup_multiply_transposed(s[c][0], s[c][1], v_tile + c * kNextTile + i * kNextRows,
                                          keys_pair + i * kNextRows);
#pragma unroll
          for (int h = 0; h < 2; ++h)
            warpgroup_multiply_transposed<false>(s_norm[h], keys_tile + h * kNextTile + i * kNextRows,
                                                 ones_tile);
        }
      };
      if constexpr (kOutputs) {
        float o_norm[4];
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          float o[32];
          std::uint32_t a[8][4];
#pragma unroll
          for (int i = 0; i < 8; ++i)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              const float* const two = s[c][i / 4] + i % 4 * 8 + e / 2 * 4 + e % 2 * 2;
              a[i][e] = pack_bf16(two[0], two[1]);
            }
          products_begin();
#pragma unroll
          for (int i = 0; i < 8; ++i) warpgroup_multiply<false>(o, a[i], queries_tile + tiles_step(i), i > 0);
#pragma unroll
          for (int i = 0; i < 4; ++i)
            warpgroup_multiply_transposed<false>(o, v_tile + c * kNextTile + i * kNextRows,
                                                 weights_tile + i * kNextAlongRow);
          if (c == 0) {
#pragma unroll
            for (int i = 0; i < 8; ++i)
              warpgroup_multiply<false>(o_norm, queries_tile + tiles_step(i),
                                        norm_tile + i / 4 * kNextColumnTile + i % 4 * kNextAlongRow, i > 0);
#pragma unroll
            for (int i = 0; i < 4; ++i)
              warpgroup_multiply<false>(o_norm, weights_tile + i * kNextAlongRow, ones_tile, true);
          }
          products_commit();
          if (c == 0) {
            products_wait();
            if (t == 0) {
              shared.inverse[row_0] = __fdividef(1.0F, o_norm[0] + 1e-10F);
              shared.inverse[row_0 + 8] = __fdividef(1.0F, o_norm[2] + 1e-10F);
            }
            barrier(kProductsBarrier, kGroup);
          } else {
            add_keys();
            products_commit();
            products_wait<1>();
          }
          // 64 columns of the outputs, turned; rows are stored whole.
          if (c > 0) barrier(kProductsBarrier, kGroup);  // the first 64 are stored
          const unsigned to = swizzled_piece(lane / 16 * 8 + lane % 8, warp * 2 + lane / 8 % 2);
#pragma unroll
          for (int n = 0; n < 8; n += 2) {
            std::uint32_t out[4];
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              const float2 inverse =
                  *reinterpret_cast<const float2*>(shared.inverse + (n + e / 2) * 8 + 2 * t);
              const float* const two = o + 4 * (n + e / 2) + 2 * (e % 2);
              out[e] = pack_bf16(two[0] * inverse.x, two[1] * inverse.y);
            }
            store_matrices_transposed(out, shared.out.bytes + n * 1024 + to);
          }
          barrier(kProductsBarrier, kGroup);
          const int row = static_cast<int>(warp * 16 + lane / 8);
          __nv_bfloat16* at = x.o + (step.first + row) * x.o_stride + head * G::kD + c * 64 + lane % 8 * 8;
          const bool whole = step.size == kChunk && step.first + kChunk <= end;
#pragma unroll
          for (int i = 0; i < 16; i += 4, at += 4 * x.o_stride)
            if (whole ||
                (row + i >= step.from && row + i < step.from + step.size && step.first + row + i < end))
              *reinterpret_cast<uint4*>(at) = *reinterpret_cast<const uint4*>(
                  shared.out.bytes + swizzled_piece(warp * 16 + lane / 8 + i, lane % 8));
        }
      } else {
        products_begin();
        add_keys();
        products_commit();
      }
      products_wait();
      split_barrier_arrive(&shared.features_free[stage]);
      barrier(kProductsBarrier, kGroup);
      if (step.last_of_chunk() && step.first + kChunk < end) load_v(step.first + kChunk);
    }

    if (!kOutputs || segment == x.segments - 1) {
      float* const states = kOutputs ? x.state : x.starts;
      float* const norms = kOutputs ? x.norm : x.norm_starts;
      for_state(
          static_cast<std::size_t>(kOutputs ? 0 : segment) * x.heads + head,
          [&](float value, std::size_t at, unsigned feature) {
            states[at] = value * shared.row_end[feature];
          },
          [&](float value, std::size_t at, unsigned feature) {
            norms[at] = value * shared.row_end[feature];
          });
    }
  }
};

/// Kernels 1 (kOutputs false) and 3. Grid: (heads, segments; of kernel 1 their pieces).
template <bool kOutputs, int kBlocks>
__global__ void __launch_bounds__(kThreads, 1) segment_kernel_128(const PrefillArguments x) {
  extern __shared__ __align__(1024) std::byte memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const unsigned thread = threadIdx.x;
  const int head = static_cast<int>(blockIdx.x), segment = static_cast<int>(blockIdx.y);
  const int tokens = kOutputs ? x.segment_tokens : x.segment_tokens / x.pieces, begin = segment * tokens;
  using Work = Segment<kOutputs, kBlocks>;
  const unsigned rank = kBlocks > 1 ? cluster_rank() : 0;
  Work work{x,
            shared,
            head,
            head / (x.heads / x.kv_heads),
            segment,
            begin,
            min(begin + tokens, x.tokens),
            rank,
            peer_address(shared_address(memory), kBlocks - 1 - rank) - shared_address(memory)};

  for (unsigned i = thread; i < G::kD * G::kF / 8; i += kThreads) {
    const unsigned c = i / (G::kF / 8), part = i % (G::kF / 8);
    copy_async(shared_address(shared.map[0].bytes + swizzled_piece(c, part)),
               x.map + (static_cast<std::size_t>(head) * G::kD + c) * G::kF + part * 8);
  }
  if (thread < 2 * kConvTaps * G::kD / 8) {
    const unsigned which = thread / (kConvTaps * G::kD / 8), part = thread % (kConvTaps * G::kD / 8);
    copy_async(shared_address(&shared.taps[which][0][0] + part * 8),
               x.taps + (static_cast<std::size_t>(which) * x.heads + head) * kConvTaps * G::kD + part * 8);
  }
  copy_commit();
  if (thread < G::kK) {
    shared.row_tail[thread] = 0;
    shared.bias[thread] = kLog2E * (x.gate_bias ? x.gate_bias[work.kv * G::kK + thread] : 0.0F);
  }
  constexpr unsigned kOnes = sizeof(shared.norm_state) / 4;  // ones comes after norm_state
  for (unsigned i = thread; i < kOnes + sizeof(shared.ones) / 4; i += kThreads)
    reinterpret_cast<std::uint32_t*>(shared.norm_state)[i] = i >= kOnes && i < kOnes + 32 ? 0x3f803f80U : 0;
  constexpr int kGateArrivals = Work::kGateWarps * 32;
  if (thread < kRecords) split_barrier_set(&shared.record_full[thread], kGateArrivals);
  if (thread == 0) split_barrier_set(&shared.spans_full, kGateArrivals);
  if (thread < kStages) {
    split_barrier_set(&shared.distances_full[thread], kGateArrivals);
    split_barrier_set(&shared.distances_free[thread], (kOutputs ? 2 : 1) * kGroup * kBlocks);
    split_barrier_set(&shared.queries_full[thread], kGroup);
    split_barrier_set(&shared.keys_full[thread], kGroup);
    split_barrier_set(&shared.features_free[thread], kGroup);
  }
  let_next_kernel_start();
  copy_wait<0>();
  publish_to_products();
  cluster_barrier();

  const unsigned role = __shfl_sync(~0U, thread / kGroup, 0);
  if (role == kProducts) {
    take_registers<kProductRegisters>();
    work.products();
  } else if (role == kKeys) {
    give_registers<kOtherRegisters>();
    work.template features_of<false>();
  } else if (role == kQueries) {
    give_registers<kOtherRegisters>();
    if constexpr (kOutputs)
      work.template features_of<true>();
    else
      work.template features_of<false, 1>();
  } else {
    give_registers<kOtherRegisters>();
    work.gates(thread / 32 % 4);
  }
  __syncwarp();
  cluster_barrier();  // the other block may still write here
}

template <bool kOutputs, int kBlocks>
cudaError_t launch_segments(const PrefillArguments& x, cudaStream_t stream) {
  const int segments = kOutputs ? x.segments : (x.segments - 1) * x.pieces;
  if (segments == 0) return cudaSuccess;
  constexpr auto kernel = segment_kernel_128<kOutputs, kBlocks>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared));
      error != cudaSuccess)
    return error;
  // Not overlapping: blocks that came early would leave clusters no room.
  return launch(kernel, dim3(x.heads, segments), kThreads, sizeof(Shared), false, stream, kBlocks, false, x);
}

}  // namespace

cudaError_t launch_segments_128(const PrefillArguments& x, bool outputs, cudaStream_t stream) {
  const bool pairs = x.heads / x.kv_heads % 2 == 0;
  if (outputs) return pairs ? launch_segments<true, 2>(x, stream) : launch_segments<true, 1>(x, stream);
  return pairs ? launch_segments<false, 2>(x, stream) : launch_segments<false, 1>(x, stream);
}

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// Prefill's segment kernels for D = 128 (prefill.cu tells the scheme). A block has one head, and each of its
// four warpgroups a part of the work, chunk after chunk; what one makes for another goes through shared
// memory in two stages, so that convolution and exponentials of one chunk run beside the matrix products of
// an earlier one:
//   gates    log2 of the gates of all tokens and features, and the factors of S; q's convolution
//   keys     k': convolution, feature map
//   queries  q': feature map; scores and outputs
//   states   S, and S' for the outputs
// A step is a chunk, or a window of one where its gates are wide. Where the number of heads to a kv head is
// even, two blocks are a cluster: gates are those of the kv head, and each makes half of them, for both.
//
// b - b_ref is a product, too: of the log2 gates, in fp16, and a matrix of 1, -1 and 0. The tensor cores add
// it to log2 of the features, so that q' and k' are one exponential of what they leave. Rounding a gate to
// fp16 moves it by 2^-12 of its log2; what has decayed so far that this shows has decayed away.
//
// Ladder, Mistral-7B's shape at T = 16,384 on an H100, all three kernels, by graph replay, by
// `lawcat-sim gpu --shape mistral-7b --tokens 16384`; of 470 and from 447 on by a bench that was not kept,
// on GPUs where the version before took 487 to 523 and where 457 was 458 to 464. The floor, 369 MB of q, k,
// v, gk and o, is 122 us; 400 us were aimed at.
//   us    version
//   1187  roles in a pipeline, feature map by mma.sync
//    553  feature map by wgmma; gates shared by the two heads of a cluster, stored into each other's memory
//         asynchronously; two warpgroups make keys in the states kernel
//    485  gates of two features at once, q' and k' stored by halves
//    470  the scan writes only the states that are read (38 to 19 us); loops rolled, since 1.7 of 8.8 cycles
//         between two instructions of a warp were misses of the instruction cache (0.3 after that, and yet
//         the outputs kernel only fell from 331 to 324 us)
//    457  outputs are stored by whole rows of 64 columns, not by a warp's 16. 18 us less predicted. The
//    outputs
//         kernel (306 us) was bound by the data pipe of loads and stores, at 72 % of its peak by ncu
//    447  these roles: scores and outputs by those who have q' in registers, distances by the tensor cores,
//         logits by whole rows. 345 predicted from 4,100 wavefronts of that pipe for a chunk of a head
//         instead of 6,000. Those fell as predicted, to 50 % of its peak, but the gates' warpgroup was waited
//         for, and itself waited for loads, for the other block, and for spilled registers
//    397  the gates' work in an order that hides these waits, nothing spilled; features added to distances by
//         the products, which saves 64 instructions of each of two roles. Or 428: 49 kB of code run in a
//         step, and as much as 19 % of stalls are misses of the instruction cache, more or fewer from run to
//         run
//    384  45 kB of code (7 % of stalls): gates in two rounds, masks on packed scores, -z by the exponential's
//         own sign. 370 predicted. With copies and convolution in loops, too, it is 422: more instructions
//    377  sums of exponentials of -z by one reciprocal for two; 391 to 394 by `lawcat-sim gpu` on
//         others, 387 on one more since only the last segment publishes the factors of its end
// Few tokens, us at T = 512, 1,024, 1,536 and 4,096, by `lawcat-sim gpu --shape mistral-7b`; cuDNN takes 32.6
// at 1,024 and 54.7 at 1,536:
//   35 48 59 117  as above; 22 us of it do not depend on the length
//   33 44 56 114  no scan between: the outputs kernel takes the sums of the segments before its own while its
//                 other warpgroups make their first chunks, and starts where the states kernel leaves room.
//                 40 predicted at 1,024; 28, 40, 52 and 109 without the fence before the copy engine
//                 overwrites what was read, but then other bits in most runs
// What is left: the queries' warpgroup never waits; 950 instructions of a warp for a chunk take 6,800 cycles.
//
// Tried and not kept, before these roles: scores and normalisers by the gates' warpgroup, a step behind (469
// for 471); besides, the convolution in place, by registers to the feature map, before a stage is free (500);
// gates of four features at once (540: prefetched logits are spilled); logits 8 bytes a lane (525: waits for
// them); 224 registers for products and 96 for the others (535); sums of exponentials by mma.sync with these
// (540). Since: 72 registers for the gates' threads and more for the keys' (485: spills), 112 for the keys'
// (451: products one after another); outputs stored by the states' warpgroup, which waits for half of a step
// (379 for 377).
#include "kernels/attention/prefill_parts.cuh"

namespace lawcat::cuda {
namespace {

constexpr int kStages = 2;
constexpr int kGroup = 128;  // threads of a warpgroup
constexpr int kThreads = 4 * kGroup;
enum Role : unsigned { kQueries, kKeys, kGates, kStates };
// Registers of a thread.
constexpr int kQueryRegisters = 144, kKeyRegisters = 120, kGateRegisters = 80, kStateRegisters = 168;
enum : int { kQueriesBarrier = 1, kKeysBarrier, kOtherKeysBarrier, kGatesBarrier, kStatesBarrier };

struct Dim128 {
  static constexpr int kD = 128, kF = 64, kK = 128;
};
using G = Dim128;

struct Shared {
  Tile queries[kStages][2];  // q convolved, in fp16; then outputs on their way
  Tile keys[kStages][2];     // k', a row per token; before that k convolved, in fp16
  Tile gates[kStages][2];    // log2 of the gates, in fp16, a row per token
  Tile v[kStages][2];
  Tile state[2][2];                                        // S', a row per feature
  Tile map[2];                                             // fp16, a row per channel
  ColumnTile norm_state[2];                                // its normaliser
  ColumnTile ones;                                         // v's
  __nv_bfloat16 input[2][4][kHalo + kBlockTokens][G::kD];  // of q and of k, each warp's own rows
  __half taps[2][kConvTaps][G::kD];
  float bias[G::kK];
  float eighths[8][G::kK];           // sums of 8 tokens' log2 gates, of the features that the block computes
  float row_factor[kStages][G::kK];  // what S is multiplied by to become S'
  int window[kStages];               // size
  alignas(16) float spans[2][4];     // of every other chunk: what each of the cluster's warps asks for
  // Of a step's stage: the convolved q, gates, factors and window are there; and their last use.
  std::uint64_t full[kStages], free[kStages], queries_free[kStages];
  std::uint64_t keys_full[kStages], keys_free[kStages];
  std::uint64_t spans_full[2];
  std::uint64_t v_full[kStages];  // of every other chunk
  std::uint64_t state_full, outputs_done;
  std::uint64_t part_here[2];  // of a segment's sums
};

static_assert(sizeof(Shared) <= 227 * 1024);

/// Where a warpgroup is: a step's window in its chunk. All of them see the same steps.
struct Step {
  unsigned number = 0;
  int first, from = 0, size = kChunk;
  __device__ unsigned stage() const { return number % kStages; }
  __device__ unsigned parity() const { return number / kStages % 2; }
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

/// Of both rows of z that a lane has 16 values each of, in log2 units: log2 of the sums of the exponentials
/// of z, and of -z. Four lanes share a row.
struct SoftmaxLogs {
  float up[2], down[2];
};
__device__ inline SoftmaxLogs softmax_logs(const float (&z)[32]) {
  constexpr float kSafe = 1LL << 60;  // of sums that fp32 holds without taking away the largest argument
  float up[2] = {}, down[2] = {}, high[2] = {}, low[2] = {};
  const auto over_row = [](float x, const auto& join) {
    x = join(x, __shfl_xor_sync(~0U, x, 1));
    return join(x, __shfl_xor_sync(~0U, x, 2));
  };
  const auto sums_over_rows = [&] {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const auto sum = [](float a, float b) { return a + b; };
      up[half] = over_row(up[half], sum);
      down[half] = over_row(down[half], sum);
    }
  };
#pragma unroll
  for (int i = 0; i < 32; i += 2) {
    // Those of -z two at a time from those of z: 1/a + 1/b. What fp32 does not hold is infinite or no number
    // in the sums.
    const int half = i / 2 % 2;
    const float a = exp2_fast(z[i]), b = exp2_fast(z[i + 1]), two = a + b, inverse = reciprocal_fast(a * b);
    up[half] += two;
    down[half] = fmaf(two, inverse, down[half]);
  }
  sums_over_rows();
  if (!__all_sync(~0U, up[0] < kSafe && up[1] < kSafe && down[0] < kSafe && down[1] < kSafe)) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const auto at = [&](int i) { return z[i / 2 * 4 + half * 2 + i % 2]; };
      high[half] = -INFINITY;
      low[half] = INFINITY;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        high[half] = fmaxf(high[half], at(i));
        low[half] = fminf(low[half], at(i));
      }
      high[half] = over_row(high[half], [](float a, float b) { return fmaxf(a, b); });
      low[half] = over_row(low[half], [](float a, float b) { return fminf(a, b); });
      up[half] = down[half] = 0;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        up[half] += exp2_fast(at(i) - high[half]);
        down[half] += exp2_fast(low[half] - at(i));
      }
    }
    sums_over_rows();
  }
  SoftmaxLogs logs;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    logs.up[half] = log2_fast(up[half]) + high[half];
    logs.down[half] = log2_fast(down[half]) - low[half];
  }
  return logs;
}

/// The left operand of the product that sums log2 gates to b - b_ref of 64 tokens, or with kNegative to
/// b_ref - b: of a row, 1 or -1 for the tokens between it and the reference row. Of a warp's 16 rows, here
/// are the 16 columns where it may be neither 0 nor the same in all rows: those of the same tokens. Rows
/// outside the window have 0.
template <bool kNegative>
__device__ inline void diagonal_operand(std::uint32_t (&a)[4], int ref, int from, int size, unsigned warp,
                                        unsigned lane) {
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const unsigned row = warp * kBlockTokens + lane / 4 + e % 2 * 8,
                   column = warp * kBlockTokens + e / 2 * 8 + lane % 4 * 2;
    const auto at = [&](unsigned token) {
      const bool after = static_cast<int>(token) > ref, up_to_row = token <= row;
      const bool counts =
          static_cast<int>(row) >= from && static_cast<int>(row) < from + size && after == up_to_row;
      return counts ? after != kNegative ? 0x3c00U : 0xbc00U : 0U;
    };
    a[e] = at(column) | at(column + 1) << 16;
  }
}

/// Two tiles of 8 columns of a warp's accumulators, from d on, in bf16 to its 16 rows of a tile, by way of
/// `scaled(value, row half)`; `to` is the lane's place there (store_matrices).
template <class Scaled>
__device__ __forceinline__ void store_rounded(const float* d, void* to, const Scaled& scaled) {
  std::uint32_t words[4];
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const float* const two = d + 4 * (e / 2) + 2 * (e % 2);
    words[e] = pack_bf16(scaled(two[0], e % 2), scaled(two[1], e % 2));
  }
  store_matrices(words, to);
}

/// With kScan, the outputs kernel makes the state at a segment's start itself, from the sums of the segments
/// before. Segment 0's begin with the sequence's state, and its states kernel keeps a copy of that as the
/// last segment's sums, so that only it reads what the last segment's outputs kernel writes over.
template <bool kOutputs, int kBlocks, bool kScan>
struct Segment {
  // The states kernel has no queries: their warpgroup makes every other step's keys.
  static constexpr int kKeyGroups = kOutputs ? 1 : 2;
  static constexpr int kReaders = kOutputs ? 3 : 2;  // warpgroups that read a stage's gates or factors
  static constexpr int kGateTiles = 2 / kBlocks;     // of 64 features, that the block computes

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
  /// A stage's gates and factors were read.
  __device__ void release(unsigned stage) const {
    split_barrier_arrive(&shared.free[stage]);
    if constexpr (kBlocks > 1)
      split_barrier_arrive_in_peer(shared_address(&shared.free[stage]) + peer_offset);
  }
  __device__ unsigned chunk_of(const Step& step) const {
    return static_cast<unsigned>(step.first - begin) / kChunk;
  }
  __device__ static int reference_row(const Step& step) {
    if (!kOutputs) return kChunk - 1;
    return step.size == 1 ? step.from : step.from + step.size / 2 - 1;
  }

  /// A warp's own rows of q or k, those of the chunk that begins at token `first` and three before them.
  template <bool kQuery>
  __device__ void load_rows(__nv_bfloat16 (&rows)[kHalo + kBlockTokens][G::kD], int first,
                            unsigned warp) const {
    const unsigned lane = thread_index() % 32, piece = lane % 16;
    const __nv_bfloat16* const from = (kQuery ? x.q + head * G::kD : x.k + kv * G::kD) + piece * 8;
    const std::int64_t stride = kQuery ? x.q_stride : x.k_stride;
    const int token = first + static_cast<int>(warp * kBlockTokens + lane / 16) - kHalo;
    const __nv_bfloat16* at = from + token * stride;
    const std::uint32_t to = shared_address(&rows[lane / 16][piece * 8]);
    constexpr int kRows = kHalo + kBlockTokens;
    if (first >= kHalo && first + kChunk <= x.tokens) {
#pragma unroll
      for (int i = 0; i < kRows; i += 2, at += 2 * stride)
        if (i + 1 < kRows || lane < 16) copy_async(to + i * sizeof rows[0], at);
    } else {
#pragma unroll 1
      for (int i = 0; i < kRows; i += 2, at += 2 * stride)
        if (token + i >= 0 && i + lane / 16 < kRows)
          copy_async(to + i * sizeof rows[0], token + i < x.tokens ? at : from, token + i < x.tokens);
    }
    copy_commit();
  }
  /// What comes before the sequence's first token.
  template <bool kQuery>
  __device__ void load_tails(__nv_bfloat16 (&rows)[kHalo + kBlockTokens][G::kD], unsigned warp) const {
    if (warp > 0) return;
    for (unsigned i = thread_index() % 32; i < kHalo * G::kD; i += 32)
      rows[i / G::kD][i % G::kD] = __float2bfloat16_rn(
          (kQuery ? x.q_tail : x.k_tail)[(i / G::kD * x.heads + head) * G::kD + i % G::kD]);
  }
  template <bool kQuery>
  __device__ void load_first_rows(__nv_bfloat16 (&rows)[kHalo + kBlockTokens][G::kD], int first,
                                  unsigned warp) const {
    load_rows<kQuery>(rows, first, warp);
    if (first == 0) load_tails<kQuery>(rows, warp);
  }
  template <bool kQuery>
  __device__ void convolve_rows(const __nv_bfloat16 (&rows)[kHalo + kBlockTokens][G::kD], Tile (&to)[2],
                                unsigned warp, unsigned lane) const {
#pragma unroll 1  // the roles' code together is more than the instruction cache likes
    for (int c = 0; c < 2; ++c)
      convolve<G::kD, kQuery ? 4 : 8>(&rows[0][64 * c], &shared.taps[kQuery ? 0 : 1][0][64 * c],
                                      to[c].bytes + warp * kBlockTokens * 128, lane);
  }

  /// Convolves q, and makes the gates of the block's features: a lane has four of 64 features and every other
  /// of the warp's 16 tokens.
  __device__ void gates() {
    unsigned thread, warp, lane, odd, to;
    const auto identify = [&] {
      thread = thread_index() % kGroup;
      warp = thread / 32;
      lane = thread % 32;
      odd = lane / 16;
      to = swizzled_piece(warp * kBlockTokens + odd, lane % 16 / 2) + lane % 2 * 8;
    };
    identify();
    if constexpr (kOutputs) load_first_rows<true>(shared.input[0][warp], begin, warp);
    constexpr int kTokens = kBlockTokens / 2;
    const auto load_logits = [&](unsigned tile, int chunk, uint2(&to)[kTokens]) {
      const int token = chunk + static_cast<int>(warp * kBlockTokens + odd);
      const __nv_bfloat16* from =
          x.gk + kv * G::kK + (rank + tile) * 64 + lane % 16 * 4 + token * x.gk_stride;
#pragma unroll
      for (int i = 0; i < kTokens; ++i, from += 2 * x.gk_stride)
        to[i] = token + 2 * i < x.tokens ? *reinterpret_cast<const uint2*>(from) : uint2{};
    };
    // The lane's words of a tile of gates are at token_at(gates_at(...), i), i below kTokens.
    const auto gates_at = [&](unsigned stage, unsigned tile) {
      return shared_address(&shared.gates[stage][rank + tile]) + to;
    };
    const auto token_at = [](std::uint32_t at, int i) { return (at ^ 2 * i % 8 * 16) + 2 * i * 128; };
    const auto put = [&](unsigned stage, std::uint32_t tile_at, int i, uint2 four) {
      const std::uint32_t at = token_at(tile_at, i);
      store_shared(at, four);
      if constexpr (kBlocks > 1)
        store_in_peer(at + peer_offset, four, shared_address(&shared.full[stage]) + peer_offset);
    };
    const auto convolve_queries = [&](const Step& step) {
      split_barrier_wait(&shared.queries_free[step.stage()], step.parity() ^ 1);
      copy_wait<0>();
      __syncwarp();
      convolve_rows<true>(shared.input[0][warp], shared.queries[step.stage()], warp, lane);
      __syncwarp();
    };
    uint2 logits[kTokens];
    load_logits(0, begin, logits);
    // Of a thread's feature, if it has one, log2 of what is still to be multiplied after the window, and of
    // the segment's gates' product so far.
    float tail = 0, decay = 0;
    const auto has_feature = [&] { return thread < kGateTiles * 64; };
    const auto publish = [&](unsigned stage, float factor, bool with_gates) {
      if (has_feature())
        store_in_cluster(&shared.row_factor[stage][rank * 64 + thread], exp2_fast(factor),
                         &shared.full[stage]);
      publish_to_products();
      arrive_after_stores(&shared.full[stage],
                          (with_gates ? kBlockTokens * 128U : 0U) + (has_feature() ? 32 * sizeof(float) : 0U),
                          lane);
    };
    Step step{.first = begin};
    while (step.first < end) {
      identify();
      const int first = step.first, next = first + kChunk;
      split_barrier_wait(&shared.free[step.stage()], step.parity() ^ 1);
#pragma unroll 1
      for (unsigned tile = 0; tile < kGateTiles; ++tile) {
        const float4 bias =
            *reinterpret_cast<const float4*>(&shared.bias[(rank + tile) * 64 + lane % 16 * 4]);
#pragma unroll 1
        for (unsigned eighth = 0; eighth < 2; ++eighth) {
          float sums[4] = {};
          const std::uint32_t half_at = gates_at(step.stage(), tile) + eighth * 1024;
#pragma unroll
          for (int i = 0; i < kTokens / 2; ++i) {
            const int token = first + static_cast<int>(warp * kBlockTokens + odd + eighth * 8) + 2 * i;
            const auto log2_gate = [&](float logit, float bias) {
              const float x = fmaf(logit, kLog2E, bias);
              return token < end ? (fminf(x, 0.0F) - log2_fast(1 + exp2_fast(-fabsf(x)))) * (1.0F / 16)
                                 : 0.0F;
            };
            const float2 a = unpack_bf16(logits[i].x), b = unpack_bf16(logits[i].y);
            const uint2 four = {pack_fp16(log2_gate(a.x, bias.x), log2_gate(a.y, bias.y)),
                                pack_fp16(log2_gate(b.x, bias.z), log2_gate(b.y, bias.w))};
            put(step.stage(), half_at, i, four);
            const float2 low = __half22float2(reinterpret_cast<const __half2&>(four.x)),
                         high = __half22float2(reinterpret_cast<const __half2&>(four.y));
            sums[0] += low.x;
            sums[1] += low.y;
            sums[2] += high.x;
            sums[3] += high.y;
            logits[i] = logits[kTokens / 2 + i];
          }
#pragma unroll
          for (float& sum : sums) sum += __shfl_xor_sync(~0U, sum, 16);
          if (odd == 0)
            *reinterpret_cast<float4*>(&shared.eighths[2 * warp + eighth][tile * 64 + lane * 4]) =
                float4{sums[0], sums[1], sums[2], sums[3]};
        }
        if (tile + 1 < kGateTiles) load_logits(tile + 1, first, logits);
      }
      barrier(kGatesBarrier, kGroup);
      float halves[2] = {};
      if (has_feature()) {
        float least = 0;  // of the eighths
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float eighth = shared.eighths[i][thread];
          halves[i / 4] += eighth;
          least = fminf(least, eighth);
        }
        if constexpr (kOutputs) {
          // 0: one window does, 1: windows of 16 tokens, 2: of one.
          const bool wide = __any_sync(~0U, fminf(halves[0], halves[1]) < -kMostSpan);
          const bool very = __any_sync(~0U, least < -kMostSpan);
          if (lane == 0)
            store_in_cluster(&shared.spans[chunk_of(step) % 2][rank * 2 + warp],
                             !wide  ? 0.0F
                             : very ? 2.0F
                                    : 1.0F,
                             &shared.spans_full[chunk_of(step) % 2]);
          arrive_after_stores(&shared.spans_full[chunk_of(step) % 2], sizeof(float), lane);
        }
      }
      if constexpr (kOutputs) {
        convolve_queries(step);  // meanwhile the other block's spans come
        if (next < end) load_rows<true>(shared.input[0][warp], next, warp);
      }
      if constexpr (kOutputs) {
        split_barrier_wait(&shared.spans_full[chunk_of(step) % 2], chunk_of(step) / 2 % 2);
        const float4 spans = *reinterpret_cast<const float4*>(shared.spans[chunk_of(step) % 2]);
        const float most_span = fmaxf(fmaxf(spans.x, spans.y), fmaxf(spans.z, spans.w));
        step.size = most_span == 0 ? kChunk : most_span == 1 ? 16 : 1;
      }
      if (!kOutputs || step.size == kChunk) {
        load_logits(0, next, logits);
        if (thread == 0) shared.window[step.stage()] = kChunk;
        if constexpr (kOutputs) {
          publish(step.stage(), tail + halves[0], true);
          tail = halves[1];
        } else {
          publish(step.stage(), halves[0] + halves[1], true);
          decay += halves[0] + halves[1];
        }
        step.next();
      } else {
        while (step.first == first) {
          const unsigned stage = step.stage();
          if (step.from > 0) {
            split_barrier_wait(&shared.free[stage], step.parity() ^ 1);
            for (unsigned tile = 0; tile < kGateTiles; ++tile)
#pragma unroll 1
              for (int i = 0; i < kTokens; ++i)
                put(stage, gates_at(stage, tile), i, load_shared(token_at(gates_at(stage ^ 1, tile), i)));
            copy_wait<0>();
            __syncwarp();
            load_first_rows<true>(shared.input[0][warp], first, warp);
            convolve_queries(step);
            if (next < end) load_rows<true>(shared.input[0][warp], next, warp);
            barrier(kGatesBarrier, kGroup);
          }
          float factor = tail;
          tail = 0;
          if (has_feature() && step.size > 1) {
            factor += shared.eighths[step.from / 8][thread];
            tail = shared.eighths[step.from / 8 + 1][thread];
          } else if (has_feature()) {
            factor += __half2float(*reinterpret_cast<const __half*>(
                shared.gates[stage][rank + thread / 64].bytes + swizzled_piece(step.from, thread % 64 / 8) +
                thread % 8 * 2));
          }
          if (thread == 0) shared.window[stage] = step.size;
          publish(stage, factor, true);
          step.next();
        }
        load_logits(0, next, logits);
      }
      barrier(kGatesBarrier, kGroup);  // the eighths have been read
    }
    if constexpr (kOutputs) {
      // From the last window's reference row to the end, where the state is kept. Elsewhere nobody waits for
      // it, so that the other block could be gone before the stores arrive.
      if (segment == x.segments - 1) {
        split_barrier_wait(&shared.free[step.stage()], step.parity() ^ 1);
        publish(step.stage(), tail, false);
      }
    } else if (has_feature() && head % (x.heads / x.kv_heads) < kBlocks) {
      x.decays[(static_cast<std::size_t>(segment) * x.kv_heads + kv) * G::kK + rank * 64 + thread] =
          exp2_fast(decay);
    }
  }

  /// For wgmma, the first tile of a stage.
  __device__ static std::uint64_t stage_tile(const Tile (&tiles)[kStages][2], unsigned stage) {
    return tile_descriptor(tiles) + stage * (2 * kNextTile);
  }
  /// 64 rows (convolved, fp16) times the feature map.
  __device__ void project_rows(float (&z)[32], const Tile (&rows)[kStages][2], unsigned stage) const {
    const std::uint64_t input = stage_tile(rows, stage), map = tile_descriptor(shared.map);
    products_begin();
#pragma unroll
    for (int i = 0; i < G::kD / 16; ++i)
      warpgroup_multiply_fp16<true>(z, input + i / 4 * kNextTile + i % 4 * kNextAlongRow, map + i * kNextRows,
                                    i > 0);
    products_commit();
    products_wait();
  }

  /// From a warp's rows of z (scaled as `scale` undoes) to log2 of q', or with kKeys of k', features of the
  /// softmax of z and of that of -z: exponents[which][4 n + 2 half + e] of row lane / 4 + 8 half and feature
  /// 8 n + 2 (lane % 4) + e. exponents[0] is z before. k' of tokens outside the window is 0.
  /// Gives the stage's gates back.
  template <bool kKeys>
  __device__ void exponents_of(float (&exponents)[2][32], float scale, const Step& step,
                               const std::uint32_t (&diagonal)[4], unsigned warp, unsigned lane) const {
    float(&z)[32] = exponents[0];
#pragma unroll
    for (float& one : z) one *= scale;
    SoftmaxLogs logs = softmax_logs(z);
    if constexpr (kKeys) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = static_cast<int>(warp * kBlockTokens + lane / 4) + 8 * half;
        if (row < step.from || row >= step.from + step.size || step.first + row >= end)
          logs.up[half] = logs.down[half] = INFINITY;
      }
    }
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      exponents[1][i] = -z[i] - logs.down[i / 2 % 2];
      exponents[0][i] = z[i] - logs.up[i / 2 % 2];
    }
    // All of the operand whose diagonal diagonal_operand gives.
    constexpr std::uint32_t kOnes = 0x3c003c00, kMinusOnes = 0xbc00bc00;
    const bool whole = step.size == kChunk;
    std::uint32_t operand[4][4];
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
      // Blocks of 16 tokens between the warp's and the reference row.
      const bool minus = whole && i > warp && (!kOutputs || i < 2),
                 plus = whole && kOutputs && i < warp && i >= 2;
      const std::uint32_t other = !minus && !plus ? 0 : minus != kKeys ? kMinusOnes : kOnes;
#pragma unroll
      for (int e = 0; e < 4; ++e) operand[i][e] = i == warp ? diagonal[e] : other;
    }
    const std::uint64_t gates = stage_tile(shared.gates, step.stage());
    products_begin();
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int which = 0; which < 2; ++which)
        warpgroup_multiply_fp16<true>(exponents[which], operand[i], gates + which * kNextTile + i * kNextRows,
                                      true);
    products_commit();
    products_wait();
    release(step.stage());
  }
  /// Of them, the words of 16 neighbouring features, as the left operand of a product has them.
  __device__ static void features(std::uint32_t (&words)[4], const float (&exponents)[32], int i) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float* const two = exponents + (2 * i + e / 2) * 4 + e % 2 * 2;
      words[e] = pack_bf16(exp2_fast(two[0]), exp2_fast(two[1]));
    }
  }

  /// k', a warp 16 tokens.
  template <int kTurn = 0>
  __device__ void keys() {
    constexpr int kBarrier = kTurn == 0 ? kKeysBarrier : kOtherKeysBarrier;
    const unsigned warp = __shfl_sync(~0U, thread_index() / 32 % 4, 0), lane = thread_index() % 32;
    __nv_bfloat16(&rows)[kHalo + kBlockTokens][G::kD] = shared.input[kTurn == 0 ? 1 : 0][warp];
    load_first_rows<false>(rows, begin + kTurn * kChunk, warp);
    const float scale = x.z_scale[head] * x.tap_scale[x.heads + head];
    std::uint32_t diagonal[4];
    int diagonal_from = -1, diagonal_size = 0;
    for (Step step{.first = begin}; step.first < end; step.next()) {
      if (kKeyGroups > 1 && step.number % kKeyGroups != kTurn) continue;
      const unsigned stage = step.stage();
      Tile(&tiles)[2] = shared.keys[stage];
      if (step.from == 0) {
        copy_wait<0>();
        __syncwarp();
      }
      split_barrier_wait(&shared.keys_free[stage], step.parity() ^ 1);
      convolve_rows<false>(rows, tiles, warp, lane);
      publish_to_products();
      split_barrier_wait(&shared.full[stage], step.parity());
      if (kOutputs && step.from == 0) step.size = shared.window[stage];
      if (diagonal_from != step.from || diagonal_size != step.size) {
        diagonal_from = step.from;
        diagonal_size = step.size;
        diagonal_operand<true>(diagonal, reference_row(step), step.from, step.size, warp, lane);
      }
      publish_to_products();  // what came from the other block
      barrier(kBarrier, kGroup);
      float exponents[2][32];
      project_rows(exponents[0], shared.keys, stage);
      barrier(kBarrier, kGroup);  // all have read their products' operands
      if (const int next = step.first + kKeyGroups * kChunk; step.last_of_chunk() && next < end)
        load_rows<false>(rows, next, warp);
      exponents_of<true>(exponents, scale, step, diagonal, warp, lane);
      const unsigned to = swizzled_piece(warp * 16 + lane % 16, lane / 16);
#pragma unroll
      for (int which = 0; which < 2; ++which)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          std::uint32_t words[4];
          features(words, exponents[which], i);
          store_matrices(words, tiles[which].bytes + (to ^ 2 * i * 16));
        }
      publish_to_products();
      split_barrier_arrive(&shared.keys_full[stage]);
    }
  }

  /// q', scores and outputs, a warp 16 tokens.
  __device__ void queries() {
    const unsigned warp = __shfl_sync(~0U, thread_index() / 32 % 4, 0), lane = thread_index() % 32;
    const unsigned t = lane % 4;
    const float scale = x.z_scale[head] * x.tap_scale[head];
    std::uint32_t diagonal[4];
    int diagonal_from = -1, diagonal_size = 0;
    const std::uint64_t ones_tile = tile_descriptor(&shared.ones),
                        norm_tile = tile_descriptor(&shared.norm_state),
                        state_tile = tile_descriptor(&shared.state);
    constexpr std::uint64_t kNextColumnTile = sizeof(ColumnTile) / 16;
    for (Step step{.first = begin}; step.first < end; step.next()) {
      const unsigned stage = step.stage();
      split_barrier_wait(&shared.full[stage], step.parity());
      if (step.from == 0) step.size = shared.window[stage];
      if (diagonal_from != step.from || diagonal_size != step.size) {
        diagonal_from = step.from;
        diagonal_size = step.size;
        diagonal_operand<false>(diagonal, reference_row(step), step.from, step.size, warp, lane);
      }
      publish_to_products();  // what came from the other block
      std::uint32_t query[8][4];
      {
        float exponents[2][32];
        project_rows(exponents[0], shared.queries, stage);
        exponents_of<false>(exponents, scale, step, diagonal, warp, lane);
#pragma unroll
        for (int i = 0; i < 8; ++i) features(query[i], exponents[i / 4], i % 4);
      }
      split_barrier_wait(&shared.keys_full[stage], step.parity());
      std::uint32_t weights[4][4];
      {
        const std::uint64_t keys_tile = stage_tile(shared.keys, stage);
        float scores[32];
        products_begin();
#pragma unroll
        for (int i = 0; i < 8; ++i)
          warpgroup_multiply<false>(scores, query[i], keys_tile + i / 4 * kNextTile + i % 4 * kNextAlongRow,
                                    i > 0);
        products_commit();
        products_wait();
#pragma unroll
        for (unsigned i = 0; i < 4; ++i)
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const unsigned column = e / 2 * 8 + 2 * t, row = lane / 4 + e % 2 * 8;
            const float* const two = scores + 8 * i + e / 2 * 4 + e % 2 * 2;
            const std::uint32_t diagonal = (column <= row ? 0xffffU : 0U) | (column < row ? 0xffff0000U : 0U);
            weights[i][e] = pack_bf16(two[0], two[1]) & (i < warp    ? ~0U
                                                         : i == warp ? diagonal
                                                                     : 0U);  // no later tokens
          }
      }
      split_barrier_arrive(&shared.keys_free[stage]);
      const std::uint64_t v_tile = stage_tile(shared.v, chunk_of(step) % kStages);
      split_barrier_wait(&shared.v_full[chunk_of(step) % kStages], chunk_of(step) / kStages % 2);
      split_barrier_wait(&shared.state_full, step.number % 2);
      float o[2][32], o_norm[4];
      products_begin();
#pragma unroll
      for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int c = 0; c < 2; ++c)
          warpgroup_multiply<true>(o[c], query[i],
                                   state_tile + (i / 4 * 2 + c) * kNextTile + i % 4 * kNextRows, i > 0);
        warpgroup_multiply<false>(o_norm, query[i],
                                  norm_tile + i / 4 * kNextColumnTile + i % 4 * kNextAlongRow, i > 0);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int c = 0; c < 2; ++c)
          warpgroup_multiply<true>(o[c], weights[i], v_tile + c * kNextTile + i * kNextRows, true);
        warpgroup_multiply<false>(o_norm, weights[i], ones_tile, true);
      }
      products_commit();
      products_wait();
      split_barrier_arrive(&shared.outputs_done);

      // Outputs to memory, by whole rows.
      const float inverse[2] = {__fdividef(1.0F, __shfl_sync(~0U, o_norm[0], lane & ~3) + 1e-10F),
                                __fdividef(1.0F, __shfl_sync(~0U, o_norm[2], lane & ~3) + 1e-10F)};
      barrier(kQueriesBarrier, kGroup);  // all have read q
      const unsigned to = swizzled_piece(warp * 16 + lane % 16, lane / 16);
#pragma unroll
      for (int c = 0; c < 2; ++c)
#pragma unroll
        for (int n = 0; n < 8; n += 2)
          store_rounded(o[c] + 4 * n, shared.queries[stage][c].bytes + (to ^ n * 16),
                        [&](float value, int half) { return value * inverse[half]; });
      __syncwarp();
      const int row = static_cast<int>(warp * kBlockTokens + lane / 8);
      uint4 pieces[4][2];
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int c = 0; c < 2; ++c)
          pieces[i][c] = *reinterpret_cast<const uint4*>(shared.queries[stage][c].bytes +
                                                         swizzled_piece(row + 4 * i, lane % 8));
      __nv_bfloat16* at = x.o + (step.first + row) * x.o_stride + head * G::kD + lane % 8 * 8;
      const bool whole = step.size == kChunk && step.first + kChunk <= end;
#pragma unroll
      for (int i = 0; i < 4; ++i, at += 4 * x.o_stride)
        if (whole || (row + 4 * i >= step.from && row + 4 * i < step.from + step.size &&
                      step.first + row + 4 * i < end)) {
          store_global(at, pieces[i][0]);
          store_global(at + 64, pieces[i][1]);
        }
      split_barrier_arrive(&shared.queries_free[stage]);
    }
  }

  /// S, a warp 16 of each 64 features: s[h][c][4 n + 2 half] is of feature 64 h + row_0 + 8 half and of
  /// column 64 c + 8 n + 2 t, the next float of the next column.
  __device__ void states() {
    const unsigned warp = thread_index() / 32 % 4, lane = thread_index() % 32, g = lane / 4, t = lane % 4;
    const unsigned row_0 = warp * 16 + g;
    const auto load_v = [&](int first, unsigned buffer) {
      const unsigned thread = thread_index() % kGroup, row = thread / 8, piece = thread % 8;
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const __nv_bfloat16* const from = x.v + kv * G::kD + c * 64 + piece * 8;
        const std::uint32_t to = shared_address(shared.v[buffer][c].bytes + swizzled_piece(row, piece));
        if (first + kChunk <= x.tokens)
          copy_rows<kChunk, kGroup / 8, false, 128>(from, x.v_stride, first, x.tokens, row, to);
        else
          copy_rows<kChunk, kGroup / 8, true, 128>(from, x.v_stride, first, x.tokens, row, to);
      }
      copy_commit();
    };
    load_v(begin, 0);
    float s[2][2][32] = {}, s_norm[2][4] = {};  // of s_norm the first column
    // Applies `each` to two neighbours in S and `norm` to its normaliser, with where they lie in a state
    // block.
    const auto for_state = [&](std::size_t state, const auto& each, const auto& norm) {
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const std::size_t row = state * G::kK + h * 64 + row_0 + 8 * half;
#pragma unroll
          for (int n = 0; n < 16; ++n) each(s[h][n / 8] + n % 8 * 4 + 2 * half, row * G::kD + 8 * n + 2 * t);
          if (t == 0) norm(s_norm[h][2 * half], row);
        }
    };
    const auto load_state = [&](std::size_t state, const float* states, const float* norms) {
      for_state(
          state,
          [&](float* to, std::size_t at) {
            const float2 two = *reinterpret_cast<const float2*>(states + at);
            to[0] = two.x;
            to[1] = two.y;
          },
          [&](float& to, std::size_t at) { to = norms[at]; });
    };
    // Sums as the warps' accumulators have them: S in kParts parts, in each a thread's 8 times four floats.
    constexpr int kParts = 4, kPartFloats = G::kK * G::kD / kParts;
    const auto sums_of = [&](int of) {
      return x.starts + (static_cast<std::size_t>(of) * x.heads + head) * kParts * kPartFloats;
    };
    const auto rows_of = [&](int of, const auto& each) {
      if (t == 0)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          each(i, s_norm[i / 2][i % 2 * 2],
               x.norm_starts[(static_cast<std::size_t>(of) * x.heads + head) * G::kK + i / 2 * 64 + row_0 +
                             i % 2 * 8]);
    };
    const unsigned quad = thread_index() % kGroup * 4;
    const auto store_sums = [&](int of) {
#pragma unroll
      for (int part = 0; part < kParts; ++part)
#pragma unroll
        for (int n = 0; n < 8; ++n) {
          const float* const four = s[part / 2][part % 2] + 4 * n;
          *reinterpret_cast<float4*>(sums_of(of) + part * kPartFloats + n * 4 * kGroup + quad) = {
              four[0], four[1], four[2], four[3]};
        }
      rows_of(of, [](int, float value, float& to) { to = value; });
    };
    const auto scan = [&] {
      wait_for_earlier_kernels();
      const int sums = segment == 0 ? 1 : segment;
      const auto ask = [&](int part) {
        if (thread_index() % kGroup != 0 || part >= sums * kParts) return;
        const int of = segment == 0 ? x.segments - 1 : part / kParts;
        std::uint64_t& here = shared.part_here[part % 2];
        split_barrier_arrive(&here, kPartFloats * sizeof(float));
        copy_bulk(shared_address(&shared.state[part % 2]), sums_of(of) + part % kParts * kPartFloats,
                  kPartFloats * sizeof(float), shared_address(&here));
      };
      publish_to_copies();
      ask(0);
      ask(1);
#pragma unroll 1
      for (int i = 0; i < sums; ++i) {
        float decays[2][2] = {};
        if (i > 0)
#pragma unroll
          for (int j = 0; j < 4; ++j)
            decays[j / 2][j % 2] = x.decays[(static_cast<std::size_t>(i) * x.kv_heads + kv) * G::kK +
                                            j / 2 * 64 + row_0 + j % 2 * 8];
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          split_barrier_wait(&shared.part_here[part % 2], part / 2 % 2);
          float* const four = s[part / 2][part % 2];
          const float low = decays[part / 2][0], high = decays[part / 2][1];
#pragma unroll
          for (int n = 0; n < 8; ++n) {
            const float4 sum = *reinterpret_cast<const float4*>(
                reinterpret_cast<const float*>(&shared.state[part % 2]) + n * 4 * kGroup + quad);
            four[4 * n] = four[4 * n] * low + sum.x;
            four[4 * n + 1] = four[4 * n + 1] * low + sum.y;
            four[4 * n + 2] = four[4 * n + 2] * high + sum.z;
            four[4 * n + 3] = four[4 * n + 3] * high + sum.w;
          }
          publish_to_copies();
          barrier(kStatesBarrier, kGroup);  // all have read this part
          ask(i * kParts + part + 2);
        }
        const int of = segment == 0 ? x.segments - 1 : i;
        rows_of(of, [&](int j, float& value, float sum) { value = value * decays[j / 2][j % 2] + sum; });
      }
    };
    if constexpr (kOutputs && !kScan) {
      load_state(static_cast<std::size_t>(segment) * x.pieces * x.heads + head, x.starts, x.norm_starts);
    } else if constexpr (kOutputs) {
      if (x.segments == 1)
        load_state(head, x.state, x.norm);
      else
        scan();
    } else if constexpr (kScan) {
      if (segment == 0) {
        load_state(head, x.state, x.norm);
        store_sums(x.segments - 1);
      }
    }
    // S times a stage's factors.
    const auto multiply = [&](const Step& step) {
      split_barrier_wait(&shared.full[step.stage()], step.parity());
      float factors[2][2];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        factors[i / 2][i % 2] = shared.row_factor[step.stage()][i / 2 * 64 + row_0 + i % 2 * 8];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int i = 0; i < 64; ++i) s[h][i / 32][i % 32] *= factors[h][i % 4 / 2];
        s_norm[h][0] *= factors[h][0];
        s_norm[h][2] *= factors[h][1];
      }
    };

    const std::uint64_t ones_tile = tile_descriptor(&shared.ones);
    Step step{.first = begin};
    for (; step.first < end; step.next()) {
      const unsigned stage = step.stage(), buffer = chunk_of(step) % kStages;
      multiply(step);
      if (kOutputs && step.from == 0) step.size = shared.window[stage];
      release(stage);
      if (step.from == 0) {
        copy_wait<0>();
        publish_to_products();
        split_barrier_arrive(&shared.v_full[buffer]);
      }
      if constexpr (kOutputs) {
        if (step.number > 0) split_barrier_wait(&shared.outputs_done, (step.number - 1) % 2);
        const unsigned to = swizzled_piece(warp * 16 + lane % 16, lane / 16);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
#pragma unroll
          for (int c = 0; c < 2; ++c)
#pragma unroll
            for (int n = 0; n < 8; n += 2)
              store_rounded(s[h][c] + 4 * n, shared.state[h][c].bytes + (to ^ n * 16),
                            [](float value, int) { return value; });
          if (t == 0)
#pragma unroll
            for (int half = 0; half < 2; ++half)
              *reinterpret_cast<__nv_bfloat16*>(shared.norm_state[h].bytes + 2 * (row_0 + 8 * half)) =
                  __float2bfloat16_rn(s_norm[h][2 * half]);
        }
        publish_to_products();
        split_barrier_arrive(&shared.state_full);
      }
      split_barrier_wait(&shared.keys_full[stage], step.parity());
      split_barrier_wait(&shared.v_full[buffer], chunk_of(step) / kStages % 2);
      // The other buffer's last use is over: this warpgroup's, as all of it has come here, and that of
      // outputs.
      if (step.from == 0 && step.first + kChunk < end) load_v(step.first + kChunk, buffer ^ 1);
      const std::uint64_t keys_tile = stage_tile(shared.keys, stage);
      const std::uint64_t v_pair = tile_pair_descriptor(shared.v) + buffer * (2 * kNextTile);
      products_begin();
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          warpgroup_multiply_transposed(s[h][0], s[h][1], keys_tile + h * kNextTile + i * kNextRows,
                                        v_pair + i * kNextRows);
          warpgroup_multiply_transposed<false>(s_norm[h], keys_tile + h * kNextTile + i * kNextRows,
                                               ones_tile);
        }
      products_commit();
      products_wait();
      split_barrier_arrive(&shared.keys_free[stage]);
    }

    if (kOutputs && segment < x.segments - 1) return;
    if constexpr (kOutputs) multiply(step);
    if constexpr (kScan && !kOutputs) {
      store_sums(segment);
      return;
    }
    float* const states = kOutputs ? x.state : x.starts;
    float* const norms = kOutputs ? x.norm : x.norm_starts;
    for_state(
        static_cast<std::size_t>(kOutputs ? 0 : segment) * x.heads + head,
        [&](const float* two, std::size_t at) {
          *reinterpret_cast<float2*>(states + at) = float2{two[0], two[1]};
        },
        [&](float value, std::size_t at) { norms[at] = value; });
  }
};

/// Kernels 1 (kOutputs false) and 3. Grid: (heads, segments; of kernel 1 their pieces).
template <bool kOutputs, int kBlocks, bool kScan>
__global__ void __launch_bounds__(kThreads, 1) segment_kernel_128(const PrefillArguments x) {
  extern __shared__ __align__(1024) std::byte memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const unsigned thread = threadIdx.x;
  const int head = static_cast<int>(blockIdx.x), segment = static_cast<int>(blockIdx.y);
  const int tokens = kOutputs ? x.segment_tokens : x.segment_tokens / x.pieces, begin = segment * tokens;
  using Work = Segment<kOutputs, kBlocks, kScan>;
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
  if (thread < G::kK)
    shared.bias[thread] = kLog2E * (x.gate_bias ? x.gate_bias[work.kv * G::kK + thread] : 0.0F);
  constexpr unsigned kOnes = sizeof(shared.norm_state) / 4;  // ones comes after norm_state
  for (unsigned i = thread; i < kOnes + sizeof(shared.ones) / 4; i += kThreads)
    reinterpret_cast<std::uint32_t*>(shared.norm_state)[i] = i >= kOnes && i < kOnes + 32 ? 0x3f803f80U : 0;
  if (thread < kStages) {
    split_barrier_set(&shared.full[thread], kGroup);
    split_barrier_set(&shared.free[thread], Work::kReaders * kGroup * kBlocks);
    split_barrier_set(&shared.queries_free[thread], kGroup);
    split_barrier_set(&shared.keys_full[thread], kGroup);
    split_barrier_set(&shared.keys_free[thread], (kOutputs ? 2 : 1) * kGroup);
    split_barrier_set(&shared.spans_full[thread], 64 * Work::kGateTiles);
    split_barrier_set(&shared.v_full[thread], kGroup);
    if constexpr (kOutputs && kScan) split_barrier_set(&shared.part_here[thread], 1);
  }
  if (thread == 0) {
    split_barrier_set(&shared.state_full, kGroup);
    split_barrier_set(&shared.outputs_done, kGroup);
  }
  let_next_kernel_start();
  copy_wait<0>();
  publish_to_products();
  cluster_barrier();

  const unsigned role = __shfl_sync(~0U, thread / kGroup, 0);
  if (role == kStates) {
    take_registers<kStateRegisters>();
    work.states();
  } else if (role == kQueries) {
    take_registers<kQueryRegisters>();
    if constexpr (kOutputs)
      work.queries();
    else
      work.template keys<1>();
  } else if (role == kKeys) {
    give_registers<kKeyRegisters>();
    work.keys();
  } else {
    give_registers<kGateRegisters>();
    work.gates();
  }
  __syncwarp();
  cluster_barrier();                  // the other block may still write here
  if constexpr (kOutputs && kScan) {  // both blocks have read the tails
    if (segment == 0 && thread < 2 * G::kD) {
      float before[kHalo];
      advance_tail(x, thread < G::kD, head * G::kD + static_cast<int>(thread) % G::kD, G::kD, before);
    }
  }
}

template <bool kOutputs, int kBlocks, bool kScan>
cudaError_t launch_segments(const PrefillArguments& x, cudaStream_t stream) {
  const int segments = kOutputs ? x.segments : (x.segments - 1) * x.pieces;
  if (segments == 0) return cudaSuccess;
  constexpr auto kernel = segment_kernel_128<kOutputs, kBlocks, kScan>;
  if (const cudaError_t error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared));
      error != cudaSuccess)
    return error;
  // Overlapping only the states kernel: while a scan runs, blocks that came early would leave clusters no
  // room.
  return launch(kernel, dim3(x.heads, segments), kThreads, sizeof(Shared), kOutputs && kScan && segments > 1,
                stream, kBlocks, false, x);
}

}  // namespace

cudaError_t launch_segments_128(const PrefillArguments& x, bool outputs, bool scan, cudaStream_t stream) {
  const auto launch_form = [&]<bool kOutputs, bool kScan> {
    return x.heads / x.kv_heads % 2 == 0 ? launch_segments<kOutputs, 2, kScan>(x, stream)
                                         : launch_segments<kOutputs, 1, kScan>(x, stream);
  };
  if (outputs)
    return scan ? launch_form.template operator()<true, true>()
                : launch_form.template operator()<true, false>();
  return scan ? launch_form.template operator()<false, true>()
              : launch_form.template operator()<false, false>();
}

}  // namespace lawcat::cuda

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
// Where all segments' blocks have room side by side, up to 24 chunks of 32 heads, the three are one
// cooperative launch, prefill_joined.cu. So k' is made once, and q' while the others' sums are on their way.
//
// Those of D = 128 are in prefill128.cu. Its states kernel may do a segment in pieces; where it does not and
// segments are few, the outputs kernel scans.
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
//   182  exponentials of -z by one reciprocal for two; by the bench 185 for 188 to 191
//
// Few tokens, us at T = 1,024, where the three kernels took 27.7 and cuDNN's attention takes 22.7 to 23.2; by
// a bench that was not kept, but the last two.
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
//   19.2  prefill_joined.cu: two heads and two chunks a block; a block takes the sums of the segments before
//         its own and scans them itself, so that the grid waits once. 17.2 at 576
//   17.7  that scan without branches; q asked for behind the gates. 18 predicted. 16.1 at 576
//   18.3  a fence before the copy engine overwrites what was read; 13.7 to 14.5 at 512
// From 1,025 to 1,536 tokens, with three chunks a block, us at 1,088 and at 1,536, where three kernels took
// 31.1 and 33.1 and cuDNN takes 26.5 and 37.7; by a bench that was not kept:
//   23.0 26.4  prefill_joined.cu: sums in fp32 to registers, all inputs asked for at once. 24 to 26 predicted
//   23.4 25.9  sums by cp.async, logits first, the normaliser a 72nd column of the state's products
//   21.4 24.6  sums and q by bulk copies; q' of both heads before the grid's wait, outputs of both at once
//   20.0 22.2  sums in fp16 times a power of two per row
//   19.4 20.2  the scan without branches, q asked for behind the gates; with k by bulk copies or q by others
//              20.1 to 20.3 and 20.9 to 21.5
//
// What is left: 2.0 of 4 instructions a cycle with 4 warps a scheduler, no stall of which stands out (ncu).
#include <algorithm>

#include "kernels/attention/prefill64.cuh"

namespace lawcat::cuda {
namespace {

/// Kernels 1 and 3. Grid: (kv heads x groups of kHeads heads, segments); a warp per head and 16 tokens, and
/// per head and 16 features of the state.
template <int kHeads, Form kForm>
__global__ void __launch_bounds__(Dim64<kHeads>::kThreads) segment_kernel(const PrefillArguments x) {
  segment_work<kHeads, kForm>(x);
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
  int joined_chunks;  // of a segment, in one launch; 0 for three
  bool scans;         // the outputs kernel of D = 128 does: two launches
  /// Segments and pieces that have a state at their start.
  int starts() const { return (segments - 1) * pieces + 1; }
};

constexpr int kMostPieces = 4;
constexpr int kMostScanned = 4;  // segments: a block takes up to three sums while its first chunk is made

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
  // One launch where its blocks have room side by side, of as few chunks each as that allows; it pays where
  // they are half a GPU of them or their segments few.
  if (small && s.group() % kJoinedHeads == 0 && chunks > 1)
    for (int joined = 1; joined <= kMostJoinedChunks; ++joined) {
      const int segments = (chunks + joined - 1) / joined, blocks = s.heads / kJoinedHeads * segments;
      if (blocks > multiprocessors()) continue;
      if (segments <= 8 || (segments <= 16 && 2 * blocks >= multiprocessors())) {
        plan.joined_chunks = per_segment = joined;
        plan.heads_per_block = kJoinedHeads;
      }
      break;
    }
  plan.blocks = s.heads / plan.heads_per_block;
  plan.segments = (chunks + per_segment - 1) / per_segment;
  plan.segment_tokens = per_segment * kChunk;
  plan.pieces = 1;
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
  plan.scans = !small && plan.pieces == 1 && plan.segments <= kMostScanned;
  return plan;
}

struct Workspace {
  std::size_t starts, norm_starts, decays, tails, sums, size;
};

Workspace workspace_of(const UnitShape& s, int starts) {
  const auto count = static_cast<std::size_t>(starts);
  const std::size_t rows = static_cast<std::size_t>(s.heads) * s.key_features();
  const std::size_t gates = to_16_bytes(count * s.kv_heads * s.key_features() * sizeof(float));
  Workspace at{};
  at.norm_starts = to_16_bytes(count * rows * s.head_dim * sizeof(float));
  at.decays = at.norm_starts + to_16_bytes(count * rows * sizeof(float));
  at.tails = at.decays + gates;
  at.sums = at.tails + to_16_bytes(2 * std::size_t{kHalo} * s.heads * s.head_dim * sizeof(float));
  at.size = at.sums + (s.head_dim == 64 ? count * s.heads * kJoinedSumsBytes : 0);
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
  constexpr bool overlapping = kForm == Form::outputs;
  return launch(kernel, dim3(plan.blocks, segments), Dim64<kHeads>::kThreads, bytes, overlapping, stream, 1,
                false, x);
}

template <Form kForm>
cudaError_t launch_segments(const PrefillArguments& x, const UnitShape& shape, const Plan& plan,
                            cudaStream_t stream) {
  if (shape.head_dim == 128) return launch_segments_128(x, kForm == Form::outputs, plan.scans, stream);
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
                     .sums = scratch + work.sums,
                     .state = reinterpret_cast<float*>(own + at.state),
                     .norm = reinterpret_cast<float*>(own + at.normaliser),
                     .heads = shape.heads,
                     .kv_heads = shape.kv_heads,
                     .tokens = tokens,
                     .segments = plan.segments,
                     .segment_tokens = plan.segment_tokens,
                     .pieces = plan.pieces};
  take_tensors(x, tensors);
  if (plan.joined_chunks > 0) {
    const cudaError_t error = launch_joined(x, plan.joined_chunks, stream);
    if (error != cudaErrorCooperativeLaunchTooLarge) return error;
    cudaGetLastError();  // some of the GPU is not ours: the kernels below need not run side by side
  }
  if (const cudaError_t error = launch_segments<Form::sums>(x, shape, plan, stream); error != cudaSuccess)
    return error;
  if (plan.scans) return launch_segments<Form::outputs>(x, shape, plan, stream);
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

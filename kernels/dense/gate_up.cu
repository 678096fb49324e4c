// SPDX-License-Identifier: Apache-2.0
// See gate_up.h. A block's tile is 128 rows by 96 channels: 128 x 192 sums, 96 of them of gates, so that the
// two factors of a result lie in one thread. A warp of the third warpgroup loads by the copy engine, into a
// ring of stages that runs on from tile to tile; the other two warpgroups take tiles in turn, so that one's
// SwiGLU runs beside the other one's products (a tile of both together left the matrix units idle for that
// long). Another warp stores. Two blocks of a cluster have the same channels and load half of the weights
// each, for both.
//
// Ladder, 8,192 rows of Llama-3.2-1B (2,048 to 2 x 8,192) on H100s, by replay of a graph over three sets of
// inputs, medians in us: in bursts between pauses, and without a pause, when the card is at its power limit;
// then likewise the fastest of cuBLASLt's 16 proposals and the swiglu kernel, in the same run; then the
// cycles of one launch by ncu. Floors: 556 us for products at 989 TFLOP/s; 1.017M cycles with the matrix
// units never idle, 635 us at the 1.6 GHz that the card's power allows.
//   701, 824   818, 915           128 rows by 128 channels, four stages, two consumers of 64 rows each. The
//                                 685 and 787 of cuBLASLt's product alone were aimed at
//   691, 807   799, 887   1.132M  results stored by a warp of their own, the last stage given back before
//                                 SwiGLU, which still takes 1,700 to 2,000 cycles after a tile's 33,000 of
//                                 products (floor: 32,768)
//   679, 789   802, 901   1.088M  this one; 1.04M predicted
//   689, 793   808, 900   1.078M  this one in the next run
// So 15 % less than one after another in bursts, 12 % without a pause, within 2 % of cuBLASLt's product alone
// (676, 783) and 94 % of the floor in cycles. 8,192 rows of Mistral-7B (4,096 to 2 x 14,336): 2,466 and 2,490
// in bursts, when 2,640 and 2,671, 7 % less; 2,785 and 2,775 without a pause, when 3,017 and 3,000, 8 % less.
// SwiGLU is 9 % there, so that more takes a faster product than cuBLASLt's. What is left may be the L2
// cache's: it gives 4.9 KB a cycle.
//
// Tried and not kept, us in bursts. Of the first version: clusters that share x instead of the weights (719
// for 705), or nothing (722). Of the second: clusters of 2 x 2 (729 for 691: only 30 fit, 120 of 132
// multiprocessors); a consumer begun 1 or 2 steps ahead (697, 698: they are level again after a tile); x kept
// in the L2 cache before the others (696: more is read from memory); 6 or 11 rows of clusters' tiles at once
// for 8 (697, 688); consumers whose tiles begin 2 to 16 steps apart while the weights stay the same (708 to
// 722 for 714; 1.14M cycles, 1.06M predicted; why is not known). Of this one: 11, 16 or 22 rows at once (683,
// 681, 684 for 679), the halves of the rows step by step in turn (683).
#include "kernels/dense/gate_up.h"

#include <cuda.h>

#include "kernels/hopper.cuh"

namespace lawcat::cuda {
namespace {

// A block's tile: 128 rows of x by 96 channels, so 96 rows of the gates' weights and 96 of the others.
constexpr int kRows = 128, kChannels = 96;
constexpr int kBlocks = 2;      // of a cluster: two tiles of rows that share the weights
constexpr int kRowsAtOnce = 8;  // clusters' tiles that are gone through together, column by column
constexpr int kStep = 64;       // of the summed dimension, at a time: rows of 128 bytes
constexpr int kStages = 5;
constexpr int kGroup = 128;  // threads of a warpgroup
constexpr int kThreads = 3 * kGroup;
constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;        // of a thread
constexpr int kStoredColumns = 32;                                      // of h, at a time: rows of 64 bytes
enum : int { kTurnBarrier = 1, kFreeBarrier = 3, kFilledBarrier = 5 };  // numbers, each of two

struct Shared {
  std::byte x[kStages][kRows][kStep * 2];
  std::byte w[kStages][2][kChannels][kStep * 2];  // gates, then the others
  std::byte h[kChannels / kStoredColumns][kRows][kStoredColumns * 2];
  std::uint64_t full[kStages], empty[kStages];
};
constexpr int kStageBytes = sizeof Shared::x[0] + sizeof Shared::w[0];
constexpr int kSharedBytes = sizeof(Shared) + 1024;  // room to align it

struct Work {
  int rows, columns;  // of clusters' tiles
  int steps;
  int group;  // kRowsAtOnce, or fewer
  int channels;
};

/// A cluster's tile.
struct Place {
  __device__ Place(const Work& work, int tile) {
    const int of_group = work.group * work.columns;
    const int first = tile / of_group * work.group;
    const int height = min(work.group, work.rows - first);
    const int within = tile % of_group;
    row = (first + within % height) * kBlocks * kRows;
    channel = within / height * kChannels;
  }
  int row, channel;
};

// ---- The copy engine

__device__ inline void prefetch(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}
/// A box of a matrix to shared memory; `barrier` there gets its bytes.
__device__ inline void load_box(const CUtensorMap& map, int column, int row, const void* to,
                                const std::uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
      "[%4];" ::"r"(shared_address(to)),
      "l"(&map), "r"(column), "r"(row), "r"(shared_address(barrier))
      : "memory");
}
/// Likewise, to the same place in every block of the cluster.
__device__ inline void load_box_for_all(const CUtensorMap& map, int column, int row, const void* to,
                                        const std::uint64_t* barrier) {
  constexpr std::uint16_t kAll = (1 << kBlocks) - 1;
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to)),
      "l"(&map), "r"(column), "r"(row), "r"(shared_address(barrier)), "h"(kAll)
      : "memory");
}
__device__ inline void store_box(const CUtensorMap& map, int column, int row, const void* from) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map),
               "r"(column), "r"(row), "r"(shared_address(from))
               : "memory");
}
/// Waits until this thread's stores have read their shared memory.
__device__ inline void stores_wait() {
  asm volatile("cp.async.bulk.commit_group;\ncp.async.bulk.wait_group.read 0;" ::: "memory");
}

/// As barrier(), without waiting.
__device__ inline void arrive(int number, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

/// d (+)= a b^T: a's tile has 64 rows, b's 192.
__device__ inline void multiply(float (&d)[96], std::uint64_t a, std::uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %98, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {" LAWCAT_NUMBERS_96
      "}, %96, %97, p, 1, 1, 0, 0;\n}"
      : LAWCAT_SUMS_32(d, 0), LAWCAT_SUMS_32(d, 32), LAWCAT_SUMS_32(d, 64)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

/// What is computed from d stays behind what stands before this.
__device__ inline void settle(float (&d)[kChannels]) {
  asm volatile("" : LAWCAT_SUMS_32(d, 0), LAWCAT_SUMS_32(d, 32), LAWCAT_SUMS_32(d, 64)::"memory");
}

__device__ inline float swiglu(float gate, float up) {
  return gate * reciprocal_fast(1 + exp2_fast(gate * -kLog2E)) * up;
}

/// Where 16 bytes of a row of h lie: pieces permuted as the copy engine's 64-byte swizzle does.
__device__ inline unsigned stored_piece(unsigned row, unsigned piece) {
  return row * 64 + ((piece ^ (row / 2)) % 4) * 16;
}

/// One thread: everything the consumers read, stage after stage.
__device__ inline void load_all(Shared& s, const CUtensorMap& x, const CUtensorMap& w, const Work& work,
                                int first, int next, int rank) {
  unsigned stage = 0, turn = 0;
  for (int tile = first; tile < work.rows * work.columns; tile += next) {
    const Place place(work, tile);
    const int row = place.row + rank * kRows;
    const int weights = place.channel + rank * work.channels;  // this block's half
#pragma unroll 1
    for (int k = 0; k < work.steps; ++k) {
      split_barrier_wait(&s.empty[stage], turn ^ 1);
      split_barrier_arrive(&s.full[stage], kStageBytes);
      load_box(x, k * kStep, row, s.x[stage], &s.full[stage]);
      load_box_for_all(w, k * kStep, weights, s.w[stage][rank], &s.full[stage]);
      if (++stage == kStages) {
        stage = 0;
        turn ^= 1;
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads, 1)
    gate_up_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
                   const __grid_constant__ CUtensorMap h, const Work work) {
  extern __shared__ std::byte memory[];
  Shared& s = *reinterpret_cast<Shared*>((reinterpret_cast<std::uintptr_t>(memory) + 1023) / 1024 * 1024);
  const int rank = static_cast<int>(cluster_rank());
  const int first = static_cast<int>(blockIdx.x) / kBlocks;
  const int next = static_cast<int>(gridDim.x) / kBlocks;
  const int tiles = work.rows * work.columns;
  const int group = static_cast<int>(threadIdx.x) / kGroup;

  if (threadIdx.x == 0) {
    prefetch(x);
    prefetch(w);
    prefetch(h);
    for (int i = 0; i < kStages; ++i) {
      split_barrier_set(&s.full[i], 1);
      split_barrier_set(&s.empty[i], kBlocks);  // either block writes to both
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  cluster_barrier();

  if (group == 2) {
    give_registers<kProducerRegisters>();
    const int warp = static_cast<int>(threadIdx.x) / 32 % 4;
    const bool one = threadIdx.x % 32 == 0;
    if (warp == 0 && one) load_all(s, x, w, work, first, next, rank);
    if (warp == 1) {
      int turn = 0;
      for (int tile = first; tile < tiles; tile += next, turn ^= 1) {
        arrive(kFreeBarrier + turn, kGroup + 32);
        const Place place(work, tile);
        barrier(kFilledBarrier + turn, kGroup + 32);
        if (one) {
          for (int i = 0; i < kChannels / kStoredColumns; ++i)
            store_box(h, place.channel + i * kStoredColumns, place.row + rank * kRows, s.h[i]);
          stores_wait();
        }
        __syncwarp();
      }
    }
    __syncwarp();
  } else {
    take_registers<kConsumerRegisters>();
    const unsigned thread = threadIdx.x % kGroup;
    const unsigned lane = thread % 32;
    // Thread b tells block b that a stage was read.
    const bool tells = thread < kBlocks;
    const std::uint32_t empty = peer_address(shared_address(s.empty), tells ? thread : 0);
    const auto release = [&](unsigned stage) {
      if (tells) split_barrier_arrive_in_peer(empty + stage * 8);
    };
    // stmatrix: lane l has the address of row l % 8 of matrix l / 8; matrices 0 and 1 are 16 rows of 8
    // columns, 2 and 3 of the next 8.
    const unsigned stored_row = thread / 32 * 16 + lane % 16;
    const unsigned stored_half = lane / 16;
    if (group == 1) arrive(kTurnBarrier, 2 * kGroup);  // the other one begins
    int nth = group;
    for (int tile = first + group * next; tile < tiles; tile += 2 * next, nth += 2) {
      float d[2][kChannels];  // a thread's sums of 64 rows each: gates, then the others
      unsigned stage = static_cast<unsigned>(nth * work.steps) % kStages;
      unsigned turn = static_cast<unsigned>(nth * work.steps) / kStages % 2;
      unsigned before = 0;
      // Until the other one has waited for all of its stages, parity does not tell one use from the next.
      barrier(kTurnBarrier + group, 2 * kGroup);
#pragma unroll 1
      for (int k = 0; k < work.steps; ++k) {
        split_barrier_wait(&s.full[stage], turn);
        const std::uint64_t a = tile_descriptor(s.x[stage]);
        const std::uint64_t b = tile_descriptor(s.w[stage]);
        products_begin();
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
          for (int i = 0; i < kStep / 16; ++i)
            multiply(d[half], a + half * kNextTile + i * kNextAlongRow, b + i * kNextAlongRow,
                     k > 0 || i > 0);
        products_commit();
        if (k > 0) {
          products_wait<1>();
          release(before);
        }
        before = stage;
        if (++stage == kStages) {
          stage = 0;
          turn ^= 1;
        }
      }
      // All of this tile's products are queued: the other one's may follow.
      if (tile + next < tiles) arrive(kTurnBarrier + (group ^ 1), 2 * kGroup);
      products_wait<0>();
      release(before);
      settle(d[0]);
      settle(d[1]);

      barrier(kFreeBarrier + group, kGroup + 32);
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < kChannels / 16; ++j) {
          std::uint32_t r[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float* const gate = &d[half][8 * j + 2 * i];
            const float* const up = gate + kChannels / 2;
            r[i] = pack_bf16(swiglu(gate[0], up[0]), swiglu(gate[1], up[1]));
          }
          store_matrices(r,
                         &s.h[j / 2][0][0] + stored_piece(half * 64 + stored_row, j % 2 * 2 + stored_half));
        }
      publish_to_products();
      arrive(kFilledBarrier + group, kGroup + 32);
    }
    __syncwarp();
  }
  cluster_barrier();  // the other one may still write here
}

// ---- Host

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                            CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/// cuTensorMapEncodeTiled, or null. Nothing is linked with the driver's library.
Encode encode_function() {
  static const Encode function = []() -> Encode {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    constexpr unsigned kSince = 12000;  // CUDA 12.0
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, kSince, cudaEnableDefault,
                                         &result) != cudaSuccess ||
        result != cudaDriverEntryPointSuccess)
      return nullptr;
    return reinterpret_cast<Encode>(found);
  }();
  return function;
}

/// A row-major matrix, in boxes. What is read beyond it is zero, what is written there left out.
bool describe(CUtensorMap* map, const __nv_bfloat16* matrix, int rows, int columns, std::int64_t stride,
              int box_rows, int box_columns) {
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(stride) * sizeof(__nv_bfloat16)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(box_columns), static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t every[] = {1, 1};
  const CUtensorMapSwizzle swizzle =
      box_columns == kStep ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B;
  return encode_function()(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<__nv_bfloat16*>(matrix),
                           sizes, strides, box, every, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                           CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                           CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

int divide_up(int a, int b) {
  return (a + b - 1) / b;
}

Work work_of(const GateUpCall& call) {
  Work work{};
  work.rows = divide_up(call.rows, kBlocks * kRows);
  work.columns = divide_up(call.channels, kChannels);
  work.steps = divide_up(call.in, kStep);
  work.group = kRowsAtOnce < work.rows ? kRowsAtOnce : work.rows;
  work.channels = call.channels;
  return work;
}

/// A launch of `clusters` clusters.
struct Launch {
  Launch(int clusters, cudaStream_t stream) {
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {kBlocks, 1, 1};
    config.gridDim = static_cast<unsigned>(clusters * kBlocks);
    config.blockDim = kThreads;
    config.dynamicSmemBytes = kSharedBytes;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
  }
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;
  cudaLaunchAttribute attribute{};
  cudaLaunchConfig_t config{};
};

/// Clusters that the GPU runs at once; 0 if it cannot run the kernel.
int clusters_at_once() {
  static const int count = [] {
    const Launch one(1, nullptr);
    int clusters = 0;
    return cudaFuncSetAttribute(gate_up_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes) ==
                       cudaSuccess &&
                   cudaOccupancyMaxActiveClusters(&clusters, gate_up_kernel, &one.config) == cudaSuccess
               ? clusters
               : 0;
  }();
  return count;
}

}  // namespace

bool is_supported(const GateUpCall& call) {
  const auto aligned = [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; };
  return call.rows >= 0 && call.in > 0 && call.channels > 0 && call.in % 8 == 0 && call.channels % 8 == 0 &&
         call.x_stride % 8 == 0 && call.x_stride >= call.in && aligned(call.x) && aligned(call.w) &&
         aligned(call.h);
}

bool is_profitable(const GateUpCall& call) {
  // With 1,024 rows, where 0.86 (Llama-3.2-1B) and 0.90 (Mistral-7B) of the tiles' places in their rounds
  // over the GPU are filled, 4 and 3 % were gained; fewer rows, emptier rounds and shorter sums were not
  // measured.
  constexpr int kFewestRows = 1024, kShortestSums = 2048;
  constexpr double kLeastFilled = 0.86;
  const int at_once = clusters_at_once();
  if (at_once == 0 || call.rows < kFewestRows || call.in < kShortestSums || !is_supported(call) ||
      !encode_function())
    return false;
  const Work work = work_of(call);
  const double rounds = divide_up(work.rows * work.columns, at_once);
  return static_cast<double>(call.rows) * call.channels >=
         kLeastFilled * rounds * at_once * kBlocks * kRows * kChannels;
}

cudaError_t gate_up(const GateUpCall& call, cudaStream_t stream) {
  if (!is_supported(call)) return cudaErrorInvalidValue;
  if (call.rows == 0) return cudaSuccess;
  const int at_once = clusters_at_once();
  if (at_once == 0 || !encode_function()) return cudaErrorNotSupported;
  CUtensorMap x, w, h;
  if (!describe(&x, call.x, call.rows, call.in, call.x_stride, kRows, kStep) ||
      !describe(&w, call.w, 2 * call.channels, call.in, call.in, kChannels, kStep) ||
      !describe(&h, call.h, call.rows, call.channels, call.channels, kRows, kStoredColumns))
    return cudaErrorInvalidValue;
  const Work work = work_of(call);
  const int tiles = work.rows * work.columns;
  const Launch launch(tiles < at_once ? tiles : at_once, stream);
  return cudaLaunchKernelEx(&launch.config, gate_up_kernel, x, w, h, work);
}

}  // namespace lawcat::cuda

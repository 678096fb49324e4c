// SPDX-License-Identifier: Apache-2.0
// Single machine instructions as functions: matrix products of a warp, their fragment loads, asynchronous
// copies, fast exponentials. Fragment layouts are those of mma.m16n8k16 in the PTX manual: with g = lane / 4
// and t = lane % 4 a thread holds of a 16 x 8 accumulator {(g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1)}.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace lawcat::cuda {

__device__ inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// Four 8 x 8 matrices of 16-bit words; lane i gives the address of row i % 8 of matrix i / 8.
__device__ inline void load_matrices(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void load_matrices_transposed(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

/// The other way round: the fragments of load_matrices to four 8 x 8 matrices.
__device__ inline void store_matrices(const std::uint32_t (&r)[4], void* row) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(shared_address(row)),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

/// c += a b: a 16 x 16, b 16 x 8, c 16 x 8.
__device__ inline void multiply_fp16(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                     std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// 16 bytes from global to shared memory (`shared` as shared_address gives it), zeros when `there` is false.
__device__ inline void copy_async(std::uint32_t shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global) : "memory");
}
__device__ inline void copy_async(std::uint32_t shared, const void* global, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(there ? 16 : 0)
               : "memory");
}
/// The line at an address to the L2 cache.
__device__ inline void prefetch(const void* global) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
}
__device__ inline void copy_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits until at most `kPending` of this thread's committed groups are under way.
template <int kPending>
__device__ inline void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// By addresses as shared_address gives them.
__device__ inline void store_shared(std::uint32_t shared, uint2 value) {
  asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(shared), "r"(value.x), "r"(value.y) : "memory");
}
__device__ inline uint2 load_shared(std::uint32_t shared) {
  uint2 value;
  asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(value.x), "=r"(value.y) : "r"(shared) : "memory");
  return value;
}

/// 16 bytes to global memory.
__device__ inline void store_global(void* to, uint4 value) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(value.x), "r"(value.y), "r"(value.z),
               "r"(value.w)
               : "memory");
}

/// A barrier of `threads` threads; numbers 1 to 15, 0 is __syncthreads.
__device__ inline void barrier(int number, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

/// A barrier in shared memory where arriving and waiting are two steps; `arrivals` arrivals complete a phase.
__device__ inline void split_barrier_set(std::uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
}
__device__ inline void split_barrier_arrive(std::uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
/// Waits for the end of a phase; `parity` is its number modulo 2.
__device__ inline void split_barrier_wait(std::uint64_t* barrier, unsigned parity) {
  asm volatile(
      "{\n.reg .pred p;\nwait_%=:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra "
      "wait_%=;\n}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

/// `bytes` from global to shared memory by the copy engine; they count towards what the barrier expects.
__device__ inline void copy_bulk(std::uint32_t shared, const void* global, unsigned bytes,
                                 std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared),
      "l"(global), "r"(bytes), "r"(barrier)
      : "memory");
}
/// This thread's ordinary writes, and those it has waited for, are seen by the copy engine; and its reads are
/// done, so that after a barrier the engine may write there.
__device__ inline void publish_to_copies() {
  asm volatile("fence.proxy.async;" ::: "memory");
}

// Blocks of a cluster: what lies at an address in this block's shared memory lies in another's at
// peer_address.
__device__ inline unsigned cluster_rank() {
  unsigned rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ inline std::uint32_t peer_address(std::uint32_t shared, unsigned rank) {
  std::uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared), "r"(rank));
  return address;
}
/// Asynchronous stores, which count towards the bytes that the other block's `barrier` expects.
__device__ inline void store_in_peer(std::uint32_t address, float value, std::uint32_t barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %1, [%2];" ::"r"(address),
               "f"(value), "r"(barrier)
               : "memory");
}
__device__ inline void store_in_peer(std::uint32_t address, uint2 value, std::uint32_t barrier) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(address),
      "r"(value.x), "r"(value.y), "r"(barrier)
      : "memory");
}
/// Tells the other block that something was read; it publishes no stores.
__device__ inline void split_barrier_arrive_in_peer(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/// As split_barrier_arrive; the phase ends when `bytes` more have come, too.
__device__ inline void split_barrier_arrive(std::uint64_t* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
}
/// __syncthreads of the cluster.
__device__ inline void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

/// Registers of each thread of a warpgroup from here on, more or fewer than it was started with; a multiple
/// of 8.
template <int kCount>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}

/// threadIdx.x, asked anew: what a loop derives from it is computed where it is used instead of kept in
/// registers.
__device__ inline unsigned thread_index() {
  unsigned index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

// A kernel launched to overlap the one before it (programmatic dependent launch): what the earlier ones wrote
// is there once this returns; and the next kernel may start to get ready.
__device__ inline void wait_for_earlier_kernels() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
__device__ inline void let_next_kernel_start() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float log2_fast(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float reciprocal_fast(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Low half `a`, high half `b`.
__device__ inline std::uint32_t pack_bf16(float a, float b) {
  std::uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a));
  return r;
}
/// Likewise in fp16; what its range cannot hold becomes its largest value.
__device__ inline std::uint32_t pack_fp16(float a, float b) {
  std::uint32_t r;
  asm("cvt.rn.satfinite.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a));
  return r;
}
__device__ inline float2 unpack_bf16(std::uint32_t x) {
  return {__uint_as_float(x << 16), __uint_as_float(x & 0xffff0000U)};
}

__device__ inline float2 unpack_fp16(std::uint32_t x) {
  return __half22float2(*reinterpret_cast<const __half2*>(&x));
}

/// A positive number's largest power of two that is not greater; never less than 2^-100.
__device__ inline float power_of_two_of(float x) {
  return __uint_as_float(max(__float_as_uint(x) & 0x7f800000U, 27U << 23));
}
inline constexpr float kHalfMost = 16384;  // twice that is in fp16's range

inline constexpr float kLog2E = 1.4426950408889634F;

/// log2(sigmoid(x / log2(e))), with an absolute error of about 2^-22. Below -160000 it stays there, so that
/// sums are finite.
__device__ inline float log2_sigmoid(float x) {
  return fmaxf(fminf(x, 0.0F) - log2_fast(1 + exp2_fast(-fabsf(x))), -1.6e5F);
}

/// log2 of a forget gate, sigmoid(logit)^(1/16), relative accuracy kept where the gate is close to 1. Below
/// 2^-10000 it stays there, so that sums are finite.
__device__ inline float log2_gate(float logit) {
  const float x = logit * kLog2E;
  const float y = exp2_fast(-fabsf(x));
  // log2(1 + y): below 2^-6 by its series, whose next term is y^3 / 4 of the sum.
  const float series = y * kLog2E * (1 - y * (0.5F - y * (1.0F / 3)));
  const float softplus = y < 0.015625F ? series : log2_fast(1 + y);
  return fmaxf((fminf(x, 0.0F) - softplus) * (1.0F / 16), -1e4F);
}

// ---- Products of a warpgroup: 64 rows, warp w has rows 16 w to 16 w + 15 in the layout above, tile of 8
// columns by tile. Tiles in shared memory are rows of 128 bytes whose 16-byte pieces are permuted
// (swizzled_piece), each tile at a multiple of 1024 bytes.

/// Where piece `piece` of 16 bytes of row `row` lies, in bytes from the tile's start. With x known to the
/// compiler, swizzled_piece(row, piece ^ x) is swizzled_piece(row, piece) ^ 16 x, and 8 rows further is 1024
/// bytes further.
__device__ inline unsigned swizzled_piece(unsigned row, unsigned piece) {
  return row * 128 + ((piece ^ row) % 8) * 16;
}

/// Of a tile, for wgmma: 8-row groups 1024 bytes apart, 128-byte swizzle.
__device__ inline std::uint64_t tile_descriptor(const void* tile) {
  constexpr std::uint64_t kGroupStride = 1024 / 16, kSwizzle128 = 1;
  return (shared_address(tile) & 0x3ffff) / 16 | std::uint64_t{1} << 16 | kGroupStride << 32 |
         kSwizzle128 << 62;
}
/// Of two tiles, one after the other, whose rows together are 128 columns.
__device__ inline std::uint64_t tile_pair_descriptor(const void* tiles) {
  return tile_descriptor(tiles) & ~(std::uint64_t{0x3fff} << 16) | std::uint64_t{64 * 128 / 16} << 16;
}
/// Likewise of tiles that lie apart, `second` after `first`.
__device__ inline std::uint64_t tile_pair_descriptor(const void* first, const void* second) {
  return tile_descriptor(first) & ~(std::uint64_t{0x3fff} << 16) |
         std::uint64_t{(shared_address(second) - shared_address(first)) / 16} << 16;
}
// What to add to a descriptor for the next 16 of the summed dimension: where that runs along a row, and where
// it is the rows.
inline constexpr std::uint64_t kNextAlongRow = 32 / 16;
inline constexpr std::uint64_t kNextRows = 16 * 128 / 16;
/// What to add for the next tile of 64 rows, where tiles lie one after another.
inline constexpr std::uint64_t kNextTile = 64 * 128 / 16;

/// Registers before and after are seen by the products, and the other way round.
__device__ inline void products_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void products_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most `kPending` committed groups are under way.
template <int kPending = 0>
__device__ inline void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
/// This thread's ordinary writes to shared memory are seen by products that start after a barrier.
__device__ inline void publish_to_products() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Accumulators of products as asm's operands, from d[i] on, and by their numbers.
#define LAWCAT_SUMS_4(d, i) "+f"((d)[i]), "+f"((d)[(i) + 1]), "+f"((d)[(i) + 2]), "+f"((d)[(i) + 3])
#define LAWCAT_SUMS_16(d, i) \
  LAWCAT_SUMS_4(d, i), LAWCAT_SUMS_4(d, (i) + 4), LAWCAT_SUMS_4(d, (i) + 8), LAWCAT_SUMS_4(d, (i) + 12)
#define LAWCAT_SUMS_32(d, i) LAWCAT_SUMS_16(d, i), LAWCAT_SUMS_16(d, (i) + 16)
#define LAWCAT_NUMBERS_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define LAWCAT_NUMBERS_32 \
  LAWCAT_NUMBERS_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LAWCAT_NUMBERS_64                                                                                  \
  LAWCAT_NUMBERS_32                                                                                        \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, " \
  "%52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define LAWCAT_NUMBERS_96                                                                                  \
  LAWCAT_NUMBERS_64                                                                                        \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, " \
  "%84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"

/// d (+)= a b with a 64 x 16 in registers, b 16 x 64: its columns are the tile's rows, or with
/// kColumnsAlongRow run along them.
template <bool kColumnsAlongRow>
__device__ inline void warpgroup_multiply(float (&d)[32], const std::uint32_t (&a)[4], std::uint64_t b,
                                          bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LAWCAT_NUMBERS_32
      "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}"
      : LAWCAT_SUMS_32(d, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)),
        "n"(kColumnsAlongRow));
}
/// d (+)= a b with a 64 x 16 in registers, b 16 x 32: its columns are the tile's rows, or with
/// kColumnsAlongRow run along them.
template <bool kColumnsAlongRow>
__device__ inline void warpgroup_multiply(float (&d)[16], const std::uint32_t (&a)[4], std::uint64_t b,
                                          bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {" LAWCAT_NUMBERS_16
      "}, {%16, %17, %18, %19}, %20, p, 1, 1, %22;\n}"
      : LAWCAT_SUMS_16(d, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)),
        "n"(kColumnsAlongRow));
}
/// d += a b with a's 16 columns the rows of a tile (its 64 rows run along them).
template <bool kColumnsAlongRow>
__device__ inline void warpgroup_multiply_transposed(float (&d)[32], std::uint64_t a, std::uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LAWCAT_NUMBERS_32
               "}, %32, %33, 1, 1, 1, 1, %34;"
               : LAWCAT_SUMS_32(d, 0)
               : "l"(a), "l"(b), "n"(kColumnsAlongRow));
}
/// Likewise of 72 columns of b, the last 8 in the second of two tiles (tile_pair_descriptor).
__device__ inline void warpgroup_multiply_transposed(float (&d)[36], std::uint64_t a, std::uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n72k16.f32.bf16.bf16 {" LAWCAT_NUMBERS_32
               ", %32, %33, %34, %35}, %36, %37, 1, 1, 1, 1, 1;"
               : LAWCAT_SUMS_32(d, 0), LAWCAT_SUMS_4(d, 32)
               : "l"(a), "l"(b));
}

/// d (+)= a b with a 64 x 16 in registers, b 16 x 8: its columns are the tile's rows, or with
/// kColumnsAlongRow run along them.
template <bool kColumnsAlongRow>
__device__ inline void warpgroup_multiply(float (&d)[4], const std::uint32_t (&a)[4], std::uint64_t b,
                                          bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %9, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, {%4, %5, %6, %7}, %8, p, 1, 1, "
      "%10;\n}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)),
        "n"(kColumnsAlongRow));
}
/// d += a b with a's 16 columns the rows of a tile (its 64 rows run along them).
template <bool kColumnsAlongRow>
__device__ inline void warpgroup_multiply_transposed(float (&d)[4], std::uint64_t a, std::uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, 1, %6;"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "l"(a), "l"(b), "n"(kColumnsAlongRow));
}

/// d (+)= a b of fp16 with both from tiles: a's 64 rows are its tile's.
template <bool kColumnsAlongRow>
__device__ inline void warpgroup_multiply_fp16(float (&d)[32], std::uint64_t a, std::uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" LAWCAT_NUMBERS_32
      "}, "
      "%32, %33, p, 1, 1, 0, %35;\n}"
      : LAWCAT_SUMS_32(d, 0)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)), "n"(kColumnsAlongRow));
}
/// d (+)= a b of fp16 with a 64 x 16 in registers.
template <bool kColumnsAlongRow>
__device__ inline void warpgroup_multiply_fp16(float (&d)[32], const std::uint32_t (&a)[4], std::uint64_t b,
                                               bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" LAWCAT_NUMBERS_32
      "}, "
      "{%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}"
      : LAWCAT_SUMS_32(d, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)),
        "n"(kColumnsAlongRow));
}
/// [low, high] += a b with a's 16 columns the rows of a tile, and the 128 columns of b along the rows of two
/// tiles (tile_pair_descriptor).
__device__ inline void warpgroup_multiply_transposed(float (&low)[32], float (&high)[32], std::uint64_t a,
                                                     std::uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LAWCAT_NUMBERS_64
               "}, %64, %65, 1, 1, 1, 1, 1;"
               : LAWCAT_SUMS_32(low, 0), LAWCAT_SUMS_32(high, 0)
               : "l"(a), "l"(b));
}

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// Matrix products of bf16 operands with sums in fp32, by cuBLASLt.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

namespace lawcat::cuda {

/// One product y [tokens, out] = x [tokens, in] w^T, or y += that. Strides in elements; w [out, in] stands
/// alone.
struct MatmulCall {
  const __nv_bfloat16* x = nullptr;
  std::int64_t x_stride = 0;  ///< a multiple of 8
  const __nv_bfloat16* w = nullptr;
  void* y = nullptr;
  std::int64_t y_stride = 0;
  int tokens = 0;
  int in = 0;  ///< a multiple of 8
  int out = 0;
  bool y_is_fp32 = false;   ///< else bf16
  bool accumulate = false;  ///< add to y; fp32 only
};

class Matmul {
 public:
  Matmul();
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;
  ~Matmul();

  /// Queues the product; may be captured. The algorithm is cuBLASLt's first proposal for the shape, kept for
  /// later calls; of a large product's proposals the first call, unless it is captured, times all and keeps
  /// the fastest of those that give the first one's bits. So the same call gives the same bits, in every
  /// process. All calls share one workspace, so they must follow one another. Throws std::runtime_error,
  /// naming the shape, when cuBLASLt has no algorithm.
  void operator()(const MatmulCall& call, cudaStream_t stream);

  static constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// See matmul.h. cuBLASLt counts columns first: its D [out, tokens] = w^T [in, out]^T x [in, tokens] is our
// row-major y.
#include "kernels/dense/matmul.h"

#include <cublasLt.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <stdexcept>

#include "kernels/device.h"

namespace lawcat::cuda {
namespace {

std::string shape_of(const MatmulCall& call) {
  return fmt::format("matrix product [{}, {}] x [{}, {}]^T", call.tokens, call.in, call.out, call.in);
}

void check_blas(cublasStatus_t status, const std::string& what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error(fmt::format("{}: cuBLASLt: {}", what, cublasLtGetStatusString(status)));
}

/// Bytes that an address is a multiple of, 256 at most: what cuBLASLt asks about.
std::uint32_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer) | 256;
  return static_cast<std::uint32_t>(address & (~address + 1));
}

/// One prepared product: descriptors and algorithm.
class Plan {
 public:
  Plan(cublasLtHandle_t handle, const MatmulCall& call) {
    const std::string what = shape_of(call);
    const cudaDataType_t y_type = call.y_is_fp32 ? CUDA_R_32F : CUDA_R_16BF;
    check_blas(cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F), what);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check_blas(cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                              sizeof transposed),
               what);
    check_blas(cublasLtMatrixLayoutCreate(&w_, CUDA_R_16BF, static_cast<std::uint64_t>(call.in),
                                          static_cast<std::uint64_t>(call.out), call.in),
               what);
    check_blas(cublasLtMatrixLayoutCreate(&x_, CUDA_R_16BF, static_cast<std::uint64_t>(call.in),
                                          static_cast<std::uint64_t>(call.tokens), call.x_stride),
               what);
    check_blas(cublasLtMatrixLayoutCreate(&y_, y_type, static_cast<std::uint64_t>(call.out),
                                          static_cast<std::uint64_t>(call.tokens), call.y_stride),
               what);

    cublasLtMatmulPreference_t preference = nullptr;
    check_blas(cublasLtMatmulPreferenceCreate(&preference), what);
    const std::unique_ptr<void, void (*)(void*)> owner(preference, [](void* p) {
      cublasLtMatmulPreferenceDestroy(static_cast<cublasLtMatmulPreference_t>(p));
    });
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      check_blas(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), what);
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{Matmul::kWorkspaceBytes});
    // Where the inner dimension is split, the parts are added in fp32.
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(call.w));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(call.x));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(call.y));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(call.y));
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    check_blas(
        cublasLtMatmulAlgoGetHeuristic(handle, operation_, w_, x_, y_, y_, preference, 1, &best, &found),
        what);
    if (found == 0) throw std::runtime_error(what + ": cuBLASLt knows no algorithm");
    algorithm_ = best.algo;
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    if (y_) cublasLtMatrixLayoutDestroy(y_);
    if (x_) cublasLtMatrixLayoutDestroy(x_);
    if (w_) cublasLtMatrixLayoutDestroy(w_);
    if (operation_) cublasLtMatmulDescDestroy(operation_);
  }

  void run(cublasLtHandle_t handle, const MatmulCall& call, void* workspace, cudaStream_t stream) const {
    const float one = 1;
    const float beta = call.accumulate ? 1 : 0;
    check_blas(cublasLtMatmul(handle, operation_, &one, call.w, w_, call.x, x_, &beta, call.y, y_, call.y, y_,
                              &algorithm_, workspace, Matmul::kWorkspaceBytes, stream),
               shape_of(call));
  }

 private:
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, y_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
};

}  // namespace

struct Matmul::Impl {
  Impl() { check_blas(cublasLtCreate(&handle), "matrix products"); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { cublasLtDestroy(handle); }

  cublasLtHandle_t handle = nullptr;
  DeviceBuffer workspace{kWorkspaceBytes};
  std::map<std::array<std::int64_t, 10>, Plan> plans;
};

Matmul::Matmul() : impl_(std::make_unique<Impl>()) {}
Matmul::~Matmul() = default;

void Matmul::operator()(const MatmulCall& call, cudaStream_t stream) {
  const std::array<std::int64_t, 10> key = {call.tokens,
                                            call.in,
                                            call.out,
                                            call.x_stride,
                                            call.y_stride,
                                            call.y_is_fp32,
                                            call.accumulate,
                                            alignment_of(call.x),
                                            alignment_of(call.w),
                                            alignment_of(call.y)};
  const auto [plan, is_new] = impl_->plans.try_emplace(key, impl_->handle, call);
  plan->second.run(impl_->handle, call, impl_->workspace.data(), stream);
}

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// See matmul.h. cuBLASLt counts columns first: its D [out, tokens] = w^T [in, out]^T x [in, tokens] is our
// row-major y.
//
// Ladder, prefill of Llama-3.2-1B's shape at T = 16,384 on an H100, medians of
// `lawcat-sim gpu --shape llama3.2-1b --operations model --tokens 16384`, one after another on one machine:
//   58.6 to 58.8 ms  cuBLASLt's first proposal
//   57.9 ms          the fastest of eight with the same bits. 2 to 4 % predicted, as single products gain up
//                    to a tenth: run one after another they stand at the card's power limit
//   58.0 ms          the fastest of sixteen; a run on its own, within the spread of the row before
#include "kernels/dense/matmul.h"

#include <cublasLt.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <stdexcept>
#include <vector>

#include "kernels/dense/dense.h"
#include "kernels/device.h"

namespace lawcat::cuda {
namespace {

constexpr int kProposals = 16;
// Smaller products take their first proposal: decode steps wait for memory, and a prompt of a new length
// should not wait for a choice.
constexpr double kOperationsToChoose = 3e10;

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

template <auto destroy>
struct Destroy {
  template <class T>
  void operator()(T* object) const {
    destroy(object);
  }
};
using Operation = std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroy<cublasLtMatmulDescDestroy>>;
using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroy<cublasLtMatrixLayoutDestroy>>;
using Preference =
    std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroy<cublasLtMatmulPreferenceDestroy>>;

/// One prepared product: descriptors and algorithm.
class Plan {
 public:
  Plan(cublasLtHandle_t handle, const MatmulCall& call) {
    const std::string what = shape_of(call);
    const cudaDataType_t y_type = call.y_is_fp32 ? CUDA_R_32F : CUDA_R_16BF;
    cublasLtMatmulDesc_t operation = nullptr;
    check_blas(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), what);
    operation_.reset(operation);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check_blas(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                              sizeof transposed),
               what);
    const auto layout = [&](cudaDataType_t type, int width, int rows, std::int64_t stride) {
      cublasLtMatrixLayout_t created = nullptr;
      check_blas(cublasLtMatrixLayoutCreate(&created, type, static_cast<std::uint64_t>(width),
                                            static_cast<std::uint64_t>(rows), stride),
                 what);
      return Layout(created);
    };
    w_ = layout(CUDA_R_16BF, call.in, call.out, call.in);
    x_ = layout(CUDA_R_16BF, call.in, call.tokens, call.x_stride);
    y_ = layout(y_type, call.out, call.tokens, call.y_stride);

    cublasLtMatmulPreference_t preference = nullptr;
    check_blas(cublasLtMatmulPreferenceCreate(&preference), what);
    const Preference owner(preference);
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
    std::array<cublasLtMatmulHeuristicResult_t, kProposals> proposals{};
    int found = 0;
    check_blas(cublasLtMatmulAlgoGetHeuristic(handle, operation, w_.get(), x_.get(), y_.get(), y_.get(),
                                              preference, kProposals, proposals.data(), &found),
               what);
    if (found == 0) throw std::runtime_error(what + ": cuBLASLt knows no algorithm");
    for (int i = 0; i < found; ++i)
      if (proposals[static_cast<std::size_t>(i)].state == CUBLAS_STATUS_SUCCESS)
        algorithms_.push_back(proposals[static_cast<std::size_t>(i)].algo);
    if (algorithms_.empty()) throw std::runtime_error(what + ": cuBLASLt knows no algorithm");
  }

  void run(cublasLtHandle_t handle, const MatmulCall& call, void* workspace, cudaStream_t stream) const {
    run(algorithms_.front(), handle, call, call.y, workspace, stream);
  }

  /// Times the proposals on this call's operands, results going elsewhere, and keeps the fastest of those
  /// that give the first one's bits: which one wins by a hair in which process then shows nowhere.
  void choose(cublasLtHandle_t handle, const MatmulCall& call, void* workspace, cudaStream_t stream) {
    cudaStreamCaptureStatus capture{};
    check(cudaStreamIsCapturing(stream, &capture), "matrix products");
    if (algorithms_.size() < 2 || capture != cudaStreamCaptureStatusNone) return;
    const std::size_t bytes =
        (static_cast<std::size_t>(call.tokens - 1) * static_cast<std::size_t>(call.y_stride) +
         static_cast<std::size_t>(call.out)) *
        (call.y_is_fp32 ? 4 : 2);
    DeviceBuffer first, other;
    try {
      first = DeviceBuffer(bytes);
      other = DeviceBuffer(bytes);
    } catch (const std::bad_alloc&) {
      return;  // the first proposal will do
    }
    check(cudaMemsetAsync(first.data(), 0, bytes, stream), "matrix products");
    check(cudaMemsetAsync(other.data(), 0, bytes, stream), "matrix products");
    DeviceBuffer flag(sizeof(int));
    EventPair timer;
    double best = std::numeric_limits<double>::infinity();
    std::size_t winner = 0;
    for (std::size_t i = 0; i < algorithms_.size(); ++i) {
      void* const to = i == 0 ? first.data() : other.data();
      double seconds = std::numeric_limits<double>::infinity();
      for (int repeat = 0; repeat < kRepeats; ++repeat) {
        timer.start.record(stream);
        run(algorithms_[i], handle, call, to, workspace, stream);
        timer.stop.record(stream);
        timer.stop.wait();
        if (repeat > 0) seconds = std::min(seconds, timer.seconds());
      }
      int differs = 0;
      if (i > 0) {
        check(differ(first.data(), other.data(), bytes, flag.as<int>(), stream), "matrix products");
        check(cudaMemcpyAsync(&differs, flag.data(), sizeof differs, cudaMemcpyDeviceToHost, stream),
              "matrix products");
        check(cudaStreamSynchronize(stream), "matrix products");
      }
      if (!differs && seconds < best) {
        best = seconds;
        winner = i;
      }
    }
    std::swap(algorithms_.front(), algorithms_[winner]);
  }

 private:
  static constexpr int kRepeats = 4;

  void run(const cublasLtMatmulAlgo_t& algorithm, cublasLtHandle_t handle, const MatmulCall& call, void* to,
           void* workspace, cudaStream_t stream) const {
    const float one = 1;
    const float beta = call.accumulate ? 1 : 0;
    check_blas(
        cublasLtMatmul(handle, operation_.get(), &one, call.w, w_.get(), call.x, x_.get(), &beta, call.y,
                       y_.get(), to, y_.get(), &algorithm, workspace, Matmul::kWorkspaceBytes, stream),
        shape_of(call));
  }

  Operation operation_;
  Layout w_, x_, y_;
  std::vector<cublasLtMatmulAlgo_t> algorithms_;  ///< the first is used
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
  if (is_new && 2.0 * call.tokens * call.in * call.out >= kOperationsToChoose)
    plan->second.choose(impl_->handle, call, impl_->workspace.data(), stream);
  plan->second.run(impl_->handle, call, impl_->workspace.data(), stream);
}

}  // namespace lawcat::cuda

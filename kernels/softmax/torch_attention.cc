// SPDX-License-Identifier: Apache-2.0
// See torch_attention.h. PyTorch's operators are called by name, not through scaled_dot_product_attention():
// that would choose the kernel itself and repeat keys and values for grouped heads, which both kernels take
// as they are.
#include "kernels/softmax/torch_attention.h"

#ifdef LAWCAT_WITH_TORCH

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <new>
#include <stdexcept>
#include <tuple>

namespace lawcat::cuda {

struct TorchAttention::Impl {
  at::Tensor output;
};

std::string why_no_torch() {
  return "";
}

TorchAttention::TorchAttention() : impl_(std::make_unique<Impl>()) {}
TorchAttention::~TorchAttention() = default;

const void* TorchAttention::operator()(const TorchCall& call, cudaStream_t stream) {
  try {
    int device = 0;
    C10_CUDA_CHECK(cudaGetDevice(&device));
    const auto index = static_cast<c10::DeviceIndex>(device);
    const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromExternal(stream, index));
    const c10::InferenceMode no_gradients;
    const auto options = at::TensorOptions().dtype(at::kBFloat16).device(at::kCUDA, index);
    // As PyTorch orders them: [B, heads, T, D].
    const auto view = [&](const void* data, int heads, std::int64_t tokens, std::int64_t sequence,
                          std::int64_t token) {
      return at::from_blob(const_cast<void*>(data), {call.sequences, heads, tokens, call.head_dim},
                           {sequence, call.head_dim, token, 1}, options);
    };
    const std::int64_t kv_token = std::int64_t{call.kv_heads} * call.head_dim;
    const at::Tensor q = view(call.q, call.heads, call.queries, call.q_sequence, call.q_token);
    const at::Tensor k = view(call.k, call.kv_heads, call.keys, call.kv_sequence, kv_token);
    const at::Tensor v = view(call.v, call.kv_heads, call.keys, call.kv_sequence, kv_token);
    const bool causal = call.queries > 1;
    const at::Tensor o =
        call.kernel == TorchKernel::flash
            ? std::get<0>(at::_scaled_dot_product_flash_attention(q, k, v, 0.0, causal, false))
            : std::get<0>(
                  at::_scaled_dot_product_cudnn_attention(q, k, v, std::nullopt, false, 0.0, causal, false));
    TORCH_CHECK(o.sizes() == q.sizes() && o.scalar_type() == at::kBFloat16, "unexpected output of attention");
    impl_->output = o.transpose(1, 2).contiguous();  // both kernels write [B, T, H, D]: no copy
    return impl_->output.data_ptr();
  } catch (const c10::OutOfMemoryError&) {
    throw std::bad_alloc();
  } catch (const c10::Error& error) {
    throw std::runtime_error(std::string("attention by PyTorch: ") + error.what_without_backtrace());
  }
}

}  // namespace lawcat::cuda

#else

namespace lawcat::cuda {

struct TorchAttention::Impl {};

std::string why_no_torch() {
  return "built without PyTorch (LAWCAT_WITH_TORCH)";
}

TorchAttention::TorchAttention() = default;
TorchAttention::~TorchAttention() = default;

const void* TorchAttention::operator()(const TorchCall&, cudaStream_t) {
  return nullptr;  // never called: why_no_torch() is asked first
}

}  // namespace lawcat::cuda

#endif

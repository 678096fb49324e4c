// SPDX-License-Identifier: Apache-2.0
// Layouts of weights and state, and which form takes which shape.
#include "kernels/attention/attention.h"

#include <cuda_fp16.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <numbers>

#include "hostlib/io/error.h"
#include "kernels/attention/forms.h"
#include "kernels/attention/layout.h"

namespace lawcat::cuda {
namespace {

bool is_aligned(std::initializer_list<const void*> pointers) {
  return std::all_of(pointers.begin(), pointers.end(),
                     [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; });
}

/// What both entry points ask of a call.
bool is_valid(Precision precision, const UnitShape& shape, const void* weights, const void* state,
              const Tensors& x, int tokens) {
  if (tokens < 1 || !why_not(precision, shape).empty()) return false;
  if (!weights || !state || !x.q || !x.k || !x.v || !x.gk || !x.o) return false;
  if (precision == Precision::fp32) return true;
  const std::initializer_list<std::int64_t> strides = {x.q_stride, x.k_stride, x.v_stride, x.gk_stride,
                                                       x.o_stride};
  return is_aligned({weights, state, x.q, x.k, x.v, x.gk, x.o}) &&
         std::all_of(strides.begin(), strides.end(), [](std::int64_t stride) { return stride % 8 == 0; });
}

}  // namespace

std::string why_not(Precision precision, const UnitShape& s) {
  if (s.heads < 1 || s.kv_heads < 1 || s.heads % s.kv_heads != 0)
    return fmt::format("heads are no multiple of kv_heads: {} and {}", s.heads, s.kv_heads);
  const bool fast = (s.head_dim == 64 && s.feature_dim == 32) || (s.head_dim == 128 && s.feature_dim == 64);
  if (precision == Precision::bf16 && !fast)
    return fmt::format("the bf16 kernels take head_dim 64 with feature_dim 32 or 128 with 64, not {} with {}",
                       s.head_dim, s.feature_dim);
  if (s.head_dim > kMostPlainDim || s.feature_dim > kMostPlainDim / 2)
    return fmt::format("the fp32 kernels take head_dim up to {} and feature_dim up to {}, not {} and {}",
                       kMostPlainDim, kMostPlainDim / 2, s.head_dim, s.feature_dim);
  return "";
}

std::size_t weight_bytes(const UnitShape& shape) {
  return weight_layout(shape).size;
}

void pack_weights(const UnitShape& s, const UnitWeights& weights, std::span<std::byte> block) {
  validate(s, weights);
  const WeightLayout at = weight_layout(s);
  if (block.size() != at.size)
    throw InputError("packed weights", fmt::format("{} bytes", at.size), fmt::format("{}", block.size()));
  std::fill(block.begin(), block.end(), std::byte{0});
  const auto put = [&block](std::size_t offset, std::size_t index, auto value) {
    std::memcpy(block.data() + offset + index * sizeof value, &value, sizeof value);
  };
  const auto heads = static_cast<std::size_t>(s.heads);
  const auto d = static_cast<std::size_t>(s.head_dim);
  const std::vector<float>* const taps[] = {&weights.q_conv1d, &weights.k_conv1d};
  for (std::size_t which = 0; which < 2; ++which)
    for (std::size_t h = 0; h < heads; ++h) {
      const auto tap = [&](std::size_t c, std::size_t j) {
        return (*taps[which])[(h * d + c) * kConvTaps + j];
      };
      float most = 0;
      for (std::size_t c = 0; c < d; ++c)
        most = std::max(
            most, std::abs(tap(c, 0)) + std::abs(tap(c, 1)) + std::abs(tap(c, 2)) + std::abs(tap(c, 3)));
      const int exponent = most > 0 ? std::ilogb(most) + 1 : 0;
      for (std::size_t j = 0; j < kConvTaps; ++j)
        for (std::size_t c = 0; c < d; ++c) {
          const std::size_t index = ((which * heads + h) * kConvTaps + j) * d + c;
          put(at.taps, index, tap(c, j));
          put(at.scaled_taps, index, __float2half_rn(std::ldexp(tap(c, j), -exponent)));
        }
      put(at.tap_scale, which * heads + h, std::ldexp(1.0F, exponent));
    }
  const std::size_t per_head = d * static_cast<std::size_t>(s.feature_dim);
  for (std::size_t h = 0; h < heads; ++h) {
    const auto map = std::span(weights.feature_map).subspan(h * per_head, per_head);
    float most = 0;
    for (const float w : map) most = std::max(most, std::abs(w));
    const int exponent = most > 0 ? std::ilogb(most) : 0;
    for (std::size_t i = 0; i < per_head; ++i) {
      put(at.map, h * per_head + i, map[i]);
      put(at.scaled_map, h * per_head + i, __float2half_rn(std::ldexp(map[i], -exponent)));
    }
    put(at.z_scale, h, std::ldexp(std::numbers::log2e_v<float>, exponent));
  }
}

StateLayout state_layout(const UnitShape& s) {
  const auto heads = static_cast<std::size_t>(s.heads);
  const auto d = static_cast<std::size_t>(s.head_dim);
  const auto k = static_cast<std::size_t>(s.key_features());
  StateLayout at{};
  at.normaliser = to_16_bytes(heads * k * d * sizeof(float));
  at.q_tail = at.normaliser + to_16_bytes(heads * k * sizeof(float));
  at.k_tail = at.q_tail + to_16_bytes((kConvTaps - 1) * heads * d * sizeof(float));
  at.size = at.k_tail + (at.k_tail - at.q_tail);
  return at;
}

std::size_t state_bytes(const UnitShape& shape) {
  return state_layout(shape).size;
}

Tensors with_dense_strides(Tensors tensors, const UnitShape& s) {
  tensors.q_stride = tensors.o_stride = std::int64_t{s.heads} * s.head_dim;
  tensors.k_stride = tensors.v_stride = std::int64_t{s.kv_heads} * s.head_dim;
  tensors.gk_stride = std::int64_t{s.kv_heads} * s.key_features();
  return tensors;
}

std::size_t prefill_workspace_bytes(Precision precision, const UnitShape& shape, int tokens) {
  return precision == Precision::bf16 ? bf16_prefill_workspace_bytes(shape, tokens) : 0;
}

cudaError_t prefill(Precision precision, const UnitShape& shape, const void* weights, void* state,
                    const Tensors& tensors, int tokens, void* workspace, cudaStream_t stream) {
  if (!is_valid(precision, shape, weights, state, tensors, tokens) || !is_aligned({workspace}) ||
      (!workspace && prefill_workspace_bytes(precision, shape, tokens) > 0))
    return cudaErrorInvalidValue;
  return precision == Precision::bf16
             ? bf16_prefill(shape, weights, state, tensors, tokens, workspace, stream)
             : fp32_run(shape, weights, state, state_bytes(shape), tensors, tokens, 1, stream);
}

cudaError_t decode(Precision precision, const UnitShape& shape, const void* weights, void* state,
                   std::size_t state_stride, const Tensors& tensors, int tokens, int sequences,
                   cudaStream_t stream) {
  if (!is_valid(precision, shape, weights, state, tensors, tokens) || tokens > kMostDecodeTokens ||
      sequences < 1 || state_stride < state_bytes(shape) || state_stride % 16 != 0)
    return cudaErrorInvalidValue;
  return precision == Precision::bf16
             ? bf16_decode(shape, weights, state, state_stride, tensors, tokens, sequences, stream)
             : fp32_run(shape, weights, state, state_stride, tensors, tokens, sequences, stream);
}

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// Where things lie inside the blocks of attention.h, for the kernels.
#pragma once

#include <cstddef>

#include "hostlib/backend/job.h"
#include "kernels/attention/attention.h"

namespace lawcat::cuda {

constexpr std::size_t to_16_bytes(std::size_t bytes) {
  return (bytes + 15) / 16 * 16;
}

/// Byte offsets in a block of weights.
struct WeightLayout {
  std::size_t taps;        ///< [2 (q, k), H, 4, D] fp32
  std::size_t map;         ///< [H, D, F] fp32
  std::size_t scaled_map;  ///< [H, D, F] fp16: the map times a power of two per head, largest entry in [1, 2)
  std::size_t
      z_scale;  ///< [H] fp32: log2(e) over that power of two; z = this x (scaled map product), in log2 units
  std::size_t scaled_taps;  ///< as taps in fp16, times a power of two per head, so that no channel's add up
                            ///< to more than 1
  std::size_t tap_scale;    ///< [2, H] fp32: one over that power of two
  std::size_t size;
};

inline WeightLayout weight_layout(const UnitShape& s) {
  const std::size_t d = static_cast<std::size_t>(s.heads) * static_cast<std::size_t>(s.head_dim);
  const std::size_t f = static_cast<std::size_t>(s.feature_dim);
  WeightLayout at{};
  at.map = 2 * d * kConvTaps * sizeof(float);
  at.scaled_map = at.map + to_16_bytes(d * f * sizeof(float));
  at.z_scale = at.scaled_map + to_16_bytes(d * f * 2);
  at.scaled_taps = at.z_scale + to_16_bytes(static_cast<std::size_t>(s.heads) * sizeof(float));
  at.tap_scale = at.scaled_taps + to_16_bytes(2 * d * kConvTaps * 2);
  at.size = at.tap_scale + to_16_bytes(2 * static_cast<std::size_t>(s.heads) * sizeof(float));
  return at;
}

/// Of a kernel's arguments what they have of a call's tensors, as elements of the kernel's type.
template <class Arguments>
void take_tensors(Arguments& x, const Tensors& tensors) {
  x.q = static_cast<decltype(x.q)>(tensors.q);
  x.k = static_cast<decltype(x.k)>(tensors.k);
  x.v = static_cast<decltype(x.v)>(tensors.v);
  x.gk = static_cast<decltype(x.gk)>(tensors.gk);
  x.o = static_cast<decltype(x.o)>(tensors.o);
  x.q_stride = tensors.q_stride;
  x.k_stride = tensors.k_stride;
  x.v_stride = tensors.v_stride;
  x.gk_stride = tensors.gk_stride;
  x.o_stride = tensors.o_stride;
  x.gate_bias = tensors.gate_bias;
}

/// Likewise of the sequences: where their states lie, one `stride` bytes after the other, and what they are.
template <class Arguments>
void take_sequences(Arguments& x, const UnitShape& shape, void* state, std::size_t stride, int tokens) {
  x.state = static_cast<std::byte*>(state);
  x.state_stride = stride;
  x.at = state_layout(shape);
  x.heads = shape.heads;
  x.kv_heads = shape.kv_heads;
  x.tokens = tokens;
}

}  // namespace lawcat::cuda

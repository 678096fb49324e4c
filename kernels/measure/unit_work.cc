// SPDX-License-Identifier: Apache-2.0
// See unit_work.h.
#include "kernels/measure/unit_work.h"

#include <cuda_bf16.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>

namespace lawcat::cuda {
namespace {

constexpr int kPoolTokens =
    1024;  // random tokens that all inputs are taken from, each set from another place
constexpr int kPoolStep = 61;
constexpr int kMostSets = 1024;
constexpr std::size_t kAlign = 256;
constexpr std::uint64_t kSeed = 1;

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

DeviceBuffer bf16_on_device(std::span<const float> values) {
  std::vector<__nv_bfloat16> rounded(values.size());
  std::transform(values.begin(), values.end(), rounded.begin(),
                 [](float x) { return __float2bfloat16_rn(x); });
  DeviceBuffer buffer(rounded.size() * sizeof(__nv_bfloat16));
  check(cudaMemcpy(buffer.data(), rounded.data(), buffer.bytes(), cudaMemcpyHostToDevice),
        "inputs to the device");
  return buffer;
}

/// Copies `tokens` tokens of `row` bytes from the pool, from token `first` on and around its end.
void take(const DeviceBuffer& pool, std::size_t row, int first, int tokens, const void* to,
          cudaStream_t stream) {
  auto* out = static_cast<std::byte*>(const_cast<void*>(to));
  for (int from = first % kPoolTokens; tokens > 0; from = 0) {
    const int count = std::min(tokens, kPoolTokens - from);
    const std::size_t bytes = static_cast<std::size_t>(count) * row;
    check(cudaMemcpyAsync(out, pool.data() + static_cast<std::size_t>(from) * row, bytes,
                          cudaMemcpyDeviceToDevice, stream),
          "inputs");
    out += bytes;
    tokens -= count;
  }
}

/// Word is the element's bits, `exponent` those that are all ones in an infinity or NaN.
template <class Word>
void expect_finite(const void* device, std::size_t bytes, Word exponent, const char* what) {
  std::vector<Word> values(bytes / sizeof(Word));
  check(cudaMemcpy(values.data(), device, values.size() * sizeof(Word), cudaMemcpyDeviceToHost), what);
  const auto bad = std::find_if(values.begin(), values.end(),
                                [exponent](Word word) { return (word & exponent) == exponent; });
  if (bad != values.end())
    throw std::runtime_error(
        fmt::format("{}: element {} was not written or is not finite", what, bad - values.begin()));
}

}  // namespace

UnitWork::UnitWork(const UnitShape& shape, bool is_prefill, int tokens, int batch, GateRegime gates,
                   std::size_t rotated_bytes, cudaStream_t stream)
    : shape_(shape),
      is_prefill_(is_prefill),
      tokens_(is_prefill ? tokens : 1),
      sequences_(is_prefill ? 1 : batch),
      layout_(state_layout(shape)),
      workspace_(prefill_workspace_bytes(Precision::bf16, shape, is_prefill ? tokens : kDecodeContext)) {
  const std::size_t rows = static_cast<std::size_t>(tokens_) * static_cast<std::size_t>(sequences_);
  const auto bytes = [rows](int per_token) {
    return aligned(rows * static_cast<std::size_t>(per_token) * sizeof(__nv_bfloat16));
  };
  const std::size_t weights = aligned(weight_bytes(shape));
  const std::size_t states = aligned(layout_.size * static_cast<std::size_t>(sequences_));
  const std::size_t q = bytes(shape.heads * shape.head_dim);
  const std::size_t k = bytes(shape.kv_heads * shape.head_dim);
  const std::size_t gk = bytes(shape.kv_heads * shape.key_features());
  const std::size_t set_bytes = weights + states + 2 * q + 2 * k + gk;
  o_bytes_ = rows * static_cast<std::size_t>(shape.heads * shape.head_dim) * sizeof(__nv_bfloat16);
  const std::size_t count = std::clamp<std::size_t>(rotated_bytes / set_bytes + 1, 2, kMostSets);
  memory_ = DeviceBuffer(count * set_bytes);
  std::byte* at = memory_.data();
  const auto part = [&at](std::size_t size) { return std::exchange(at, at + size); };
  for (std::size_t i = 0; i < count; ++i) {
    Set set{.weights = part(weights), .state = part(states), .tensors = {}};
    set.tensors = {.q = part(q), .k = part(k), .v = part(k), .gk = part(gk), .o = part(q)};
    set.tensors = with_dense_strides(set.tensors, shape);
    sets_.push_back(set);
  }
  fill(gates, stream);
}

void UnitWork::fill(GateRegime gates, cudaStream_t stream) {
  const UnitVectors vectors = random_vectors(shape_, kPoolTokens, gates, kSeed);
  const DeviceBuffer q = bf16_on_device(vectors.q);
  const DeviceBuffer k = bf16_on_device(vectors.k);
  const DeviceBuffer v = bf16_on_device(vectors.v);
  const DeviceBuffer gk = bf16_on_device(vectors.gk);
  std::vector<std::byte> packed(weight_bytes(shape_));
  pack_weights(shape_, vectors.weights, packed);

  // What a decode step starts from.
  DeviceBuffer context(layout_.size);
  DeviceBuffer unused(q.bytes());
  check(cudaMemsetAsync(context.data(), 0, context.bytes(), stream), "zero state");
  for (std::size_t i = 0; i < sets_.size(); ++i) {
    const Set& set = sets_[i];
    check(cudaMemcpyAsync(set.weights, packed.data(), packed.size(), cudaMemcpyHostToDevice, stream),
          "weights to the device");
    if (i == 0 && !is_prefill_) {
      Tensors before{.q = q.data(), .k = k.data(), .v = v.data(), .gk = gk.data(), .o = unused.data()};
      check(prefill(Precision::bf16, shape_, set.weights, context.data(), with_dense_strides(before, shape_),
                    kDecodeContext, workspace_.data(), stream),
            "context of a decode step");
    }
    for (int s = 0; s < sequences_; ++s)
      check(cudaMemcpyAsync(set.state + static_cast<std::size_t>(s) * layout_.size, context.data(),
                            layout_.size, cudaMemcpyDeviceToDevice, stream),
            "state");
    const int rows = tokens_ * sequences_;
    const int first = static_cast<int>(i) * kPoolStep;
    const auto row = [](const DeviceBuffer& pool) { return pool.bytes() / kPoolTokens; };
    take(q, row(q), first, rows, set.tensors.q, stream);
    take(k, row(k), first, rows, set.tensors.k, stream);
    take(v, row(v), first, rows, set.tensors.v, stream);
    take(gk, row(gk), first, rows, set.tensors.gk, stream);
  }
  check(cudaStreamSynchronize(stream), "inputs");  // the pools go away
}

void UnitWork::call(int index, cudaStream_t stream) const {
  const Set& set = sets_[static_cast<std::size_t>(index) % sets_.size()];
  check(is_prefill_ ? prefill(Precision::bf16, shape_, set.weights, set.state, set.tensors, tokens_,
                              workspace_.data(), stream)
                    : decode(Precision::bf16, shape_, set.weights, set.state, layout_.size, set.tensors,
                             tokens_, sequences_, stream),
        "unit kernels");
}

Work UnitWork::work() const {
  return {.call = [this](int index, cudaStream_t stream) { call(index, stream); },
          .sets = static_cast<int>(sets_.size())};
}

void UnitWork::check_outputs(cudaStream_t stream) const {
  for (std::size_t i = 0; i < sets_.size(); ++i) {
    check(cudaMemsetAsync(sets_[i].tensors.o, 0xff, o_bytes_, stream), "poison");
    call(static_cast<int>(i), stream);
  }
  check(cudaStreamSynchronize(stream), "unit kernels");
  for (const Set& set : sets_) {
    expect_finite<std::uint16_t>(set.tensors.o, o_bytes_, 0x7f80, "output of the unit");
    expect_finite<std::uint32_t>(set.state, layout_.size * static_cast<std::size_t>(sequences_), 0x7f800000,
                                 "state of the unit");
  }
}

}  // namespace lawcat::cuda

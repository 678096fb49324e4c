// SPDX-License-Identifier: Apache-2.0
// See weights.h: weights from a loaded model, or made on the GPU from a seed.
#include "kernels/model/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "hostlib/io/error.h"
#include "kernels/attention/attention.h"
#include "kernels/dense/dense.h"

namespace lawcat::cuda {
namespace {

using Bf16 = __nv_bfloat16;

constexpr int kVector = 8;  // bf16 elements of a 16-byte access

int padded(int count) {
  return (count + kVector - 1) / kVector * kVector;
}

/// [rows, columns] floats to bf16 rows of `stride` elements from `to` on.
void upload_bf16(std::span<const float> values, std::size_t columns, Bf16* to, std::size_t stride) {
  std::vector<Bf16> host(values.size());
  std::transform(values.begin(), values.end(), host.begin(), [](float x) { return __float2bfloat16_rn(x); });
  check(cudaMemcpy2D(to, stride * sizeof(Bf16), host.data(), columns * sizeof(Bf16), columns * sizeof(Bf16),
                     values.size() / columns, cudaMemcpyHostToDevice),
        "weights to the GPU");
}

void upload_fp32(std::span<const float> values, const DeviceBuffer& to) {
  check(cudaMemcpy(to.data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice),
        "weights to the GPU");
}

void upload_unit(const UnitShape& shape, const UnitWeights& weights, const DeviceBuffer& to) {
  std::vector<std::byte> block(to.bytes());
  pack_weights(shape, weights, block);
  check(cudaMemcpy(to.data(), block.data(), block.size(), cudaMemcpyHostToDevice), "weights to the GPU");
}

}  // namespace

Widths::Widths(const ModelConfig& config)
    : q(config.heads * config.head_dim),
      kv(config.kv_heads * config.head_dim),
      rank(config.lawcat ? padded(config.lawcat->gate_low_rank) : 0),
      gates(config.lawcat ? config.kv_heads * 2 * config.lawcat->feature_dim : 0) {}

CudaModel::Impl::Impl(const ModelConfig& model_config) : config(model_config), widths(config) {
  if (const std::string& problem = device_problem(); !problem.empty())
    throw InputError("host cuda: " + problem);
  const auto require = [&](const char* field, int value) {
    if (value % kVector != 0)
      throw InputError(fmt::format("model {} on host cuda: {}", config.name, field), "a multiple of 8",
                       fmt::format("{}", value));
  };
  require("hidden_size", config.hidden_size);
  require("intermediate_size", config.intermediate_size);
  require("head_dim", config.head_dim);
  require("gate channels (kv heads x key features)", widths.gates);

  const auto c = static_cast<std::size_t>(config.hidden_size);
  const auto mlp = static_cast<std::size_t>(config.intermediate_size);
  const auto vocab = static_cast<std::size_t>(config.vocab_size);
  const auto q = static_cast<std::size_t>(widths.q);
  const auto gates = static_cast<std::size_t>(widths.gates);
  embedding = DeviceBuffer(vocab * c * sizeof(Bf16));
  final_norm = DeviceBuffer(c * sizeof(float));
  if (!config.tied_head) own_head = DeviceBuffer(vocab * c * sizeof(Bf16));
  for (int i = 0; i < config.layers; ++i) {
    Layer& layer = layers.emplace_back();
    layer.input_norm = DeviceBuffer(c * sizeof(float));
    layer.qkv = DeviceBuffer(static_cast<std::size_t>(widths.qkv()) * c * sizeof(Bf16));
    layer.o = DeviceBuffer(c * q * sizeof(Bf16));
    layer.attention_norm = DeviceBuffer(c * sizeof(float));
    layer.mlp_gate_up = DeviceBuffer(2 * mlp * c * sizeof(Bf16));
    layer.mlp_down = DeviceBuffer(c * mlp * sizeof(Bf16));
    if (!config.lawcat) continue;
    layer.gate_up = DeviceBuffer(gates * static_cast<std::size_t>(widths.rank) * sizeof(Bf16));
    layer.gate_bias = DeviceBuffer(gates * sizeof(float));
    layer.unit = DeviceBuffer(weight_bytes(unit_shape()));
    check(cudaMemset(layer.qkv.data(), 0, layer.qkv.bytes()), "weights");
    check(cudaMemset(layer.gate_up.data(), 0, layer.gate_up.bytes()), "weights");
  }
  check(cudaDeviceSynchronize(), "weights");  // other streams do not wait for these
}

UnitShape CudaModel::Impl::unit_shape() const {
  return {config.heads, config.kv_heads, config.head_dim, config.lawcat->feature_dim};
}

std::size_t CudaModel::Impl::bytes() const {
  std::size_t sum = embedding.bytes() + final_norm.bytes() + own_head.bytes();
  for (const Layer& l : layers)
    for (const DeviceBuffer* buffer : {&l.input_norm, &l.qkv, &l.gate_up, &l.gate_bias, &l.unit, &l.o,
                                       &l.attention_norm, &l.mlp_gate_up, &l.mlp_down})
      sum += buffer->bytes();
  return sum;
}

CudaModel::CudaModel(const Model& model) {
  const ModelConfig& config = model.config();
  if (!model.has_weights()) throw InputError("model " + config.name, "weights", "a shape only");
  impl_ = std::make_unique<Impl>(config);
  const Widths& widths = impl_->widths;
  const auto c = static_cast<std::size_t>(config.hidden_size);
  const auto mlp = static_cast<std::size_t>(config.intermediate_size);
  upload_bf16(model.embedding(), c, impl_->embedding.as<Bf16>(), c);
  upload_fp32(model.final_norm(), impl_->final_norm);
  if (!config.tied_head) upload_bf16(model.head(), c, impl_->own_head.as<Bf16>(), c);
  for (std::size_t i = 0; i < impl_->layers.size(); ++i) {
    const LayerWeights& from = model.layers()[i];
    Impl::Layer& to = impl_->layers[i];
    upload_fp32(from.input_norm, to.input_norm);
    upload_fp32(from.attention_norm, to.attention_norm);
    Bf16* qkv = to.qkv.as<Bf16>();
    for (const std::vector<float>* part : {&from.q_proj, &from.k_proj, &from.v_proj}) {
      upload_bf16(*part, c, qkv, c);
      qkv += part->size();
    }
    upload_bf16(from.o_proj, static_cast<std::size_t>(widths.q), to.o.as<Bf16>(),
                static_cast<std::size_t>(widths.q));
    upload_bf16(from.mlp_gate, c, to.mlp_gate_up.as<Bf16>(), c);
    upload_bf16(from.mlp_up, c, to.mlp_gate_up.as<Bf16>() + mlp * c, c);
    upload_bf16(from.mlp_down, mlp, to.mlp_down.as<Bf16>(), mlp);
    if (!config.lawcat) continue;
    const auto rank = static_cast<std::size_t>(config.lawcat->gate_low_rank);
    upload_bf16(from.gate_down, c, qkv, c);
    upload_bf16(from.gate_up, rank, to.gate_up.as<Bf16>(), static_cast<std::size_t>(widths.rank));
    upload_fp32(from.gate_bias, to.gate_bias);
    upload_unit(impl_->unit_shape(), model.unit_weights()[i], to.unit);
  }
  check(cudaDeviceSynchronize(),
        "weights to the GPU");  // a copy may return before its end, and other streams do not wait
}

CudaModel::CudaModel(const ModelConfig& config, std::uint64_t seed) : impl_(std::make_unique<Impl>(config)) {
  constexpr float kDeviation = 0.02f;
  const float into_residual = kDeviation / std::sqrt(2.0f * static_cast<float>(config.layers));
  const auto c = static_cast<std::size_t>(config.hidden_size);
  const Widths& widths = impl_->widths;
  const Stream stream;
  std::uint64_t tensor = 0;  // each has a seed of its own
  const auto random = [&](const DeviceBuffer& buffer, float deviation, std::size_t count = 0) {
    check(fill_uniform(buffer.as<Bf16>(), count > 0 ? count : buffer.bytes() / sizeof(Bf16), deviation,
                       seed * 0x10001 + ++tensor, stream.get()),
          "seeded weights");
  };
  const auto ones = [&](const DeviceBuffer& buffer) {
    check(fill(buffer.as<float>(), c, 1, stream.get()), "seeded weights");
  };
  random(impl_->embedding, kDeviation);
  ones(impl_->final_norm);
  if (!config.tied_head) random(impl_->own_head, kDeviation);
  for (Impl::Layer& layer : impl_->layers) {
    ones(layer.input_norm);
    ones(layer.attention_norm);
    // Rows that only pad the gate's rank stay 0.
    const int rows = widths.q + 2 * widths.kv + (config.lawcat ? config.lawcat->gate_low_rank : 0);
    random(layer.qkv, kDeviation, static_cast<std::size_t>(rows) * c);
    random(layer.o, into_residual);
    random(layer.mlp_gate_up, kDeviation);
    random(layer.mlp_down, into_residual);
    if (!config.lawcat) continue;
    random(layer.gate_up, kDeviation);
    check(fill(layer.gate_bias.as<float>(), static_cast<std::size_t>(widths.gates), 0, stream.get()),
          "seeded weights");
  }
  stream.wait();
  if (!config.lawcat) return;

  // The unit as conversion of a model starts it: taps that pass the current token, random feature maps.
  const UnitShape shape = impl_->unit_shape();
  const auto channels = static_cast<std::size_t>(shape.heads) * static_cast<std::size_t>(shape.head_dim);
  UnitWeights unit;
  for (std::size_t i = 0; i < channels; ++i)
    for (const float tap : {0.001f, 0.001f, 0.001f, 1.0f}) unit.q_conv1d.push_back(tap);
  unit.k_conv1d = unit.q_conv1d;
  unit.feature_map.resize(channels * static_cast<std::size_t>(shape.feature_dim));
  const DeviceBuffer map(unit.feature_map.size() * sizeof(float));
  for (Impl::Layer& layer : impl_->layers) {
    check(fill_uniform(map.as<float>(), unit.feature_map.size(),
                       1 / std::sqrt(static_cast<float>(shape.head_dim)), seed * 0x10001 + ++tensor,
                       stream.get()),
          "seeded weights");
    stream.wait();
    check(cudaMemcpy(unit.feature_map.data(), map.data(), map.bytes(), cudaMemcpyDeviceToHost),
          "seeded weights");
    upload_unit(shape, unit, layer.unit);
  }
  check(cudaDeviceSynchronize(), "seeded weights");
}

CudaModel::CudaModel(CudaModel&&) noexcept = default;
CudaModel& CudaModel::operator=(CudaModel&&) noexcept = default;
CudaModel::~CudaModel() = default;

const ModelConfig& CudaModel::config() const {
  return impl_->config;
}

std::size_t CudaModel::bytes() const {
  return impl_->bytes();
}

}  // namespace lawcat::cuda

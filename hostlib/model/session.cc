// SPDX-License-Identifier: Apache-2.0
// One sequence through a network, block by block.
#include "hostlib/model/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "hostlib/io/error.h"
#include "hostlib/io/interrupt.h"
#include "hostlib/ops/dense.h"

namespace lawcat {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

ModelSession::ModelSession(const Model& model, std::unique_ptr<Session> unit)
    : ModelRunner(model.config()),
      model_(&model),
      unit_(std::move(unit)),
      rope_(model.config().head_dim, model.config().rope_theta, model.config().rope_scaling) {
  const ModelConfig& c = model.config();
  const std::string place = "model " + c.name;
  if (!model.has_weights()) throw InputError(place, "weights", "a shape only");
  if (model.is_lawcat() && !unit_) throw InputError(place, "a unit for its LAWCAT attention", "none");
  if (!model.is_lawcat() && unit_) throw InputError(place, "no unit for softmax attention", "one");
  if (!model.is_lawcat())
    attention_.assign(c.layers, SoftmaxAttention(c.heads, c.kv_heads, c.head_dim, c.sliding_window));
}

std::vector<float> ModelSession::feed(std::span<const int> tokens, int last, std::optional<int> most) {
  const ModelConfig& c = model_->config();
  const std::int64_t count = std::ssize(tokens);
  const int block_tokens = most.value_or(kJobTokens);
  const double start = now();
  const double unit_before = unit_seconds_;
  for (SoftmaxAttention& attention : attention_) attention.reserve(count);
  const std::size_t width = static_cast<std::size_t>(c.hidden_size);
  std::vector<float> logits(static_cast<std::size_t>(last) * c.vocab_size);
  std::vector<float> x;
  for (std::int64_t begin = 0; begin < count; begin += block_tokens) {
    check_interrupt();
    const auto block = tokens.subspan(begin, std::min<std::int64_t>(block_tokens, count - begin));
    x.resize(block.size() * width);
    for (std::size_t t = 0; t < block.size(); ++t) {
      const auto row = model_->embedding().subspan(block[t] * width, width);
      std::copy(row.begin(), row.end(), x.begin() + t * width);
    }
    for (int layer = 0; layer < c.layers; ++layer) run_layer(layer, static_cast<int>(block.size()), x);
    position_ += std::ssize(block);

    // Rows of this block that are among the last of the input.
    const std::int64_t end = begin + std::ssize(block);
    const std::int64_t from = std::max(begin, count - last);
    if (from >= end) continue;
    const auto rows = std::span(x).subspan((from - begin) * width, (end - from) * width);
    normed_.resize(rows.size());
    rms_norm(rows, model_->final_norm(), static_cast<float>(c.rms_norm_eps), normed_);
    matmul(normed_, model_->head(), static_cast<int>(end - from),
           std::span(logits).subspan((from - (count - last)) * c.vocab_size, (end - from) * c.vocab_size));
  }
  host_seconds_ += now() - start - (unit_seconds_ - unit_before);
  return logits;
}

void ModelSession::run_layer(int layer, int tokens, std::span<float> x) {
  const ModelConfig& c = model_->config();
  const LayerWeights& w = model_->layers()[layer];
  const float epsilon = static_cast<float>(c.rms_norm_eps);
  // y = `from` times the transposed weights, y resized to fit.
  const auto project = [&](std::span<const float> from, const std::vector<float>& weights,
                           std::vector<float>& y) {
    const std::size_t in = from.size() / static_cast<std::size_t>(tokens);
    y.resize(weights.size() / in * static_cast<std::size_t>(tokens));
    matmul(from, weights, tokens, y);
  };

  normed_.resize(x.size());
  rms_norm(x, w.input_norm, epsilon, normed_);
  project(normed_, w.q_proj, q_);
  project(normed_, w.k_proj, k_);
  project(normed_, w.v_proj, v_);
  o_.resize(q_.size());
  if (unit_) {
    project(normed_, w.gate_down, gate_low_);
    project(gate_low_, w.gate_up, gates_);
    for (int t = 0; t < tokens; ++t)
      add(std::span(gates_).subspan(t * w.gate_bias.size(), w.gate_bias.size()), w.gate_bias);
    const double start = now();
    unit_->run({.layer = layer, .tokens = tokens, .q = q_, .k = k_, .v = v_, .gk = gates_, .o = o_});
    unit_seconds_ += now() - start;
  } else {
    rope_.apply(q_, tokens, position_);
    rope_.apply(k_, tokens, position_);
    attention_[layer].run(q_, k_, v_, o_);
  }
  project(o_, w.o_proj, added_);
  add(x, added_);

  rms_norm(x, w.attention_norm, epsilon, normed_);
  project(normed_, w.mlp_gate, mlp_gate_);
  project(normed_, w.mlp_up, mlp_up_);
  swiglu(mlp_gate_, mlp_up_);
  project(mlp_gate_, w.mlp_down, added_);
  add(x, added_);
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// One sequence through a network on the CPU: the dense work here, attention in the unit or in a softmax
// cache.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "hostlib/model/runner.h"
#include "hostlib/ops/softmax_attention.h"

namespace lawcat {

class ModelSession final : public ModelRunner {
 public:
  /// `model` must have weights and outlive this. `unit`: an open session of a backend for a LAWCAT model,
  /// null for softmax attention. Throws InputError when these do not fit.
  ModelSession(const Model& model, std::unique_ptr<Session> unit);

  Session* unit() override { return unit_.get(); }

 private:
  std::vector<float> feed(std::span<const int> tokens, int last, std::optional<int> block_tokens) override;
  /// Adds this layer's attention and MLP to the residual stream x [tokens, C].
  void run_layer(int layer, int tokens, std::span<float> x);

  const Model* model_;
  std::unique_ptr<Session> unit_;
  std::vector<SoftmaxAttention> attention_;  // one per layer, softmax only
  Rope rope_;
  std::vector<float> normed_, q_, k_, v_, gate_low_, gates_, o_, mlp_gate_, mlp_up_, added_;  // of one block
};

}  // namespace lawcat

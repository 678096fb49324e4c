// SPDX-License-Identifier: Apache-2.0
// One sequence through a network: the dense work here, attention in the unit or in a softmax cache.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "hostlib/backend/backend.h"
#include "hostlib/model/model.h"
#include "hostlib/ops/softmax_attention.h"

namespace lawcat {

class ModelSession {
 public:
  /// `model` must have weights and outlive this. `unit`: an open session of a backend for a LAWCAT model,
  /// null for softmax attention. Throws InputError when these do not fit.
  ModelSession(const Model& model, std::unique_ptr<Session> unit);

  /// Feeds `tokens` in blocks of `block_tokens`, each block through all layers, so that working memory does
  /// not grow with the prompt. Returns logits [last, vocab] of the last `last` tokens (0 to all). Throws
  /// InputError on a token outside the vocabulary (before anything is fed) and on an interrupt.
  std::vector<float> forward(std::span<const int> tokens, int last, int block_tokens = 1024);

  const Model& model() const { return *model_; }
  std::int64_t position() const { return position_; }  ///< tokens fed so far
  Session* unit() { return unit_.get(); }
  double host_seconds() const { return host_seconds_; }  ///< wall time of forward() outside the unit
  double unit_seconds() const { return unit_seconds_; }  ///< wall time inside Session::run()

 private:
  /// Adds this layer's attention and MLP to the residual stream x [tokens, C].
  void run_layer(int layer, int tokens, std::span<float> x);

  const Model* model_;
  std::unique_ptr<Session> unit_;
  std::vector<SoftmaxAttention> attention_;  // one per layer, softmax only
  Rope rope_;
  std::int64_t position_ = 0;
  double host_seconds_ = 0;
  double unit_seconds_ = 0;
  std::vector<float> normed_, q_, k_, v_, gate_low_, gates_, o_, mlp_gate_, mlp_up_, added_;  // of one block
};

}  // namespace lawcat

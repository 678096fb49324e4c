// SPDX-License-Identifier: Apache-2.0
// What a program needs of a host: sequences through a network, wherever its dense work is computed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hostlib/backend/backend.h"
#include "hostlib/model/model.h"

namespace lawcat {

/// Tokens of a unit's job, a block of the prompt through all layers, unless someone asks for another: one
/// number, so that a shape is timed in the jobs that a model with weights gives.
inline constexpr int kJobTokens = 1024;

/// One sequence through a network. Not thread-safe; runners of one host are independent of each other unless
/// the host says otherwise.
class ModelRunner {
 public:
  virtual ~ModelRunner() = default;

  /// Feeds `tokens` in blocks of at most `block_tokens` (none: what suits the host), each block through all
  /// layers, so that working memory does not grow with the prompt. Returns logits [last, vocab] of the last
  /// `last` tokens (0 to all). Throws InputError on a token outside the vocabulary (before anything is fed),
  /// on an interrupt, and when a logit is not finite.
  std::vector<float> forward(std::span<const int> tokens, int last, std::optional<int> block_tokens = {});

  const ModelConfig& config() const { return *config_; }
  std::int64_t position() const { return position_; }    ///< tokens fed so far
  double host_seconds() const { return host_seconds_; }  ///< time of forward() outside the unit
  double unit_seconds() const { return unit_seconds_; }  ///< time inside the unit
  /// The backend's session that attention runs on; null for softmax attention and for a host's own unit.
  virtual Session* unit() { return nullptr; }
  /// What was counted in the unit: its session's counters, or the host's own.
  virtual Counters counters() { return unit() ? unit()->counters() : Counters{}; }

 protected:
  explicit ModelRunner(const ModelConfig& config) : config_(&config) {}
  /// forward() with its inputs checked: adds to position_, host_seconds_ and unit_seconds_.
  virtual std::vector<float> feed(std::span<const int> tokens, int last, std::optional<int> block_tokens) = 0;

  std::int64_t position_ = 0;
  double host_seconds_ = 0;
  double unit_seconds_ = 0;

 private:
  const ModelConfig* config_;
};

/// A network in the memory of what computes it.
class ModelHost {
 public:
  virtual ~ModelHost() = default;
  /// The machine in words, for a report.
  virtual std::string description() const = 0;
  /// A new sequence. `unit`: an open session of a backend for a LAWCAT model; null for softmax attention and
  /// for the unit that the host has itself. Throws InputError when these do not fit.
  virtual std::unique_ptr<ModelRunner> open(std::unique_ptr<Session> unit) = 0;
};

/// Puts a model, which must have weights and outlive the host, on a host. Throws InputError.
using MakeHost = std::function<std::unique_ptr<ModelHost>(const Model&)>;

/// The CPU, hostlib/ops: needs a unit for LAWCAT models.
std::unique_ptr<ModelHost> make_cpu_host(const Model& model);

}  // namespace lawcat

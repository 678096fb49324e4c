// SPDX-License-Identifier: Apache-2.0
// Two sessions on the same inputs: one answers, the other is what it is held to.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hostlib/backend/backend.h"
#include "hostlib/report/error_meter.h"

namespace lawcat {

/// What the comparison found; outlives the session.
struct Comparison {
  std::vector<ErrorMeter> layers;  ///< error of `o`, one per layer
  std::string first_difference;    ///< place and values of the first unequal output or context; empty if none
};

/// Runs every job on `session` and, with the same inputs, on `against`, which keeps its own state. Outputs
/// are `session`'s. Feeds `comparison.layers`; with `bit_for_bit` also compares outputs bit by bit, and
/// contexts in compare_contexts().
class ComparingSession : public Session {
 public:
  ComparingSession(const UnitShape& shape, int layer_count, std::unique_ptr<Session> session,
                   std::unique_ptr<Session> against, bool bit_for_bit, Comparison& comparison);

  void run(const Job& job) override;
  std::vector<double> state(int layer) const override { return session_->state(layer); }
  void set_state(int layer, std::span<const double> state) override;
  UnitContext save(int layer) const override { return session_->save(layer); }
  /// Throws std::logic_error: a context of one backend says nothing to another.
  void restore(int layer, const UnitContext& context) override;
  Counters counters() const override { return session_->counters(); }

  /// Compares the saved contexts of all layers; for bit_for_bit.
  void compare_contexts();

 private:
  UnitShape shape_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Session> against_;
  bool bit_for_bit_;
  Comparison* comparison_;
  std::vector<std::int64_t> tokens_done_;  ///< by layer
  std::vector<float> expected_;
};

}  // namespace lawcat

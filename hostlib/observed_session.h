// SPDX-License-Identifier: Apache-2.0
// A session under watch: wall time inside it, and progress told to the caller.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hostlib/backend/backend.h"
#include "hostlib/run.h"

namespace lawcat {

struct Observer {
  Progress progress;  ///< may be empty
  std::string what;
  int counting_layer = 0;  ///< tokens count as done when this layer has seen them
  std::int64_t total = 0;
};

class ObservedSession : public Session {
 public:
  /// `seconds` (may be null) grows by the time spent in run().
  ObservedSession(std::unique_ptr<Session> session, Observer observer, double* seconds)
      : session_(std::move(session)), observer_(std::move(observer)), seconds_(seconds) {}

  void run(const Job& job) override {
    const auto start = std::chrono::steady_clock::now();
    session_->run(job);
    if (seconds_)
      *seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (job.layer != observer_.counting_layer || !observer_.progress) return;
    done_ += job.tokens;
    if (done_ <= observer_.total) observer_.progress(observer_.what, done_, observer_.total);
  }
  std::vector<double> state(int layer) const override { return session_->state(layer); }
  void set_state(int layer, std::span<const double> state) override { session_->set_state(layer, state); }
  UnitContext save(int layer) const override { return session_->save(layer); }
  void restore(int layer, const UnitContext& context) override { session_->restore(layer, context); }
  Counters counters() const override { return session_->counters(); }

 private:
  std::unique_ptr<Session> session_;
  Observer observer_;
  double* seconds_;
  std::int64_t done_ = 0;
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The interface every implementation of the unit stands behind: reference, fixed, systemc, rtl, cuda.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hostlib/backend/job.h"

namespace lawcat {

/// A counted quantity. Names are `unit.what` ("state_update.busy_cycles"); the unit of measure is a word
/// ("cycles", "bytes", "events").
struct Counter {
  double value = 0;
  std::string unit;
};

class Counters {
 public:
  void add(const std::string& name, std::string_view unit, double amount) {
    Counter& counter = values_[name];
    if (counter.unit.empty()) counter.unit = unit;
    counter.value += amount;
  }
  void add(const Counters& other) {
    for (const auto& [name, counter] : other.values_) add(name, counter.unit, counter.value);
  }
  /// 0 when nothing was counted under this name.
  double value(const std::string& name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? 0.0 : found->second.value;
  }
  const std::map<std::string, Counter>& all() const { return values_; }

 private:
  std::map<std::string, Counter> values_;
};

/// What the unit keeps of one sequence in one layer, as stored: enough to stop and go on elsewhere with
/// the same bits. Two contexts of one backend are equal exactly when all later outputs are.
struct UnitContext {
  std::vector<std::int64_t>
      words;  ///< layout private to the backend (fixed and what is held to it share one)
  bool operator==(const UnitContext&) const = default;
};

/// One sequence in flight: state and convolution tails of every layer. Not thread-safe; sessions of one
/// backend are independent of each other.
class Session {
 public:
  virtual ~Session() = default;

  /// Runs the job and advances the layer's state. Throws InputError on inputs that do not fit.
  virtual void run(const Job& job) = 0;

  // These four throw InputError for a layer that is not there, and in a session without values.

  /// The state as real numbers, [H, K, D+1]; the last column is the normaliser.
  virtual std::vector<double> state(int layer) const = 0;
  /// Replaces the state (values are rounded to the state's format); convolution tails become zero. Throws
  /// InputError unless there are H * K * (D+1) values.
  virtual void set_state(int layer, std::span<const double> state) = 0;

  /// The layer's context as it is now.
  virtual UnitContext save(int layer) const = 0;
  /// Goes on from a context that a session of the same backend and shape saved. Throws InputError when it has
  /// another number of words; what the words say is not checked.
  virtual void restore(int layer, const UnitContext& context) = 0;

  /// What was counted since the session was opened.
  virtual Counters counters() const = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;

  /// Opens a sequence at zero state. One element of `layers` per layer; an empty span opens
  /// `layer_count` layers without weights, for timing-only jobs. Throws InputError when the unit cannot
  /// hold the shape or has no notion of time for a timing-only session.
  virtual std::unique_ptr<Session> open(const UnitShape& shape, std::span<const UnitWeights> layers,
                                        int layer_count) = 0;
};

}  // namespace lawcat

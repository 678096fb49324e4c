// SPDX-License-Identifier: Apache-2.0
// What all stages of an engine have in common: the exact start of every head-token, and where the time went.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include <systemc>

#include "hostlib/arch/timing.h"
#include "sim/memory/transfer.h"

namespace lawcat {

/// Cycles of one stage by what it did; the three add up to the time it was watched.
struct StageCycles {
  Cycle busy = 0;
  Cycle stall = 0;
  Cycle starve = 0;
};

/// A stage in max-plus form: token n starts when the stage is free, its input is complete and the next
/// stage's FIFO has a slot. No process of its own: the engine evaluates its stages for a block of tokens at
/// one event.
class PipelineStage : public sc_core::sc_module {
 public:
  const Stage stage;

  PipelineStage(sc_core::sc_module_name name, Stage which) : sc_module(name), stage(which) {}

  void begin(const StageTiming& timing, int fifo_tokens, Cycle at) {
    timing_ = timing;
    fifo_tokens_ = fifo_tokens;
    free_ = at;
    next_ = 0;
    read_.assign(std::bit_ceil(static_cast<std::size_t>(fifo_tokens)), 0);
    mask_ = static_cast<std::int64_t>(read_.size()) - 1;
    cycles_ = {};
  }

  /// Starts the next token, whose input is complete in cycle `input` and whose result finds a slot from
  /// `room`. Returns the cycle in which the result is complete.
  Cycle start(Cycle input, Cycle room) {
    const Cycle ready = std::max(input, free_);
    const Cycle at = std::max(ready, room);
    cycles_.starve += ready - free_;
    cycles_.stall += at - ready;
    free_ = at + timing_.interval;
    read_[static_cast<std::size_t>(next_++ & mask_)] = free_;
    return free_ + timing_.depth;
  }

  /// Cycle from which this stage's input FIFO has a slot for token n. Known once token n - fifo_tokens has
  /// started.
  Cycle room(std::int64_t n) const { return read_[static_cast<std::size_t>((n - fifo_tokens_) & mask_)]; }
  /// Cycle in which the latest token's input has been read.
  Cycle read_done() const { return free_; }
  /// Start of the latest token.
  Cycle started() const { return free_ - timing_.interval; }

  /// Where the time from begin() to `end` went.
  StageCycles cycles(Cycle end) const {
    StageCycles all = cycles_;
    all.busy = next_ * timing_.interval;
    all.starve += end - free_;
    return all;
  }

 private:
  StageTiming timing_;
  int fifo_tokens_ = 1;
  Cycle free_ = 0;
  std::int64_t next_ = 0;
  std::vector<Cycle> read_;  ///< ring: cycle in which token n's input slot is free again
  std::int64_t mask_ = 0;
  StageCycles cycles_;
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The engines' state buffers as one: which contexts (a sequence's state and tails of one layer) are on chip,
// and their swapping with DRAM.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <utility>

#include <systemc>

#include "sim/memory/dma.h"

namespace lawcat {

/// Contexts stay until room is needed. The one to go is the one used last before the current: layers come
/// round in turn, so its next use lies furthest ahead. A context that was never used is zero and need not be
/// read.
class StateBuffer : public sc_core::sc_module, public TransferClient {
 public:
  using Key = std::pair<std::int64_t, int>;  ///< sequence, layer
  static constexpr Cycle kUnknown = -1;

  /// `capacity` in bits of one engine. Transfers go in pieces of 4 KiB so that streams get their turn.
  StateBuffer(sc_core::sc_module_name name, Dma& dma, int channel, std::int64_t capacity, Cycle dram_latency,
              int burst_bytes)
      : sc_module(name),
        dma_(dma),
        channel_(channel),
        capacity_(capacity),
        latency_(dram_latency),
        burst_bytes_(burst_bytes) {}

  /// Makes the context present for a job that starts now. `bits` is what it takes of the fullest engine,
  /// `bytes` what it is over all engines. `ready` is called with the cycle from which it is there, at once or
  /// when that is known.
  void require(Key key, std::int64_t bits, std::int64_t bytes, std::function<void(Cycle)> ready) {
    current_ = key;
    Context& context = load(key, bits, bytes);
    context.dirty = context.used = true;
    context.last_use = ++uses_;
    if (context.ready != kUnknown) {
      ready(context.ready);
    } else {
      ready_ = std::move(ready);
    }
  }

  /// Loads the context in advance if there is room beside the current one.
  void prefetch(Key key, std::int64_t bits, std::int64_t bytes) {
    if (key != current_ && contexts_[current_].bits + bits <= capacity_) load(key, bits, bytes);
  }

  /// The host has put another context into DRAM: what was on chip is void.
  void replace(Key key) {
    drop(contexts_[key]);
    contexts_[key].used = true;
  }
  /// The sequence has ended.
  void forget(std::int64_t sequence) {
    auto at = contexts_.lower_bound({sequence, 0});
    while (at != contexts_.end() && at->first.first == sequence) {
      drop(at->second);
      at = contexts_.erase(at);
    }
  }

  std::int64_t read_bytes = 0;   ///< from DRAM
  std::int64_t write_bytes = 0;  ///< to DRAM

  void granted(int, Cycle, Cycle end) override {
    Move& move = moves_.front();
    const std::int64_t piece = piece_bytes(move);
    (move.write ? write_bytes : read_bytes) += piece;
    move.bytes -= piece;
    if (move.bytes == 0) {
      if (!move.write) loaded(move, end);
      moves_.pop_front();
    }
    // Early enough that the data bus need not idle, late enough that others' requests come between.
    request(std::max(now_cycle() + 1, end - latency_), end);
  }

 private:
  struct Context {
    std::int64_t bits = 0;
    std::int64_t bytes = 0;
    bool resident = false;  ///< its place is reserved; the data are there from `ready`
    bool dirty = false;
    bool used = false;
    Cycle ready = 0;
    std::int64_t load = 0;  ///< number of its latest load
    std::int64_t last_use = 0;
  };
  struct Move {
    bool write = false;
    std::int64_t bytes = 0;
    Key key;
    std::int64_t load = 0;
  };

  Context& load(Key key, std::int64_t bits, std::int64_t bytes) {
    Context& context = contexts_[key];
    if (context.resident) return context;
    context.bits = bits;
    context.bytes = bytes;
    while (reserved_ + bits > capacity_) evict();
    context.resident = true;
    reserved_ += bits;
    context.load = ++loads_;
    context.ready = kUnknown;
    // A fresh context waits only until its place has been written back.
    if (context.used || !moves_.empty()) {
      enqueue({false, context.used ? bytes : 0, key, context.load});
    } else {
      context.ready = now_cycle();
    }
    return context;
  }

  void evict() {
    auto victim = contexts_.end();
    for (auto at = contexts_.begin(); at != contexts_.end(); ++at)
      if (at->second.resident && at->first != current_ &&
          (victim == contexts_.end() || at->second.last_use > victim->second.last_use))
        victim = at;
    if (victim->second.dirty) enqueue({true, victim->second.bytes, victim->first, 0});
    drop(victim->second);
  }

  void drop(Context& context) {
    if (context.resident) reserved_ -= context.bits;
    context.resident = context.dirty = false;
  }

  void loaded(const Move& move, Cycle at) {
    const auto found = contexts_.find(move.key);
    if (found == contexts_.end() || found->second.load != move.load) return;
    found->second.ready = at;
    if (move.key == current_ && ready_) std::exchange(ready_, nullptr)(at);
  }

  void enqueue(const Move& move) {
    moves_.push_back(move);
    if (moves_.size() == 1) request(now_cycle(), now_cycle());
  }

  static std::int64_t piece_bytes(const Move& move) { return std::min<std::int64_t>(move.bytes, 4096); }

  /// Asks for the next piece in cycle `at`; what was moved before is complete in cycle `complete`.
  void request(Cycle at, Cycle complete) {
    // Moves of nothing only wait for those before them.
    while (!moves_.empty() && moves_.front().bytes == 0) {
      loaded(moves_.front(), complete);
      moves_.pop_front();
    }
    if (moves_.empty()) return;
    const Move& move = moves_.front();
    const std::int64_t piece = piece_bytes(move);
    dma_.request(
        at, {move.write, (piece + burst_bytes_ - 1) / burst_bytes_ * burst_bytes_, piece, channel_, 0, this});
  }

  Dma& dma_;
  const int channel_;
  const std::int64_t capacity_;
  const Cycle latency_;
  const int burst_bytes_;
  std::map<Key, Context> contexts_;
  Key current_{-1, -1};
  std::int64_t reserved_ = 0;
  std::int64_t uses_ = 0;
  std::int64_t loads_ = 0;
  std::deque<Move> moves_;  ///< the first one is under way
  std::function<void(Cycle)> ready_;
};

}  // namespace lawcat

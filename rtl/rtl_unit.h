// SPDX-License-Identifier: Apache-2.0
// The heads of one session on Verilated engines: which head on which engine, contexts and weights brought
// into slots and back, numbers to packets and answers to numbers. When what runs is for others to say.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "hostlib/backend/backend.h"
#include "hostlib/backend/datapath.h"
#include "rtl/rtl_engine.h"

namespace lawcat {

/// Blocks of slots and who has them; each block holds the heads of one packet.
class RtlSlots {
 public:
  RtlSlots(int slots, int block_slots) : block_slots_(block_slots), blocks_(slots / block_slots) {}

  int size() const { return static_cast<int>(blocks_.size()); }
  int first_slot(int block) const { return block * block_slots_; }
  /// Entries touched from now on are not given away until the next call.
  void pin() { pinned_ = ++clock_; }
  std::optional<int> find(int key);
  /// The block that was used least recently; `key` says who had it, -1 nobody.
  int oldest() const;
  int key(int block) const { return blocks_[static_cast<std::size_t>(block)].key; }
  void assign(int block, int key) { at(block) = {key, ++clock_}; }
  void drop(int block) { at(block) = {}; }
  void clear() { blocks_.assign(blocks_.size(), {}); }

 private:
  struct Block {
    int key = -1;
    std::int64_t used = 0;
  };
  Block& at(int block) { return blocks_[static_cast<std::size_t>(block)]; }

  int block_slots_;
  std::vector<Block> blocks_;
  std::int64_t clock_ = 0, pinned_ = 0;
};

class RtlUnit;

/// An engine, shared by sessions; its slots belong to one of them at a time.
struct RtlMachine {
  explicit RtlMachine(const Preset& preset) : engine(preset) {}
  RtlEngine engine;
  RtlUnit* owner = nullptr;
};

class RtlUnit {
 public:
  /// Heads of one key/value head that travel in one packet and lie in neighbouring slots.
  struct Part {
    int share;  ///< engine of the preset
    int first_head;
    int heads;
    int kv_head;
  };

  /// The preset's engine e is machine e, modulo their number. `most_slots`: use no more, 0 for all.
  RtlUnit(std::vector<std::shared_ptr<RtlMachine>> machines, const UnitShape& shape,
          std::span<const UnitWeights> layers, int most_slots = 0);
  ~RtlUnit();
  RtlUnit(const RtlUnit&) = delete;
  RtlUnit& operator=(const RtlUnit&) = delete;

  void check_layer(int layer) const;
  /// Parts of each engine of the preset, in order.
  const std::vector<std::vector<int>>& shares() const { return shares_; }
  const Part& part(int p) const { return parts_[static_cast<std::size_t>(p)]; }
  /// Parts that an engine has slots for at the same time.
  int blocks() const;

  /// Makes the machines' slots this unit's; who had them fetches its contexts.
  void acquire();
  /// Brings the contexts and weights of parts of one engine into slots, in the tile's own time. They stay
  /// there until the next call for that engine.
  void place(int layer, std::span<const int> parts);
  /// One token of a part that was placed, as a packet; and its answer, written to job.o. Throws
  /// std::runtime_error when that answers anything else.
  Packet token(const Job& job, int token, int part, std::uint32_t tag);
  void take(const Job& job, int token, int part, std::uint32_t tag, const Packet& answer);
  /// Tokens of these parts went through: the tile has newer contexts.
  void ran(int layer, std::span<const int> parts);

  // As FixedUnit, in its layouts.
  std::vector<double> state(int layer) const;
  void set_state(int layer, std::span<const double> state);
  UnitContext save(int layer) const;
  void restore(int layer, const UnitContext& saved);

  // Calls for parts of different machines may come from different threads: place, token, take and ran.

  /// Counts of an engine that belong to this unit; and values clipped, there and in quantised inputs.
  void count(const RtlCounts& counts);
  const RtlCounts& counts() const { return counts_; }
  Counters saturations() const;
  /// Cycles that loads and stores of slots took.
  std::int64_t transfer_cycles() const;

 private:
  struct Context {
    HeadState state;    ///< as of the last transfer
    bool fresh = true;  ///< zero and never in a slot
    bool newer_in_tile = false;
  };
  struct Place {
    std::shared_ptr<RtlMachine> machine;
    RtlSlots contexts, weights;
    Saturations saturations{};  ///< of what the host rounds in packets
    std::int64_t transfer_cycles = 0;
  };

  void leave(RtlMachine& machine);
  const Preset& preset() const { return places_.front().machine->engine.preset(); }
  int key(int layer, int part) const { return layer * static_cast<int>(parts_.size()) + part; }
  Place& place_of(int p) const { return places_[static_cast<std::size_t>(part(p).share) % places_.size()]; }
  Context& context(int layer, int head) const {
    return contexts_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(head)];
  }
  const std::vector<Context>& current(int layer) const;
  void pull_part(int layer, int p, int block) const;
  void pull(int layer) const;
  void forget(int layer);
  void place(int layer, int p);
  PacketHeader token_header(int layer, int p, std::uint32_t tag);

  UnitShape shape_;
  mutable std::vector<Place> places_;
  StreamFormat format_;
  std::vector<Part> parts_;
  std::vector<std::vector<int>> shares_;
  std::vector<std::vector<HeadWeights>> weights_;       ///< [layer][head]
  mutable std::vector<std::vector<Context>> contexts_;  ///< [layer][head]
  Saturations saturations_{};                           ///< of weights and states that the host rounds
  RtlCounts counts_{};
};

}  // namespace lawcat

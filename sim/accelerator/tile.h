// SPDX-License-Identifier: Apache-2.0
// One engine in time, from the packets on its input stream to the answers on its output stream, cycle for
// cycle as the RTL of rtl/core: the recurrences of its stages, without SystemC.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "hostlib/arch/timing.h"
#include "sim/memory/cycle.h"

namespace lawcat {

/// Cycles of one stage by what it did; the three add up to the time it was watched.
struct StageCycles {
  Cycle busy = 0;
  Cycle stall = 0;
  Cycle starve = 0;
};

/// What the recurrences need to know of a tile and a shape.
struct TileTiming {
  std::array<StageTiming, kStageCount> stages{};
  PacketBeats beats;
  int fifo_tokens = 1;
};

/// A TOKEN packet.
struct TilePacket {
  int heads = 1;
  int first_slot = 0;  ///< context of its first head; heads are consecutive
  Cycle offered = 0;   ///< its first beat is offered on the port from this cycle on, the others behind it
};

/// What is around a tile. A tile asks only for what it needs next; what is not known yet it asks for again
/// when it is run again.
class TilePort {
 public:
  virtual ~TilePort() = default;
  virtual std::optional<TilePacket> next_packet() = 0;
  /// The last beat of the packet is taken in cycle `at`.
  virtual void taken(Cycle at) = 0;
  /// Cycle from which the first beat of the next answer can leave.
  virtual std::optional<Cycle> answer_room() = 0;
  /// The last beat of the answer leaves in cycle `at`.
  virtual void answered(Cycle at) = 0;
  /// A stage had one head of packet `packet` (gate, unpack: the packet) in [start, end). Only while observed.
  virtual void passed(Stage, std::int64_t /*packet*/, Cycle /*start*/, Cycle /*end*/) {}
};

/// An engine in time, as what is around it sees it.
class Tile {
 public:
  virtual ~Tile() = default;
  /// Empty from cycle `at` on.
  virtual void begin(const TileTiming& timing, Cycle at) = 0;
  virtual void observe(bool on) = 0;
  /// Goes on as far as is determined in cycle `now`. Returns the cycle in which it has to be run again
  /// although the port has nothing new, if there is one.
  virtual std::optional<Cycle> run(TilePort& port, Cycle now) = 0;
  /// Packets whose heads have all been through the state update, for a tile that has no values of its own.
  virtual std::int64_t updated_packets() const = 0;
  /// Where the time from begin() to `end` went; nothing runs any more.
  virtual StageCycles cycles(Stage stage, Cycle end) const = 0;
};

/// Max-plus form: a token starts in a stage when the stage is free, its input is complete and the next buffer
/// has a slot. Which time is evaluated first does not matter, only that what it rests on is known: run()
/// evaluates all that follows from what the port says.
class TileModel final : public Tile {
 public:
  void begin(const TileTiming& timing, Cycle at) override;
  /// First cycle not before the given one in which the source offers its next beat (one that is offered stays
  /// until it is taken), or in which the sink is ready. Without: always.
  void set_patterns(std::function<Cycle(Cycle)> next_offer, std::function<Cycle(Cycle)> next_ready);
  void observe(bool on) override { observed_ = on; }

  void run(TilePort& port);
  std::optional<Cycle> run(TilePort& port, Cycle) override {
    run(port);
    return std::nullopt;
  }

  std::int64_t updated_packets() const override { return at(Stage::state_update).packet; }
  StageCycles cycles(Stage stage, Cycle end) const override;

 private:
  /// One stage: what it has done, and the head-token (gate: the packet) that is next.
  struct Clock {
    StageTiming timing;
    Cycle free = 0;
    StageCycles cycles;
    std::int64_t next = 0;
    std::int64_t packet = 0;
    int head = 0;  ///< of the packet

    /// Starts the next token, whose input is complete in cycle `input` and whose result finds a slot from
    /// `room`. Returns the cycle in which its input has been read.
    Cycle start(Cycle input, Cycle room);
  };
  /// Times of the latest tokens, by number.
  class Ring {
   public:
    void reset(int slots);
    Cycle& operator[](std::int64_t n) { return at_[static_cast<std::size_t>(n & mask_)]; }

   private:
    std::vector<Cycle> at_{0};
    std::int64_t mask_ = 0;
  };
  /// A buffer between two stages: from when on a token can be used, from when on its slot is free again.
  struct Channel {
    int slots = 1;
    Ring ready, free;
    void reset(int count);
    Cycle room(std::int64_t n) { return free[n - slots]; }
    /// Whether room(n) is known when the consumer has done `done` tokens.
    bool knows_room(std::int64_t n, std::int64_t done) const { return n < done + slots; }
  };
  struct Packet {
    int heads = 1;
    int first_slot = 0;
  };
  struct Slot {
    std::int64_t last = -1;  ///< head-token that used it last
    Cycle free = 0;          ///< from when on its next one may start in row_prepare
  };
  enum class Part { header, key, first_query, gate_low, gate_high, value, query };

  Clock& at(Stage stage) { return clocks_[static_cast<std::size_t>(stage)]; }
  const Clock& at(Stage stage) const { return clocks_[static_cast<std::size_t>(stage)]; }
  Packet& packet(std::int64_t n) { return packets_[static_cast<std::size_t>(n % HandOver::kPackets)]; }
  Slot& slot(const Clock& clock);
  /// Counts the head-token that was started last; says whether it was the packet's last.
  bool done(Clock& clock, Stage stage);

  // Each takes its stage as far as it is determined and says whether that was any further.
  bool unpack();
  bool gate();
  bool convolution();
  /// Stages with one input and one output, both per head.
  bool plain(Stage stage, Channel& in, std::int64_t produced, Channel& out, std::int64_t consumed);
  bool row_prepare();
  bool state_update();
  /// `stuck`: nothing else can go on.
  bool pack(bool stuck);

  void take_beat(Cycle room, Cycle offered);
  void take_beats(int count, Cycle room);
  void send_word(Cycle ready, Cycle room);
  /// Returns the cycle in which the first of them is chosen.
  Cycle send_words(int count, Cycle ready);

  TileTiming timing_;
  std::function<Cycle(Cycle)> next_offer_, next_ready_;
  bool observed_ = false;
  TilePort* port_ = nullptr;

  std::array<Clock, kStageCount> clocks_;
  std::array<Packet, HandOver::kPackets> packets_;
  std::vector<Slot> slots_;
  Channel query_, conv_, z_, phi_, rows_, sums_, out_;  ///< per head-token
  Channel key_, logits_, gates_, value_, lead_;         ///< per packet
  Channel record_;                                      ///< per packet; ready: its payload's end is known
  Ring written_back_;
  Ring normalise_start_;

  // Unpack.
  Part part_ = Part::header;
  std::int64_t parsing_ = 0, keys_ = 0, queries_ = 0, logits_in_ = 0, values_ = 0, ended_ = 0;
  int heads_left_ = 0;
  Cycle taken_ = 0;                       ///< latest transfer on the port
  Cycle parsed_ = 0, parsed_before_ = 0;  ///< the latest two beats, parsed
  Cycle packet_start_ = 0;

  // Pack: the latest word, and on the port the latest two.
  Cycle chosen_ = 0, entered_ = 0, sent_ = 0, sent_before_ = 0;
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Drives a tile: a queue of packets in, packets out, registers, either stream held back at will, and an end
// to waiting for what never comes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "rtl/bench/tile.h"

namespace lawcat {

/// Whole beats of one packet, as 32-bit words, lowest first; the last beat carries TLAST.
using Packet = std::vector<std::uint32_t>;

/// True holds a stream back in this cycle. An input beat that was offered stays until it is taken.
using StallPattern = std::function<bool(std::int64_t cycle)>;

/// Holds back in `percent` of the cycles, at random; 0 never does.
StallPattern random_stalls(std::uint64_t seed, int percent);

class TileDriver {
 public:
  /// Cycles without a beat or a register access that moves, while something is awaited, that count as a
  /// deadlock.
  static constexpr std::int64_t kPatience = 200000;

  /// The tile must outlive the driver.
  TileDriver(RtlTile& tile, int stream_width)
      : tile_(tile), beat_words_(static_cast<std::size_t>(stream_width) / 32) {}

  /// Holds reset for some cycles. What was queued or half received is forgotten.
  void reset();
  /// Forgets what is queued or received: during a soft reset, which ends the streams.
  void abandon();
  void stall_input(StallPattern pattern) { input_stall_ = std::move(pattern); }
  void stall_output(StallPattern pattern) { output_stall_ = std::move(pattern); }

  /// One clock cycle. Throws std::runtime_error when an assertion of the RTL fails.
  void step();
  std::int64_t cycles() const { return cycles_; }

  /// Queues a packet; `last` off leaves TLAST out (a malformed stream).
  void send(Packet packet, bool last = true) { queue_.push_back({std::move(packet), last}); }
  std::size_t queued() const { return queue_.size(); }
  std::size_t beat_words() const { return beat_words_; }

  /// The next packet that came out, if there is one.
  std::optional<Packet> take();
  /// Whether a packet is half out.
  bool receiving() const { return !partial_.empty(); }
  /// TUSER at the TLAST of the packet taken last.
  bool taken_user() const { return taken_user_; }
  /// Steps until a packet is out, and takes it. Throws std::runtime_error on a deadlock.
  Packet receive();
  /// Steps until every queued beat is in.
  void flush();
  /// Steps until STATUS is not busy; beats of answers may still be on their way out: receive() waits for
  /// their TLAST.
  void wait_idle();

  /// Register access; the streams go on meanwhile. Throw std::runtime_error on SLVERR and when nothing
  /// answers.
  std::uint32_t read(std::uint32_t address);
  void write(std::uint32_t address, std::uint32_t value);
  /// The same without the error: response codes of AXI, 0 is OKAY.
  struct Access {
    std::uint32_t response = 0, data = 0;
  };
  Access try_read(std::uint32_t address);
  Access try_write(std::uint32_t address, std::uint32_t value, std::uint32_t strobes = 0xf);
  std::uint64_t counter(int index);

 private:
  struct Received {
    Packet packet;
    bool user;
  };
  struct Queued {
    Packet packet;
    bool last;
  };
  void watch(const char* awaited);
  [[noreturn]] void give_up(const char* awaited) const;

  RtlTile& tile_;
  std::size_t beat_words_;
  TileInputs inputs_;
  TileOutputs outputs_;
  StallPattern input_stall_, output_stall_;
  std::deque<Queued> queue_;
  std::size_t next_word_ = 0;  ///< of the packet in front
  bool offered_ = false;
  Packet partial_;
  std::deque<Received> received_;
  bool taken_user_ = false;
  std::int64_t cycles_ = 0, last_move_ = 0, beats_in_ = 0, beats_out_ = 0;
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// A tile beside the bit-true definition: what is sent to one goes through the other, and every answer,
// context, error and counter is compared. Differences and deadlocks are thrown as std::runtime_error.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hostlib/backend/datapath.h"
#include "rtl/bench/driver.h"
#include "rtl/bench/registers.h"
#include "rtl/bench/stream.h"
#include "rtl/bench/tile.h"
#include "tests/rtl/functional_coverage.h"

namespace lawcat {

/// Codes of the register ERROR.
inline constexpr int kErrorKind = 1, kErrorHeads = 2, kErrorRegion = 3, kErrorWords = 4, kErrorSlot = 5,
                     kErrorShort = 6, kErrorLong = 7, kErrorShape = 9;

/// One TOKEN packet: `heads` heads from these slots on.
struct TokenInput {
  int slot = 0, weight_slot = 0, heads = 1, head = 0;
  std::vector<std::int32_t> key, value, logits, query;  ///< [D], [D], [2F], [heads, D]
};

class Scoreboard {
 public:
  /// A tile fresh from reset: shape written, tables loaded, enabled.
  Scoreboard(const RtlLibrary& library, const Preset& preset, int head_dim, int feature_dim);

  TileDriver& driver() { return driver_; }
  const StreamFormat& format() const { return format_; }
  const Preset& preset() const { return preset_; }
  const DatapathRules& rules() const { return rules_; }
  const UnitShape& shape() const { return shape_; }
  FunctionalCoverage& coverage() { return coverage_; }
  std::int64_t head_tokens() const { return all_head_tokens_; }
  std::int64_t packets() const { return packets_; }
  bool in_flight() const { return !expected_.empty(); }

  /// What software knows about a slot.
  bool has_weights(int slot) const { return weights_[index(slot)].has_value(); }
  bool context_is_known(int slot) const { return contexts_[index(slot)].known; }
  bool context_is_fresh(int slot) const { return contexts_[index(slot)].fresh; }
  const HeadState& context(int slot) const { return contexts_[index(slot)].state; }
  HeadState fresh_context() const { return HeadState(preset_.datapath, shape_); }

  /// Queue packets; `piece` > 0 splits transfers into packets of so many words.
  void load_weights(int slot, HeadWeights weights, int piece = 0);
  void load_context(int slot, const HeadState& state, int piece = 0);
  void store_context(int slot, int piece = 0);
  void token(const TokenInput& input) { send_token(input, beats(input), 0); }
  /// The packet ends after `beats` (at least 1, fewer than it has), or goes on for `excess` beats.
  void short_token(const TokenInput& input, std::size_t beats) { send_token(input, beats, 0); }
  void long_token(const TokenInput& input, std::size_t excess) { send_token(input, beats(input), excess); }
  std::size_t beats(const TokenInput& input) const;
  /// The context's own words once more, the packet cut to `beats` or followed by `excess` beats: nothing
  /// changes but the error. The slot must be known and not fresh.
  void malformed_load(int slot, Region region, std::optional<std::size_t> beats, std::size_t excess);
  void long_store(int slot, Region region, std::size_t excess);
  /// A packet that is dropped whole with this error.
  void dropped(const PacketHeader& header, std::size_t beats, int code, const char* point);

  /// Steps until at most so many packets wait, comparing what comes out.
  void advance(std::size_t queued);
  void step();
  /// Until every answer is there and the tile is idle.
  void drain();
  /// Drains, then compares error register, interrupts and counters, and clears them.
  void settle();

  /// Clears one context or all for the packets sent from now on.
  void clear(std::optional<int> slot);
  /// The same while `input` is on its way in: it still sees the old contexts.
  void clear_inside(const TokenInput& input, std::optional<int> slot);
  void soft_reset();
  void hard_reset();

  /// A register access chosen by `choice`, with what the table says about it.
  void access_registers(std::uint64_t choice);

 private:
  struct Context {
    bool known = true;  ///< the memory holds `state`, or the slot is fresh
    bool fresh = true;
    bool restored = false;
    HeadState state;
  };
  struct Expected {
    PacketHeader header;
    bool error = false;                        ///< TUSER
    bool header_is_exact = true;               ///< else its error flag may be 0
    std::vector<float> output;                 ///< TOKEN
    std::size_t words = 0;                     ///< STORE
    bool ends_region = false;                  ///< STORE of the last words of a region
    std::shared_ptr<const HeadState> context;  ///< STORE of the last words of a context
    bool drop = false;                         ///< STORE of which the words are not looked at
  };
  struct Error {
    int code;
    std::uint32_t tag;
  };

  std::size_t index(int slot) const { return static_cast<std::size_t>(slot); }
  std::uint32_t next_tag() { return 0x9e3779b9U * tag_count_++; }
  std::size_t word_beats(Region region) const;
  void start();
  void send(Packet packet);
  void send_pieces(Packet packet, int piece);
  void send_token(TokenInput input, std::size_t beats, std::size_t excess);
  std::vector<float> compute(const TokenInput& input);
  void note(int code, std::uint32_t tag);
  void poll();
  void compare(const Expected& expected, const Packet& answer, bool user);
  void compare_context(const HeadState& expected, const HeadState& got) const;
  void make_header_parsed();
  void forget_streams();
  std::uint32_t control(std::uint32_t bits) const;
  [[noreturn]] void fail(const std::string& what) const;

  Preset preset_;
  UnitShape shape_;
  StreamFormat format_;
  DatapathRules rules_;
  std::unique_ptr<RtlTile> tile_;
  TileDriver driver_;
  FunctionalCoverage coverage_;

  std::vector<Context> contexts_;
  std::vector<std::optional<HeadWeights>> weights_;
  std::vector<bool> weights_sure_;  ///< their LOAD is known to be done
  std::deque<Expected> expected_;
  std::vector<Packet> stored_;  ///< regions of a context, as they come back
  std::optional<Error> error_;
  bool error_may_come_ = false;  ///< a malformed packet was sent and is perhaps not parsed
  bool header_is_parsed_ = true;
  Saturations saturations_{};
  std::int64_t head_tokens_ = 0, token_packets_ = 0, beats_in_ = 0, beats_out_ = 0;
  std::int64_t all_head_tokens_ = 0, packets_ = 0;
  std::uint32_t tag_count_ = 1;
  int last_slot_ = -1;
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The stream protocol in software: packets of tokens, loads and stores, packed and taken apart; layouts of
// the memories' words; a head's context and weights as `fixed` holds them, to and from those words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hostlib/arch/rtl_package.h"
#include "hostlib/backend/datapath.h"
#include "rtl/bench/driver.h"

namespace lawcat {

enum class PacketKind : std::uint8_t { token = 1, load = 2, store = 3 };

/// Memories that LOAD and STORE reach; what follows `count` can only be loaded.
enum class Region : std::uint8_t { state, norm, rows, tails, count, taps, feature, exp2, gate, reciprocal };
inline constexpr int kContextRegions = 5;

/// Header of a packet, field by field; heads of TOKEN and region of LOAD and STORE share a place.
struct PacketHeader {
  std::uint8_t kind = 0;  ///< as on the wire, also of answers (0x80 set) and of malformed packets
  std::uint8_t heads_or_region = 0;
  std::uint8_t slot = 0;
  std::uint8_t weight_slot = 0;
  std::uint16_t head_or_index = 0;
  std::uint16_t words = 0;
  std::uint32_t tag = 0;
  bool error = false;
  bool operator==(const PacketHeader&) const = default;
};

/// Numbers of some bits each, low bits first, across 32-bit words.
class BitWriter {
 public:
  explicit BitWriter(std::vector<std::uint32_t>& words) : words_(words) {}
  void put(std::int64_t value, int width);
  /// Zeros up to the next multiple of `bits` (a multiple of 32).
  void align(std::size_t bits);

 private:
  std::vector<std::uint32_t>& words_;
  std::size_t used_ = 0;  ///< bits of the last word in use, 0 when it is full
};

class BitReader {
 public:
  explicit BitReader(std::span<const std::uint32_t> words) : words_(words) {}
  std::uint64_t take(int width);
  std::int64_t take_signed(int width);
  void align(std::size_t bits);

 private:
  std::span<const std::uint32_t> words_;
  std::size_t at_ = 0;
};

/// Packets of one preset's tile in one shape.
class StreamFormat {
 public:
  /// The shape must be within the preset's largest.
  StreamFormat(const Preset& preset, int head_dim, int feature_dim);

  const RtlParameters& parameters() const { return parameters_; }
  int head_dim() const { return head_dim_; }
  int feature_dim() const { return feature_dim_; }
  std::size_t beat_words() const { return static_cast<std::size_t>(parameters_.stream_width) / 32; }

  /// Bits of one word of a region, words of one slot in this shape, and depth of the memory in words.
  int word_bits(Region region) const;
  int slot_words(Region region) const;
  int depth(Region region) const;
  /// Slots that every memory of contexts, or of weights, has room for in this shape.
  int context_slots() const;
  int weight_slots() const;

  Packet header(const PacketHeader& fields) const;
  static PacketHeader read_header(const Packet& packet);

  /// TOKEN: k, v [D], gk [2F] shared, q [G, D].
  Packet token(const PacketHeader& fields, std::span<const std::int32_t> key,
               std::span<const std::int32_t> value, std::span<const std::int32_t> logits,
               std::span<const std::int32_t> query) const;
  /// Outputs [G, D] of the answer to it. Throws std::runtime_error when the packet's size is another.
  void read_output(const Packet& answer, std::span<float> output) const;

  /// All words of a slot of one region, each a beat-aligned string of bits.
  Packet load(Region region, int slot, int words, std::span<const std::uint32_t> payload) const;
  Packet store(Region region, int slot) const;

  /// LOAD packets that bring a context, or weights, into a slot.
  std::vector<Packet> load_context(int slot, const HeadState& state) const;
  std::vector<Packet> load_weights(int slot, const HeadWeights& weights) const;
  std::vector<Packet> load_tables() const;
  /// STORE packets for a slot, and the context in their answers, in order. read_context throws
  /// std::runtime_error when a row's lead bits are not those of its words: they decide the next exponents.
  std::vector<Packet> store_context(int slot) const;
  HeadState read_context(std::span<const Packet> answers) const;

  /// Containers of the output format to a float and back to the same bits.
  float output_value(std::uint32_t bits) const;

 private:
  struct Leads {
    int state = 0, norm = 0;
  };
  Leads leads(const HeadState& state, int row) const;
  template <class Place, class End>
  void walk_state(Place place, End end) const;
  template <class Place, class End>
  void walk_rows(int per_word, Place place, End end) const;
  template <class Place, class End>
  void walk_tail(Place place, End end) const;
  std::size_t word_beat_bits(Region region) const;
  void put_part(Packet& packet, std::span<const std::int32_t> values) const;
  int row_groups() const;
  int segments() const;
  int conv_words() const;

  Preset preset_;
  RtlParameters parameters_;
  int head_dim_, feature_dim_;
};

}  // namespace lawcat

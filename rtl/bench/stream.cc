// SPDX-License-Identifier: Apache-2.0
// See stream.h.
#include "rtl/bench/stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>
#include <type_traits>

namespace lawcat {
namespace {

constexpr int kAnswer = 0x80;  // set in the kind of an answer
constexpr int kLeadWidth = 6;

int ceil_div(int a, int b) {
  return (a + b - 1) / b;
}

}  // namespace

void BitWriter::put(std::int64_t value, int width) {
  auto bits = static_cast<std::uint64_t>(value);
  while (width > 0) {
    if (used_ == 0) words_.push_back(0);
    const int now = std::min(width, 32 - static_cast<int>(used_));
    const std::uint64_t mask = (std::uint64_t{1} << now) - 1;
    words_.back() |= static_cast<std::uint32_t>((bits & mask) << used_);
    bits >>= now;
    used_ = (used_ + static_cast<std::size_t>(now)) % 32;
    width -= now;
  }
}

void BitWriter::align(std::size_t bits) {
  const std::size_t words = bits / 32;
  words_.resize((words_.size() + words - 1) / words * words, 0);
  used_ = 0;
}

std::uint64_t BitReader::take(int width) {
  std::uint64_t value = 0;
  for (int done = 0; done < width;) {
    const int from = static_cast<int>(at_ % 32), now = std::min(width - done, 32 - from);
    const std::uint64_t mask = (std::uint64_t{1} << now) - 1;
    value |= (words_[at_ / 32] >> from & mask) << done;
    done += now;
    at_ += static_cast<std::size_t>(now);
  }
  return value;
}

std::int64_t BitReader::take_signed(int width) {
  const int unused = 64 - width;
  return static_cast<std::int64_t>(take(width) << unused) >> unused;
}

void BitReader::align(std::size_t bits) {
  at_ = (at_ + bits - 1) / bits * bits;
}

StreamFormat::StreamFormat(const Preset& preset, int head_dim, int feature_dim)
    : preset_(preset), parameters_(preset), head_dim_(head_dim), feature_dim_(feature_dim) {}

int StreamFormat::row_groups() const {
  return ceil_div(feature_dim_, parameters_.rows);
}
int StreamFormat::segments() const {
  return ceil_div(head_dim_, parameters_.segment);
}
int StreamFormat::conv_words() const {
  return ceil_div(head_dim_, parameters_.channels);
}

int StreamFormat::word_bits(Region region) const {
  const RtlParameters& p = parameters_;
  switch (region) {
    case Region::state:
      return p.lanes * p.state_width;
    case Region::norm:
      return p.rows * p.norm_width;
    case Region::rows:
      return p.exp_lanes * (12 + p.state_exponent_width + p.norm_exponent_width);
    case Region::tails:
      return 3 * p.channels * p.qk_width;
    case Region::count:
      return 32;
    case Region::taps:
      return kConvTaps * p.channels * p.tap_width;
    case Region::feature:
      return p.feature_channels * p.feature_segment * p.weight_width;
    default:
      return 64;
  }
}

int StreamFormat::slot_words(Region region) const {
  switch (region) {
    case Region::state:
      return segments() * 2 * row_groups();
    case Region::norm:
      return 2 * row_groups();
    case Region::rows:
      return 2 * ceil_div(feature_dim_, parameters_.exp_lanes);
    case Region::tails:
    case Region::taps:
      return 2 * conv_words();
    case Region::count:
      return 1;
    case Region::feature:
      return ceil_div(feature_dim_, parameters_.feature_segment) *
             ceil_div(head_dim_, parameters_.feature_channels);
    default:
      return static_cast<int>(
          rtl_table(preset_, static_cast<RtlTable>(static_cast<int>(region) - static_cast<int>(Region::exp2)))
              .size());
  }
}

int StreamFormat::depth(Region region) const {
  const RtlParameters& p = parameters_;
  switch (region) {
    case Region::state:
      return p.state_depth;
    case Region::norm:
      return p.norm_depth();
    case Region::rows:
      return p.row_depth();
    case Region::tails:
      return p.tail_depth();
    case Region::count:
      return p.context_slots;
    case Region::taps:
      return p.tap_depth();
    case Region::feature:
      return p.feature_depth();
    default:
      return slot_words(region);
  }
}

int StreamFormat::context_slots() const {
  int slots = parameters_.context_slots;
  // A slot takes a power of two of words.
  for (const Region region : {Region::state, Region::norm, Region::rows, Region::tails})
    slots = std::min(
        slots, depth(region) / static_cast<int>(std::bit_ceil(static_cast<unsigned>(slot_words(region)))));
  return slots;
}

int StreamFormat::weight_slots() const {
  int slots = parameters_.weight_slots;
  for (const Region region : {Region::taps, Region::feature})
    slots = std::min(
        slots, depth(region) / static_cast<int>(std::bit_ceil(static_cast<unsigned>(slot_words(region)))));
  return slots;
}

Packet StreamFormat::header(const PacketHeader& f) const {
  Packet packet;
  BitWriter bits(packet);
  bits.put(f.kind, 8);
  bits.put(f.heads_or_region, 8);
  bits.put(f.slot, 8);
  bits.put(f.weight_slot, 8);
  bits.put(f.head_or_index, 16);
  bits.put(f.words, 16);
  bits.put(f.tag, 32);
  bits.put(f.error ? std::int64_t{1} << 31 : 0, 32);
  bits.align(static_cast<std::size_t>(parameters_.stream_width));
  return packet;
}

PacketHeader StreamFormat::read_header(const Packet& packet) {
  BitReader bits(packet);
  PacketHeader f;
  f.kind = static_cast<std::uint8_t>(bits.take(8));
  f.heads_or_region = static_cast<std::uint8_t>(bits.take(8));
  f.slot = static_cast<std::uint8_t>(bits.take(8));
  f.weight_slot = static_cast<std::uint8_t>(bits.take(8));
  f.head_or_index = static_cast<std::uint16_t>(bits.take(16));
  f.words = static_cast<std::uint16_t>(bits.take(16));
  f.tag = static_cast<std::uint32_t>(bits.take(32));
  f.error = bits.take(32) >> 31 != 0;
  return f;
}

void StreamFormat::put_part(Packet& packet, std::span<const std::int32_t> values) const {
  BitWriter bits(packet);
  for (const std::int32_t value : values) bits.put(value, parameters_.element_width);
  bits.align(static_cast<std::size_t>(parameters_.stream_width));
}

Packet StreamFormat::token(const PacketHeader& fields, std::span<const std::int32_t> key,
                           std::span<const std::int32_t> value, std::span<const std::int32_t> logits,
                           std::span<const std::int32_t> query) const {
  Packet packet = header(fields);
  const auto d = static_cast<std::size_t>(head_dim_), f = static_cast<std::size_t>(feature_dim_);
  put_part(packet, key);
  put_part(packet, query.first(d));
  put_part(packet, logits.first(f));
  put_part(packet, logits.subspan(f, f));
  put_part(packet, value);
  for (std::size_t at = d; at < query.size(); at += d) put_part(packet, query.subspan(at, d));
  return packet;
}

float StreamFormat::output_value(std::uint32_t bits) const {
  const Format& format = preset_.datapath.output;
  if (format.kind == FormatKind::fixed) {
    const int unused = 32 - parameters_.element_width;
    return static_cast<float>(std::ldexp(
        static_cast<double>(static_cast<std::int32_t>(bits << unused) >> unused), -format.fraction));
  }
  const std::uint32_t mantissa = bits & ((1U << format.mantissa_bits) - 1);
  const auto field = static_cast<int>(bits >> format.mantissa_bits & ((1U << format.exponent_bits) - 1));
  const bool negative = (bits >> (format.width - 1) & 1) != 0;
  const double value = field == 0 ? std::ldexp(mantissa, format.min_exponent() - format.mantissa_bits)
                                  : std::ldexp(mantissa + (1U << format.mantissa_bits),
                                               field - 1 + format.min_exponent() - format.mantissa_bits);
  return static_cast<float>(negative ? -value : value);
}

void StreamFormat::read_output(const Packet& answer, std::span<float> output) const {
  const auto d = static_cast<std::size_t>(head_dim_);
  const auto per_beat = static_cast<std::size_t>(parameters_.stream_width / parameters_.element_width);
  const std::size_t heads = output.size() / d, beats = 1 + heads * ((d + per_beat - 1) / per_beat);
  if (answer.size() != beats * beat_words())
    throw std::runtime_error(
        fmt::format("rtl: an answer of {} beats, expected {}", answer.size() / beat_words(), beats));
  BitReader bits{std::span(answer).subspan(beat_words())};
  for (std::size_t h = 0; h < heads; ++h) {
    for (std::size_t c = 0; c < d; ++c)
      output[h * d + c] = output_value(static_cast<std::uint32_t>(bits.take(parameters_.element_width)));
    bits.align(static_cast<std::size_t>(parameters_.stream_width));
  }
}

std::size_t StreamFormat::word_beat_bits(Region region) const {
  return static_cast<std::size_t>(ceil_div(word_bits(region), parameters_.stream_width)) *
         static_cast<std::size_t>(parameters_.stream_width);
}

Packet StreamFormat::load(Region region, int slot, int words, std::span<const std::uint32_t> payload) const {
  Packet packet = header({.kind = static_cast<std::uint8_t>(PacketKind::load),
                          .heads_or_region = static_cast<std::uint8_t>(region),
                          .slot = static_cast<std::uint8_t>(slot),
                          .words = static_cast<std::uint16_t>(words)});
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

Packet StreamFormat::store(Region region, int slot) const {
  return header({.kind = static_cast<std::uint8_t>(PacketKind::store),
                 .heads_or_region = static_cast<std::uint8_t>(region),
                 .slot = static_cast<std::uint8_t>(slot),
                 .words = static_cast<std::uint16_t>(slot_words(region))});
}

// Layouts of the context's regions: `place` is called for every element of every word, in order, with its
// index in HeadState, or -1 where a word reaches beyond the shape; `end` after each word.
template <class Place, class End>
void StreamFormat::walk_state(Place place, End end) const {
  const RtlParameters& p = parameters_;
  for (int s = 0; s < segments(); ++s)
    for (int half = 0; half < 2; ++half)
      for (int i = 0; i < row_groups(); ++i, end())
        for (int row = i * p.rows; row < (i + 1) * p.rows; ++row)
          for (int c = s * p.segment; c < (s + 1) * p.segment; ++c)
            place(row < feature_dim_ && c < head_dim_ ? (half * feature_dim_ + row) * head_dim_ + c : -1);
}

template <class Place, class End>
void StreamFormat::walk_rows(int per_word, Place place, End end) const {
  for (int half = 0; half < 2; ++half)
    for (int first = 0; first < feature_dim_; first += per_word, end())
      for (int row = first; row < first + per_word; ++row)
        place(row < feature_dim_ ? half * feature_dim_ + row : -1);
}

template <class Place, class End>
void StreamFormat::walk_tail(Place place, End end) const {
  for (int first = 0; first < head_dim_; first += parameters_.channels, end())
    for (int j = 0; j < kConvTaps - 1; ++j)
      for (int c = first; c < first + parameters_.channels; ++c)
        place(c < head_dim_ ? j * head_dim_ + c : -1);
}

StreamFormat::Leads StreamFormat::leads(const HeadState& state, int row) const {
  std::int64_t all = 0;
  for (int c = 0; c < head_dim_; ++c)
    all |= magnitude_bits(state.words[static_cast<std::size_t>(row * head_dim_ + c)]);
  return {lead_bits(all), lead_bits(state.norm_words[static_cast<std::size_t>(row)])};
}

std::vector<Packet> StreamFormat::load_context(int slot, const HeadState& state) const {
  const RtlParameters& p = parameters_;
  std::vector<Packet> packets;
  const auto send = [&](Region region, auto fill) {
    std::vector<std::uint32_t> payload;
    BitWriter bits(payload);
    fill(bits, [&] { bits.align(word_beat_bits(region)); });
    packets.push_back(load(region, slot, slot_words(region), payload));
  };
  const auto value = [](const auto& values, int i) {
    return i < 0 ? std::int64_t{0} : std::int64_t{values[static_cast<std::size_t>(i)]};
  };
  send(Region::state, [&](BitWriter& bits, auto end) {
    walk_state([&](int i) { bits.put(value(state.words, i), p.state_width); }, end);
  });
  send(Region::norm, [&](BitWriter& bits, auto end) {
    walk_rows(
        p.rows, [&](int r) { bits.put(value(state.norm_words, r), p.norm_width); }, end);
  });
  send(Region::rows, [&](BitWriter& bits, auto end) {
    walk_rows(
        p.exp_lanes,
        [&](int r) {
          const Leads lead = r < 0 ? Leads{} : leads(state, r);
          bits.put(value(state.exponents, r), p.state_exponent_width);
          bits.put(lead.state, kLeadWidth);
          bits.put(value(state.norm_exponents, r), p.norm_exponent_width);
          bits.put(lead.norm, kLeadWidth);
        },
        end);
  });
  send(Region::tails, [&](BitWriter& bits, auto end) {
    for (const Tail* tail : {&state.q_tail, &state.k_tail})
      walk_tail([&](int i) { bits.put(value(*tail, i), p.qk_width); }, end);
  });
  send(Region::count, [&](BitWriter& bits, auto end) {
    bits.put(state.tokens, 32);
    end();
  });
  return packets;
}

std::vector<Packet> StreamFormat::store_context(int slot) const {
  std::vector<Packet> packets;
  for (int region = 0; region < kContextRegions; ++region)
    packets.push_back(store(static_cast<Region>(region), slot));
  return packets;
}

HeadState StreamFormat::read_context(std::span<const Packet> answers) const {
  const RtlParameters& p = parameters_;
  HeadState state(preset_.datapath, {1, 1, head_dim_, feature_dim_});
  if (answers.size() != kContextRegions)
    throw std::runtime_error("rtl: a context is the answers of five regions");
  const auto receive = [&](Region region, auto drain) {
    const Packet& packet = answers[static_cast<std::size_t>(region)];
    const PacketHeader header = read_header(packet);
    const std::size_t size =
        beat_words() + static_cast<std::size_t>(slot_words(region)) * word_beat_bits(region) / 32;
    if (header.kind != (static_cast<int>(PacketKind::store) | kAnswer) ||
        header.heads_or_region != static_cast<std::uint8_t>(region) || packet.size() != size)
      throw std::runtime_error(fmt::format(
          "rtl: the answer to STORE of region {} has kind 0x{:02x}, region {} and {} words, expected {}",
          static_cast<int>(region), header.kind, header.heads_or_region, packet.size(), size));
    BitReader bits{std::span(packet).subspan(beat_words())};
    drain(bits, [&] { bits.align(word_beat_bits(region)); });
  };
  const auto keep = [](auto& values, int i, std::int64_t value) {
    if (i >= 0)
      values[static_cast<std::size_t>(i)] = static_cast<std::remove_reference_t<decltype(values[0])>>(value);
  };
  receive(Region::state, [&](BitReader& bits, auto end) {
    walk_state([&](int i) { keep(state.words, i, bits.take_signed(p.state_width)); }, end);
  });
  receive(Region::norm, [&](BitReader& bits, auto end) {
    walk_rows(
        p.rows, [&](int r) { keep(state.norm_words, r, bits.take_signed(p.norm_width)); }, end);
  });
  receive(Region::rows, [&](BitReader& bits, auto end) {
    walk_rows(
        p.exp_lanes,
        [&](int r) {
          keep(state.exponents, r, bits.take_signed(p.state_exponent_width));
          const auto lead = static_cast<int>(bits.take(kLeadWidth));
          keep(state.norm_exponents, r, bits.take_signed(p.norm_exponent_width));
          const auto norm_lead = static_cast<int>(bits.take(kLeadWidth));
          if (r < 0) return;
          const Leads expected = leads(state, r);
          if (lead != expected.state || norm_lead != expected.norm)
            throw std::runtime_error(
                fmt::format("rtl: row {} says lead bits {} and {}, its words have {} and {}", r, lead,
                            norm_lead, expected.state, expected.norm));
        },
        end);
  });
  receive(Region::tails, [&](BitReader& bits, auto end) {
    for (Tail* tail : {&state.q_tail, &state.k_tail})
      walk_tail([&](int i) { keep(*tail, i, bits.take_signed(p.qk_width)); }, end);
  });
  receive(Region::count,
          [&](BitReader& bits, auto) { state.tokens = static_cast<std::uint32_t>(bits.take(32)); });
  return state;
}

std::vector<Packet> StreamFormat::load_weights(int slot, const HeadWeights& weights) const {
  const RtlParameters& p = parameters_;
  const int d = head_dim_, f = feature_dim_;
  const auto at = [](auto& values, int i) { return values[static_cast<std::size_t>(i)]; };
  std::vector<std::uint32_t> taps, feature;
  BitWriter tap_bits(taps), feature_bits(feature);
  for (const auto* of : {&weights.q_taps, &weights.k_taps})
    for (int i = 0; i < conv_words(); ++i) {
      for (int c = i * p.channels; c < (i + 1) * p.channels; ++c)
        for (int j = 0; j < kConvTaps; ++j) tap_bits.put(c < d ? at(*of, c * kConvTaps + j) : 0, p.tap_width);
      tap_bits.align(word_beat_bits(Region::taps));
    }
  for (int first = 0; first < f; first += p.feature_segment)
    for (int i = 0; i < ceil_div(d, p.feature_channels); ++i) {
      for (int c = i * p.feature_channels; c < (i + 1) * p.feature_channels; ++c)
        for (int o = first; o < first + p.feature_segment; ++o)
          feature_bits.put(c < d && o < f ? at(weights.feature, c * f + o) : 0, p.weight_width);
      feature_bits.align(word_beat_bits(Region::feature));
    }
  return {load(Region::taps, slot, slot_words(Region::taps), taps),
          load(Region::feature, slot, slot_words(Region::feature), feature)};
}

std::vector<Packet> StreamFormat::load_tables() const {
  std::vector<Packet> packets;
  for (int t = 0; t < kRtlTableCount; ++t) {
    const auto region = static_cast<Region>(static_cast<int>(Region::exp2) + t);
    const std::vector<std::uint64_t> words = rtl_table(preset_, static_cast<RtlTable>(t));
    std::vector<std::uint32_t> payload;
    BitWriter bits(payload);
    for (const std::uint64_t word : words) {
      bits.put(static_cast<std::int64_t>(word), 64);
      bits.align(word_beat_bits(region));
    }
    packets.push_back(load(region, 0, static_cast<int>(words.size()), payload));
  }
  return packets;
}

}  // namespace lawcat

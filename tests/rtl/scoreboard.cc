// SPDX-License-Identifier: Apache-2.0
// See scoreboard.h.
#include "tests/rtl/scoreboard.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>
#include <utility>

namespace lawcat {
namespace {

namespace reg = tile_register;

constexpr std::uint8_t kAnswer = 0x80;
constexpr std::size_t kParsedBeats = 5;  // more than the port holds ahead of the parser
constexpr std::int64_t kPatience = 2 * TileDriver::kPatience;
constexpr std::uint32_t kSlverr = 2;

Point point_of(int clipped) {
  for (int p = 0; p < kPointCount; ++p)
    if (to_string(static_cast<Point>(p)) == kClippedPoints[static_cast<std::size_t>(clipped)])
      return static_cast<Point>(p);
  throw std::logic_error("a clipped point is no point of the datapath");
}

}  // namespace

Scoreboard::Scoreboard(const RtlLibrary& library, const Preset& preset, int head_dim, int feature_dim)
    : preset_(preset),
      shape_{1, 1, head_dim, feature_dim},
      format_(preset, head_dim, feature_dim),
      rules_(preset.datapath),
      tile_(library.make()),
      driver_(*tile_, format_.parameters().stream_width),
      contexts_(index(format_.context_slots()), Context{true, true, false, fresh_context()}),
      weights_(index(format_.weight_slots())),
      weights_sure_(weights_.size(), true) {
  driver_.reset();
  start();
}

void Scoreboard::start() {
  driver_.write(reg::kShape, static_cast<std::uint32_t>(shape_.head_dim | shape_.feature_dim << 8));
  driver_.write(reg::kControl, reg::kEnable | reg::kClearCounters);
  driver_.write(reg::kInterrupt, 3);
  for (Packet& packet : format_.load_tables()) send(std::move(packet));
  drain();
}

void Scoreboard::fail(const std::string& what) const {
  throw std::runtime_error(fmt::format("{}, D {}, F {}, cycle {}: {}", preset_.name, shape_.head_dim,
                                       shape_.feature_dim, driver_.cycles(), what));
}

// ----------------------------------------------------------------------------------------------------
// packets

std::size_t Scoreboard::word_beats(Region region) const {
  const auto width = format_.parameters().stream_width;
  return static_cast<std::size_t>((format_.word_bits(region) + width - 1) / width);
}

void Scoreboard::send(Packet packet) {
  beats_in_ += static_cast<std::int64_t>(packet.size() / driver_.beat_words());
  ++packets_;
  driver_.send(std::move(packet));
}

void Scoreboard::send_pieces(Packet packet, int piece) {
  const std::size_t beat = driver_.beat_words();
  PacketHeader header = StreamFormat::read_header(packet);
  const std::size_t word = word_beats(static_cast<Region>(header.heads_or_region)) * beat;
  const int words = header.words;
  for (int at = 0; at < words; at += piece) {
    const int now = std::min(piece, words - at);
    header.head_or_index = static_cast<std::uint16_t>(at);
    header.words = static_cast<std::uint16_t>(now);
    header.tag = next_tag();
    Packet part = format_.header(header);
    const auto from = packet.begin() + static_cast<std::ptrdiff_t>(beat + index(at) * word);
    part.insert(part.end(), from, from + static_cast<std::ptrdiff_t>(index(now) * word));
    send(std::move(part));
  }
  coverage_.hit("packet.load");
  header_is_parsed_ = false;
}

void Scoreboard::load_weights(int slot, HeadWeights weights, int piece) {
  if (in_flight()) coverage_.hit("weights.changed_in_stream");
  if (piece > 0) coverage_.hit("weights.load_in_pieces");
  for (Packet& packet : format_.load_weights(slot, weights))
    send_pieces(std::move(packet), piece > 0 ? piece : 65535);
  weights_[index(slot)] = std::move(weights);
  weights_sure_[index(slot)] = false;
}

void Scoreboard::load_context(int slot, const HeadState& state, int piece) {
  Context& context = contexts_[index(slot)];
  if (!context.fresh) coverage_.hit("context.overwritten");
  if (piece > 0) coverage_.hit("context.load_in_pieces");
  for (Packet& packet : format_.load_context(slot, state))
    send_pieces(std::move(packet), piece > 0 ? piece : 65535);
  context = {true, false, true, state};
}

void Scoreboard::store_context(int slot, int piece) {
  if (piece > 0) coverage_.hit("context.store_in_pieces");
  coverage_.hit("packet.store");
  for (int r = 0; r < kContextRegions; ++r) {
    PacketHeader header = StreamFormat::read_header(format_.store(static_cast<Region>(r), slot));
    const int words = header.words;
    for (int at = 0, now; at < words; at += now) {
      now = piece > 0 ? std::min(piece, words - at) : words;
      header.head_or_index = static_cast<std::uint16_t>(at);
      header.words = static_cast<std::uint16_t>(now);
      header.tag = next_tag();
      Expected expected;
      expected.header = header;
      expected.words = index(now);
      expected.ends_region = at + now == words;
      if (expected.ends_region && r + 1 == kContextRegions)
        expected.context = std::make_shared<const HeadState>(contexts_[index(slot)].state);
      expected_.push_back(std::move(expected));
      send(format_.header(header));
    }
  }
  header_is_parsed_ = false;
}

void Scoreboard::note(int code, std::uint32_t tag) {
  if (!error_) error_ = {code, tag};
  error_may_come_ = true;
}

void Scoreboard::malformed_load(int slot, Region region, std::optional<std::size_t> beats,
                                std::size_t excess) {
  const bool of_context = static_cast<int>(region) < kContextRegions;
  std::vector<Packet> packets = of_context ? format_.load_context(slot, contexts_[index(slot)].state)
                                           : format_.load_weights(slot, *weights_[index(slot)]);
  Packet packet = std::move(
      packets[static_cast<std::size_t>(region) - (of_context ? 0 : static_cast<std::size_t>(Region::taps))]);
  PacketHeader header = StreamFormat::read_header(packet);
  header.tag = next_tag();
  const Packet first = format_.header(header);
  std::copy(first.begin(), first.end(), packet.begin());
  const std::size_t beat = driver_.beat_words();
  if (beats) {
    packet.resize(std::min(*beats * beat, packet.size() - beat));
    coverage_.hit(packet.size() == beat ? "error.load_ends_with_header" : "error.load_short");
    note(kErrorShort, header.tag);
  } else {
    packet.resize(packet.size() + excess * beat, 0x00010002U);
    coverage_.hit("error.load_long");
    note(kErrorLong, header.tag);
  }
  send(std::move(packet));
  header_is_parsed_ = false;
}

void Scoreboard::long_store(int slot, Region region, std::size_t excess) {
  Packet packet = format_.store(region, slot);
  Expected expected;
  expected.header = StreamFormat::read_header(packet);
  expected.header.tag = next_tag();
  expected.words = expected.header.words;
  expected.error = expected.drop = true;
  packet = format_.header(expected.header);
  packet.resize(packet.size() * (1 + excess), 0x00030001U);
  note(kErrorLong, expected.header.tag);
  coverage_.hit("error.store_long");
  expected_.push_back(std::move(expected));
  send(std::move(packet));
  header_is_parsed_ = false;
}

void Scoreboard::dropped(const PacketHeader& fields, std::size_t beats, int code, const char* point) {
  PacketHeader header = fields;
  header.tag = next_tag();
  Packet packet = format_.header(header);
  packet.resize(beats * driver_.beat_words(), 0x00010101U * static_cast<std::uint32_t>(code));
  note(code, header.tag);
  coverage_.hit(point);
  send(std::move(packet));
  header_is_parsed_ = false;
}

std::size_t Scoreboard::beats(const TokenInput& input) const {
  const auto per_beat =
      static_cast<std::size_t>(format_.parameters().stream_width / format_.parameters().element_width);
  const auto of = [per_beat](int n) { return (static_cast<std::size_t>(n) + per_beat - 1) / per_beat; };
  return 1 + (2 + index(input.heads)) * of(shape_.head_dim) + 2 * of(shape_.feature_dim);
}

void Scoreboard::send_token(TokenInput input, std::size_t beats, std::size_t excess) {
  const std::size_t beat = driver_.beat_words(), whole = this->beats(input);
  Expected expected;
  expected.header = {.kind = static_cast<std::uint8_t>(PacketKind::token),
                     .heads_or_region = static_cast<std::uint8_t>(input.heads),
                     .slot = static_cast<std::uint8_t>(input.slot),
                     .weight_slot = static_cast<std::uint8_t>(input.weight_slot),
                     .head_or_index = static_cast<std::uint16_t>(input.head),
                     .tag = next_tag()};
  Packet packet = format_.token(expected.header, input.key, input.value, input.logits, input.query);
  if (packet.size() != whole * beat) throw std::logic_error("beats of a TOKEN packet");
  packet.resize((beats + excess) * beat, 0xfedcba98U);
  if (beats < whole || excess > 0) {
    expected.error = true;
    expected.header_is_exact = input.heads < format_.parameters().fifo_tokens;
    if (expected.header_is_exact) coverage_.hit("error.header_flag");
    note(beats < whole ? kErrorShort : kErrorLong, expected.header.tag);
    coverage_.hit(excess > 0   ? "error.token_long"
                  : beats == 1 ? "error.token_ends_with_header"
                               : "error.token_short");
  }
  // What is missing counts as zero.
  const auto per_beat =
      static_cast<std::size_t>(format_.parameters().stream_width / format_.parameters().element_width);
  std::size_t at = 1;
  const auto cut = [&](std::span<std::int32_t> part) {
    for (std::size_t i = 0; i < part.size(); ++i)
      if (at + i / per_beat >= beats) part[i] = 0;
    at += (part.size() + per_beat - 1) / per_beat;
  };
  const auto d = index(shape_.head_dim), f = index(shape_.feature_dim);
  cut(input.key);
  cut(std::span(input.query).first(d));
  cut(std::span(input.logits).first(f));
  cut(std::span(input.logits).subspan(f, f));
  cut(input.value);
  for (std::size_t q = d; q < input.query.size(); q += d) cut(std::span(input.query).subspan(q, d));

  expected.output = compute(input);
  expected_.push_back(std::move(expected));
  header_is_parsed_ = packet.size() >= kParsedBeats * beat;
  send(std::move(packet));
  coverage_.hit("packet.token");
  coverage_.hit(input.heads == 1                                  ? "heads.1"
                : input.heads <= format_.parameters().fifo_tokens ? "heads.few"
                                                                  : "heads.many");
  if (input.slot == last_slot_) coverage_.hit("context.next_packet_same_slot");
  last_slot_ = input.slot;
}

std::vector<float> Scoreboard::compute(const TokenInput& input) {
  const auto d = index(shape_.head_dim);
  GroupToken token;
  token.key = input.key;
  token.value = input.value;
  token.logits = input.logits;
  std::int64_t all = 0;
  for (const std::int32_t v : input.value) all |= magnitude_bits(v);
  token.value_lead = lead_bits(all);
  for (const std::int32_t x : input.logits) {
    token.gates.push_back(forget_gate(rules_.gate, rules_.exp2, x, rules_.formats.gate_logit.fraction,
                                      rules_.gate_p, rules_.formats.gate.min_exponent()));
    const Gate& gate = token.gates.back();
    coverage_.hit(gate.near_one ? "gate.keeps" : "gate.forgets");
    if (gate.near_one && gate.factor.mantissa == 0) coverage_.hit("gate.keeps_all");
  }
  std::vector<float> output(index(input.heads) * d);
  for (int h = 0; h < input.heads; ++h) {
    Context& context = contexts_[index(input.slot + h)];
    if (!context.known || !weights_[index(input.weight_slot + h)])
      throw std::logic_error("a token for slots with unknown contents");
    coverage_.hit(context.fresh      ? "context.fresh"
                  : context.restored ? "context.restored"
                                     : "context.goes_on");
    if (context.fresh) context.state = fresh_context();
    context.fresh = context.restored = false;
    const std::vector<std::int32_t> before = context.state.exponents;
    step_head(rules_, shape_, *weights_[index(input.weight_slot + h)],
              static_cast<std::uint32_t>(input.head + h), std::span(input.query).subspan(index(h) * d, d),
              token, context.state, std::span(output).subspan(index(h) * d, d), saturations_);
    ++head_tokens_;
    ++all_head_tokens_;
    const int least = rules_.formats.state.min_exponent();
    for (std::size_t r = 0; r < before.size(); ++r) {
      if (context.state.exponents[r] < before[r]) coverage_.hit("row.fades");
      const auto row = std::span(context.state.words).subspan(r * d, d);
      const bool zero = std::all_of(row.begin(), row.end(), [](std::int64_t w) { return w == 0; });
      if (zero) coverage_.hit("row.all_zero");
      if (zero && context.state.exponents[r] == least) coverage_.hit("row.empty");
    }
  }
  ++token_packets_;
  return output;
}

// ----------------------------------------------------------------------------------------------------
// answers

void Scoreboard::poll() {
  while (const std::optional<Packet> answer = driver_.take()) {
    beats_out_ += static_cast<std::int64_t>(answer->size() / driver_.beat_words());
    if (expected_.empty()) fail("an answer to nothing");
    const Expected expected = std::move(expected_.front());
    expected_.pop_front();
    compare(expected, *answer, driver_.taken_user());
  }
}

void Scoreboard::compare(const Expected& expected, const Packet& answer, bool user) {
  const std::size_t beat = driver_.beat_words();
  PacketHeader got = StreamFormat::read_header(answer), wanted = expected.header;
  const bool flag = std::exchange(got.error, false);
  wanted.kind |= kAnswer;
  const auto place = [&] {
    return fmt::format("answer to kind {}, {} {}, slot {}, tag 0x{:08x}", expected.header.kind,
                       expected.output.empty() ? "region" : "heads", expected.header.heads_or_region,
                       expected.header.slot, expected.header.tag);
  };
  if (got != wanted)
    fail(fmt::format("{}: header says kind 0x{:02x}, {}, slots {} and {}, {}, words {}, tag 0x{:08x}",
                     place(), got.kind, got.heads_or_region, got.slot, got.weight_slot, got.head_or_index,
                     got.words, got.tag));
  if (user != expected.error || flag > expected.error || (expected.header_is_exact && flag != expected.error))
    fail(fmt::format("{}: malformed {}, but TUSER {}, flag {}", place(), expected.error, user, flag));

  if (!expected.output.empty()) {
    std::vector<float> output(expected.output.size());
    format_.read_output(answer, output);
    const auto d = index(shape_.head_dim);
    for (std::size_t i = 0; i < output.size(); ++i)
      if (std::bit_cast<std::uint32_t>(output[i]) != std::bit_cast<std::uint32_t>(expected.output[i]))
        fail(fmt::format("{}: head {}, column {}: {} instead of {}", place(), i / d, i % d, output[i],
                         expected.output[i]));
    // Padding is zero.
    const auto width = format_.parameters().element_width;
    const auto per_beat = static_cast<std::size_t>(format_.parameters().stream_width / width);
    const std::size_t padded = (d + per_beat - 1) / per_beat * per_beat;
    BitReader bits{std::span(answer).subspan(beat)};
    for (std::size_t i = 0; i < output.size() / d * padded; ++i)
      if (bits.take(width) != 0 && i % padded >= d) fail(place() + ": padding is not zero");
    return;
  }

  const auto region = static_cast<Region>(expected.header.heads_or_region);
  if (answer.size() != (1 + expected.words * word_beats(region)) * beat)
    fail(fmt::format("{}: {} words of 32 bits", place(), answer.size()));
  if (expected.drop) return;
  if (expected.header.head_or_index == 0) stored_.push_back({});
  Packet& whole = stored_.back();
  whole.insert(whole.end(), answer.begin() + (whole.empty() ? 0 : static_cast<std::ptrdiff_t>(beat)),
               answer.end());
  if (expected.ends_region && expected.context) {
    const std::vector<Packet> answers = std::exchange(stored_, {});
    compare_context(*expected.context, format_.read_context(answers));
  }
}

void Scoreboard::compare_context(const HeadState& expected, const HeadState& got) const {
  const auto same = [&](const char* what, const auto& a, const auto& b) {
    for (std::size_t i = 0; i < a.size(); ++i)
      if (a[i] != b[i]) fail(fmt::format("context: {} {}: {} instead of {}", what, i, b[i], a[i]));
  };
  same("tokens", std::array{expected.tokens}, std::array{got.tokens});
  same("q tail", expected.q_tail, got.q_tail);
  same("k tail", expected.k_tail, got.k_tail);
  same("norm exponent", expected.norm_exponents, got.norm_exponents);
  same("norm word", expected.norm_words, got.norm_words);
  same("exponent", expected.exponents, got.exponents);
  same("word", expected.words, got.words);
}

void Scoreboard::step() {
  driver_.step();
  poll();
}

void Scoreboard::advance(std::size_t queued) {
  std::int64_t last = driver_.cycles();
  for (std::size_t before = driver_.queued(); driver_.queued() > queued;) {
    step();
    if (driver_.queued() != before) last = driver_.cycles();
    before = driver_.queued();
    if (driver_.cycles() - last > kPatience) fail(fmt::format("deadlock: {} packets do not go in", before));
  }
}

void Scoreboard::drain() {
  advance(0);
  std::int64_t last = driver_.cycles();
  for (std::size_t before = expected_.size(); !expected_.empty();) {
    step();
    if (expected_.size() != before) last = driver_.cycles();
    before = expected_.size();
    if (driver_.cycles() - last > kPatience) fail(fmt::format("deadlock: {} answers do not come", before));
  }
  driver_.wait_idle();
  poll();
  weights_sure_.assign(weights_sure_.size(), true);
  error_may_come_ = false;
  header_is_parsed_ = true;
}

void Scoreboard::settle() {
  drain();
  driver_.write(reg::kControl, 0);
  const std::uint32_t error = driver_.read(reg::kError), tag = driver_.read(reg::kErrorTag),
                      status = driver_.read(reg::kStatus), interrupt = driver_.read(reg::kInterrupt);
  const std::uint32_t code = error_ ? static_cast<std::uint32_t>(error_->code) : 0;
  if (error != (code << 8 | (error_ ? 1U : 0U)) || (error_ && tag != error_->tag))
    fail(fmt::format("ERROR is 0x{:x}, tag 0x{:08x}, expected code {}, tag 0x{:08x}", error, tag, code,
                     error_ ? error_->tag : 0));
  if (status != (code << 8 | (error_ ? 4U : 0U) | 2U))
    fail(fmt::format("STATUS is 0x{:x} when idle", status));
  if ((interrupt >> 1 & 1) != (error_ ? 1U : 0U)) fail(fmt::format("INTERRUPT is 0x{:x}", interrupt));
  driver_.write(reg::kError, 1);
  driver_.write(reg::kInterrupt, 3);
  if (driver_.read(reg::kError) != 0 || driver_.read(reg::kErrorTag) != 0 ||
      driver_.read(reg::kInterrupt) != 0)
    fail("ERROR or INTERRUPT is not cleared by writing 1");
  error_.reset();

  const auto counter = [&](int i) { return static_cast<std::int64_t>(driver_.counter(i)); };
  const std::int64_t cycles = counter(kCounterCycles);
  for (int s = 0; s < static_cast<int>(kTileStages.size()); ++s) {
    const std::string stage(kTileStages[index(s)]);
    const std::int64_t busy = counter(kCounterBusy + s), stall = counter(kCounterStall + s),
                       starve = counter(kCounterStarve + s);
    if (busy + stall + starve != cycles)
      fail(fmt::format("counters of {}: busy {} + stall {} + starve {} are not {} cycles", stage, busy, stall,
                       starve, cycles));
    coverage_.hit("stage." + stage + ".busy", busy);
    coverage_.hit("stage." + stage + ".stall", stall);
    coverage_.hit("stage." + stage + ".starve", starve);
  }
  const auto expect = [&](const char* what, int i, std::int64_t value) {
    if (counter(i) != value) fail(fmt::format("counter of {} is {}, expected {}", what, counter(i), value));
  };
  expect("head-tokens", kCounterHeadTokens, head_tokens_);
  expect("tokens", kCounterTokens, token_packets_);
  expect("beats in", kCounterBeatsIn, beats_in_);
  expect("beats out", kCounterBeatsOut, beats_out_);
  for (int i = 0; i < static_cast<int>(kClippedPoints.size()); ++i) {
    const std::int64_t clipped = saturations_[static_cast<std::size_t>(point_of(i))];
    expect(kClippedPoints[index(i)].data(), kCounterClipped + i, clipped);
    if (clipped > 0) coverage_.hit("clipped." + std::string(kClippedPoints[index(i)]), clipped);
  }
  driver_.write(reg::kControl, reg::kClearCounters | reg::kEnable);
  saturations_ = {};
  head_tokens_ = token_packets_ = beats_in_ = beats_out_ = 0;
}

// ------------------------------------------------------------------------------------------- clear and reset

void Scoreboard::make_header_parsed() {
  if (header_is_parsed_) {
    advance(0);
  } else {
    drain();
  }
}

std::uint32_t Scoreboard::control(std::uint32_t bits) const {
  return reg::kEnable | bits;
}

void Scoreboard::clear(std::optional<int> slot) {
  make_header_parsed();
  if (in_flight()) coverage_.hit(slot ? "clear.slot_in_flight" : "clear.all_in_flight");
  driver_.write(reg::kControl,
                control(slot ? reg::kClearSlot | static_cast<std::uint32_t>(*slot) << reg::kClearSlotShift
                             : reg::kClearAll));
  for (int s = 0; s < static_cast<int>(contexts_.size()); ++s)
    if (!slot || *slot == s) contexts_[index(s)] = {true, true, false, fresh_context()};
}

void Scoreboard::clear_inside(const TokenInput& input, std::optional<int> slot) {
  make_header_parsed();
  const std::uint64_t before = driver_.counter(kCounterBeatsIn);
  token(input);
  const auto parsed = static_cast<std::uint64_t>(std::min(kParsedBeats, beats(input)));
  for (const std::int64_t start = driver_.cycles(); driver_.counter(kCounterBeatsIn) - before < parsed;
       poll())
    if (driver_.cycles() - start > kPatience) fail("deadlock: a packet does not go in");
  if (driver_.queued() > 0) coverage_.hit("clear.inside_packet");
  clear(slot);
}

void Scoreboard::forget_streams() {
  expected_.clear();
  stored_.clear();
  error_.reset();
  saturations_ = {};
  head_tokens_ = token_packets_ = beats_in_ = beats_out_ = 0;
  contexts_.assign(contexts_.size(), {true, true, false, fresh_context()});
  header_is_parsed_ = true;
  error_may_come_ = false;
  last_slot_ = -1;
}

void Scoreboard::soft_reset() {
  coverage_.hit(driver_.queued() > 0 ? "reset.inside_packet"
                : in_flight()        ? "reset.in_flight"
                                     : "reset.idle");
  driver_.write(reg::kControl, reg::kSoftReset);
  poll();
  // The engine's reset follows the response; what is on the output port until it is there is of a dead
  // packet.
  for (int i = 0; i < 3; ++i) {
    driver_.abandon();
    driver_.step();
  }
  driver_.abandon();
  for (std::size_t i = 0; i < weights_.size(); ++i)
    if (!weights_sure_[i]) weights_[i].reset();
  weights_sure_.assign(weights_sure_.size(), true);
  forget_streams();
  for (int i = 0; (driver_.read(reg::kStatus) & reg::kBusy) != 0; ++i)
    if (i > 100) fail("a soft reset does not end");
  poll();
  driver_.write(reg::kError, 1);
  driver_.write(reg::kInterrupt, 3);
  driver_.write(reg::kControl, reg::kClearCounters | reg::kEnable);
}

void Scoreboard::hard_reset() {
  coverage_.hit("reset.hard");
  driver_.reset();
  weights_.assign(weights_.size(), std::nullopt);
  forget_streams();
  start();
}

// ---------------------------------------------------------------------------------------------------
// registers

void Scoreboard::access_registers(std::uint64_t choice) {
  const RtlParameters& p = format_.parameters();
  const auto u = [](int x) { return static_cast<std::uint32_t>(x); };
  const std::array<std::pair<std::uint32_t, std::uint32_t>, 9> constant{{
      {reg::kId, reg::kIdValue},
      {reg::kControl, reg::kEnable},
      {0x004, 0x00010000},
      {reg::kPresetHash, p.preset_hash},
      {0x00c, u(p.lanes | p.max_head_dim << 16 | p.max_feature_dim << 24)},
      {0x010, u(p.context_slots | p.weight_slots << 16)},
      {0x014, u(p.stream_width | p.element_width << 16 | p.fifo_tokens << 24)},
      {0x018, u(p.state_depth)},
      {reg::kShape, u(shape_.head_dim | shape_.feature_dim << 8)},
  }};
  // No such register, read-only ones, values that the table refuses.
  const std::array<std::uint32_t, 7> no_register{0x01c, 0x038, 0x100, 0x1fc, 0x200 + 8 * 39, 0x400, 0xffc};
  const std::array<std::uint32_t, 6> read_only{0x000, 0x004, 0x010, 0x024, 0x030, 0x200};
  const auto refused = [&](const char* what, std::uint32_t address, std::uint32_t response) {
    if (response != kSlverr) fail(fmt::format("{} of 0x{:03x} is answered {}", what, address, response));
    if (in_flight()) coverage_.hit("register.refused");
  };
  const std::uint64_t detail = choice >> 8;
  switch (choice % 8) {
    case 0:
    case 1: {
      const auto [address, value] = constant[detail % constant.size()];
      if (const std::uint32_t got = driver_.read(address); got != value)
        fail(fmt::format("register 0x{:03x} reads 0x{:08x}, expected 0x{:08x}", address, got, value));
      if (in_flight()) coverage_.hit("register.read");
      break;
    }
    case 2: {
      const std::uint32_t address = no_register[detail % no_register.size()];
      refused("a read", address, driver_.try_read(address).response);
      refused("a write", address, driver_.try_write(address, 0).response);
      break;
    }
    case 3: {
      const std::uint32_t address = read_only[detail % read_only.size()];
      refused("a write", address, driver_.try_write(address, 0xffffffffU).response);
      break;
    }
    case 4: {
      const auto address = static_cast<std::uint32_t>(1 + detail % 3 + 4 * (detail % 16));
      refused("a read", address, driver_.try_read(address).response);
      refused("a write", address, driver_.try_write(address, 0).response);
      break;
    }
    case 5: {
      // Would clear everything and switch the port off.
      const auto strobes = static_cast<std::uint32_t>(detail % 15);
      refused("a write with a strobe off", reg::kControl,
              driver_.try_write(reg::kControl, reg::kClearAll | reg::kClearCounters, strobes).response);
      if (in_flight()) coverage_.hit("register.strobe_refused");
      break;
    }
    case 6: {
      if (p.context_slots >= 256) break;
      const auto slot = u(p.context_slots + static_cast<int>(detail % u(256 - p.context_slots)));
      refused(
          "clearing a slot that is not there, by a write", reg::kControl,
          driver_.try_write(reg::kControl, control(reg::kClearSlot | slot << reg::kClearSlotShift)).response);
      break;
    }
    default: {
      // The same shape again: refused while busy, which is an error, and without effect when idle.
      if (error_may_come_) break;
      const std::uint32_t shape = u(shape_.head_dim | shape_.feature_dim << 8);
      if (driver_.try_write(reg::kShape, shape).response == 0) break;
      coverage_.hit("error.shape_while_busy");
      if (!error_) error_ = {kErrorShape, shape};
      break;
    }
  }
}

}  // namespace lawcat

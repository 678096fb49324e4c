// SPDX-License-Identifier: Apache-2.0
// lawcat-rtl-vectors: the beats that take an engine through vectors, and the beats it must answer with, as
// text for simulators that C++ does not drive: Icarus Verilog, a netlist. The answers come from the
// definition (hostlib/backend/datapath.h), not from RTL.
//
// in.beats and expected.beats: first `shape D F`, then a beat a line, `last data_hex`. All slots are as after
// reset. Tables and weights are loaded; half way the contexts of the last group move to other slots through
// STORE and LOAD; at the end every context is stored.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "hostlib/backend/datapath.h"
#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "hostlib/trace/random_vectors.h"
#include "hostlib/trace/vectors.h"
#include "rtl/bench/stream.h"

namespace lawcat {
namespace {

constexpr const char* kUsage =
    "usage: lawcat-rtl-vectors --preset NAME|FILE --out FOLDER [--tokens N] [--groups N]\n"
    "         (--vectors FILE | --random plain|long|spiky [--shape H,HKV,D,F] [--seed N])\n"
    "writes in.beats, what an engine of the preset is sent, and expected.beats, what it answers;\n"
    "--tokens and --groups keep the first of FILE's\n";

std::size_t at(int i) {
  return static_cast<std::size_t>(i);
}

/// Bits of an output container: the way back from StreamFormat::output_value.
std::uint32_t output_bits(const Format& format, float value) {
  if (format.kind == FormatKind::fixed)
    return static_cast<std::uint32_t>(std::lround(std::ldexp(static_cast<double>(value), format.fraction)));
  const double magnitude = std::abs(static_cast<double>(value));
  const int exponent = magnitude > 0 ? std::ilogb(magnitude) : format.min_exponent() - 1;
  const bool normal = exponent >= format.min_exponent();
  const int last = (normal ? exponent : format.min_exponent()) - format.mantissa_bits;
  auto bits = static_cast<std::uint32_t>(std::ldexp(magnitude, -last));  // with the leading one, if normal
  if (normal) {
    bits -= 1U << format.mantissa_bits;
    bits |= static_cast<std::uint32_t>(exponent - format.min_exponent() + 1) << format.mantissa_bits;
  }
  return bits | (std::signbit(value) ? 1U << (format.width - 1) : 0U);
}

class BeatFile {
 public:
  BeatFile(const StreamFormat& format, int head_dim, int feature_dim)
      : beat_words_(format.beat_words()), text_(fmt::format("shape {} {}\n", head_dim, feature_dim)) {}

  void add(const Packet& packet) {
    for (std::size_t first = 0; first < packet.size(); first += beat_words_) {
      text_ += first + beat_words_ == packet.size() ? "1 " : "0 ";
      for (std::size_t i = beat_words_; i-- > 0;) text_ += fmt::format("{:08x}", packet[first + i]);
      text_ += '\n';
    }
  }
  void write(const std::filesystem::path& file) const {
    AtomicFile out(file);
    out.write(text_);
    out.commit();
  }

 private:
  std::size_t beat_words_;
  std::string text_;
};

class Writer {
 public:
  /// Of the vectors' heads, those of the first `groups` key-value heads.
  Writer(const Preset& preset, const UnitVectors& vectors, int groups)
      : preset_(preset),
        x_(vectors),
        groups_(groups),
        heads_(groups * vectors.shape.group()),
        rules_(preset.datapath),
        format_(preset, vectors.shape.head_dim, vectors.shape.feature_dim),
        in_(format_, vectors.shape.head_dim, vectors.shape.feature_dim),
        out_(in_),
        unused_(vectors.q.size()) {
    const UnitShape& shape = x_.shape;
    const RtlParameters& p = format_.parameters();
    const auto require = [&](const char* what, bool holds, const std::string& expected, int got) {
      if (!holds)
        throw InputError(fmt::format("preset {}: {}", preset.name, what), expected, fmt::format("{}", got));
    };
    require("head_dim", shape.head_dim <= p.max_head_dim, fmt::format("at most {}", p.max_head_dim),
            shape.head_dim);
    require("feature_dim", shape.feature_dim <= p.max_feature_dim,
            fmt::format("at most {}", p.max_feature_dim), shape.feature_dim);
    // Rows beyond the shape hold what nobody defines.
    require("feature_dim", shape.feature_dim % p.rows == 0 && shape.feature_dim % p.exp_lanes == 0,
            fmt::format("a multiple of {} and {}, as words of rows are compared whole", p.rows, p.exp_lanes),
            shape.feature_dim);
    const int slots = std::min(format_.context_slots(), format_.weight_slots());
    require("heads", heads_ <= slots, fmt::format("at most its {} slots", slots), heads_);
    for (int kv = 0; kv < groups_; ++kv) slots_.push_back(kv * shape.group());
    for (int h = 0; h < heads_; ++h) states_.emplace_back(preset.datapath, shape);
  }

  void write(const std::filesystem::path& folder) {
    const UnitShape& shape = x_.shape;
    for (const Packet& packet : format_.load_tables()) in_.add(packet);
    for (int h = 0; h < heads_; ++h) {
      weights_.emplace_back(rules_, shape, x_.weights, h, saturations_);
      for (const Packet& packet : format_.load_weights(h, weights_.back())) in_.add(packet);
    }
    if (!x_.state.empty()) {
      const std::vector<double> state(x_.state.begin(), x_.state.end());
      const std::size_t size = state.size() / at(shape.heads);
      for (int h = 0; h < heads_; ++h) {
        states_[at(h)].assign(preset_.datapath, shape, std::span(state).subspan(at(h) * size, size),
                              saturations_);
        load_context(h);
      }
    }
    for (int token = 0; token < x_.tokens; ++token) {
      if (token > 0 && token == x_.tokens / 2) move_last_group();
      for (int kv = 0; kv < groups_; ++kv) add_token(token, kv);
    }
    for (int h = 0; h < heads_; ++h) store_context(h);
    in_.write(folder / "in.beats");
    out_.write(folder / "expected.beats");
  }

 private:
  int slot(int head) const { return slots_[at(head / x_.shape.group())] + head % x_.shape.group(); }

  void load_context(int head) {
    for (const Packet& packet : format_.load_context(slot(head), states_[at(head)])) in_.add(packet);
  }

  /// STOREs; each answer is its header and the words of the LOAD that would bring the context back.
  void store_context(int head) {
    const std::vector<Packet> words = format_.load_context(slot(head), states_[at(head)]);
    std::size_t region = 0;
    for (const Packet& request : format_.store_context(slot(head))) {
      in_.add(request);
      Packet answer = request;
      answer[0] |= 0x80;
      const Packet& loaded = words[region++];
      answer.insert(answer.end(), loaded.begin() + static_cast<std::ptrdiff_t>(format_.beat_words()),
                    loaded.end());
      out_.add(answer);
    }
  }

  void move_last_group() {
    const UnitShape& shape = x_.shape;
    const int first = heads_ - shape.group();
    if (heads_ + shape.group() > format_.context_slots()) return;
    for (int h = first; h < heads_; ++h) store_context(h);
    slots_.back() = heads_;
    for (int h = first; h < heads_; ++h) load_context(h);
  }

  void add_token(int token, int kv) {
    const UnitShape& shape = x_.shape;
    const auto d = at(shape.head_dim);
    const int first = kv * shape.group();
    const Job job = x_.job(0, x_.tokens, unused_);
    GroupToken shared;
    quantise_group_token(rules_, shape, job, token, kv, shared, saturations_);
    std::vector<std::int32_t> query;
    std::vector<std::uint32_t> answer;
    BitWriter bits(answer);
    for (int h = first; h < first + shape.group(); ++h) {
      std::vector<std::int32_t> own(d);
      const std::size_t from = (at(token) * at(shape.heads) + at(h)) * d;
      for (std::size_t c = 0; c < d; ++c)
        own[c] = quantise(x_.q[from + c], rules_.formats.query_key,
                          saturations_[at(static_cast<int>(Point::query))]);
      query.insert(query.end(), own.begin(), own.end());
      std::vector<float> output(d);
      step_head(rules_, shape, weights_[at(h)], static_cast<std::uint32_t>(h), own, shared, states_[at(h)],
                output, saturations_);
      for (const float value : output)
        bits.put(output_bits(preset_.datapath.output, value), format_.parameters().element_width);
      bits.align(at(format_.parameters().stream_width));
    }
    PacketHeader header{.kind = static_cast<std::uint8_t>(PacketKind::token),
                        .heads_or_region = static_cast<std::uint8_t>(shape.group()),
                        .slot = static_cast<std::uint8_t>(slot(first)),
                        .weight_slot = static_cast<std::uint8_t>(first),
                        .head_or_index = static_cast<std::uint16_t>(first),
                        .tag = static_cast<std::uint32_t>(token) << 8 | static_cast<std::uint32_t>(kv)};
    in_.add(format_.token(header, shared.key, shared.value, shared.logits, query));
    header.kind |= 0x80;
    Packet packet = format_.header(header);
    packet.insert(packet.end(), answer.begin(), answer.end());
    out_.add(packet);
  }

  const Preset& preset_;
  const UnitVectors& x_;
  int groups_, heads_;
  DatapathRules rules_;
  StreamFormat format_;
  BeatFile in_, out_;
  std::vector<int> slots_;  ///< first context slot of each group
  std::vector<HeadState> states_;
  std::vector<HeadWeights> weights_;
  std::vector<float> unused_;  ///< where a job would write
  Saturations saturations_{};
};

int number(const std::string& option, const std::string& text, int least) {
  std::size_t used = 0;
  int value = 0;
  try {
    value = std::stoi(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used != text.size() || text.empty() || value < least)
    throw InputError(option, fmt::format("a number from {} on", least), text);
  return value;
}

UnitShape shape_of(const std::string& text) {
  std::vector<int> fields;
  for (std::size_t first = 0; first <= text.size();) {
    const std::size_t end = std::min(text.find(',', first), text.size());
    fields.push_back(number("--shape", text.substr(first, end - first), 1));
    first = end + 1;
  }
  if (fields.size() != 4) throw InputError("--shape", "H,HKV,D,F", text);
  return {fields[0], fields[1], fields[2], fields[3]};
}

int write_vectors_beats(const std::vector<std::string>& arguments) {
  std::map<std::string, std::string> given{{"--shape", "2,1,64,32"}, {"--seed", "1"}};
  bool known = arguments.size() % 2 == 0;
  for (std::size_t i = 0; i + 1 < arguments.size(); i += 2) {
    for (const char* option :
         {"--preset", "--out", "--tokens", "--vectors", "--random", "--shape", "--seed", "--groups"})
      if (arguments[i] == option) given[arguments[i]] = arguments[i + 1];
    known = known && given.contains(arguments[i]);
  }
  if (!known || !given.contains("--preset") || !given.contains("--out") ||
      given.contains("--vectors") == given.contains("--random")) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const Preset preset = load_preset(given["--preset"]);
  UnitVectors vectors;
  if (given.contains("--vectors")) {
    vectors = read_vectors(given["--vectors"]);
    if (given.contains("--tokens"))
      vectors.tokens = std::min(vectors.tokens, number("--tokens", given["--tokens"], 1));
  } else {
    const int tokens = given.contains("--tokens") ? number("--tokens", given["--tokens"], 1) : 4;
    vectors = random_vectors(shape_of(given["--shape"]), tokens, parse_gate_regime(given["--random"]),
                             static_cast<std::uint64_t>(number("--seed", given["--seed"], 0)));
  }
  int groups = vectors.shape.kv_heads;
  if (given.contains("--groups")) groups = std::min(groups, number("--groups", given["--groups"], 1));
  Writer(preset, vectors, groups).write(given["--out"]);
  return 0;
}

}  // namespace
}  // namespace lawcat

int main(int count, char** arguments) {
  try {
    return lawcat::write_vectors_beats({arguments + 1, arguments + count});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lawcat-rtl-vectors: %s\n", error.what());
    return 2;
  }
}

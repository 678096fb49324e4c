// SPDX-License-Identifier: Apache-2.0
// See calibrate.h.
#include "sim/calibrate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hostlib/io/interrupt.h"
#include "rtl/rtl_backend.h"
#include "rtl/rtl_engine.h"

namespace lawcat {
namespace {

constexpr std::array<std::string_view, kHoldCount> kHoldNames{"none", "rare", "bursts", "slow source",
                                                              "slow sink"};

struct Patterns {
  StallPattern source, sink;  ///< empty: never held back
};

Patterns patterns(Hold hold, std::uint64_t seed) {
  const auto blocks = [](std::uint64_t of, int percent) -> StallPattern {
    return [pattern = random_stalls(of, percent)](std::int64_t cycle) { return pattern(cycle >> 7); };
  };
  const std::uint64_t other = ~seed;
  // Slower than every stage, about as slow, faster.
  const int slow = std::array{99, 95, 85, 60}[seed % 4];
  switch (hold) {
    case Hold::none:
      break;
    case Hold::rare:
      return {random_stalls(seed, 3), random_stalls(other, 3)};
    case Hold::bursts:
      return {blocks(seed, 40), blocks(other, 40)};
    case Hold::slow_source:
      return {random_stalls(seed, slow), random_stalls(other, 10)};
    case Hold::slow_sink:
      return {random_stalls(seed, 10), random_stalls(other, slow)};
  }
  return {};
}

/// First cycle from the given one that the pattern does not hold back.
std::function<Cycle(Cycle)> first_allowed(const StallPattern& holds) {
  if (!holds) return {};
  return [holds](Cycle at) {
    while (holds(at)) ++at;
    return at;
  };
}

}  // namespace

TileCycles model_cycles(const Preset& preset, const CalibrationCase& given) {
  struct Port : TilePort {
    explicit Port(const CalibrationCase& of) : given(of) {}
    std::optional<TilePacket> next_packet() override {
      const auto each = static_cast<std::int64_t>(given.packets.size());
      if (next == each * given.tokens) return std::nullopt;
      return given.packets[static_cast<std::size_t>(next++ % each)];
    }
    void taken(Cycle) override {}
    std::optional<Cycle> answer_room() override { return 0; }
    void answered(Cycle at) override { end = at + 1; }
    const CalibrationCase& given;
    std::int64_t next = 0;
    Cycle end = 0;
  };
  const TileLayout layout(preset);
  TileModel tile;
  tile.begin({stage_timing(layout, given.head_dim, given.feature_dim),
              packet_beats(layout, given.head_dim, given.feature_dim), layout.fifo_tokens},
             0);
  const Patterns holds = patterns(given.hold, given.seed);
  tile.set_patterns(first_allowed(holds.source), first_allowed(holds.sink));
  Port port(given);
  tile.run(port);
  TileCycles result{port.end, {}};
  for (std::size_t s = 0; s < result.stages.size(); ++s)
    result.stages[s] = tile.cycles(static_cast<Stage>(s), port.end);
  return result;
}

namespace {

/// A Verilated tile, and random values for its streams.
class RtlSide {
 public:
  explicit RtlSide(const Preset& preset) : engine_(preset) {}

  TileCycles run(const CalibrationCase& given) {
    const StreamFormat format(engine_.preset(), given.head_dim, given.feature_dim);
    random_.seed(given.seed);
    TileDriver& driver = engine_.driver();
    engine_.set_shape(given.head_dim, given.feature_dim);
    for (const TilePacket& packet : given.packets)
      for (int h = 0; h < packet.heads; ++h) {
        engine_.clear_slot(packet.first_slot + h);
        for (const Region region : {Region::taps, Region::feature})
          driver.send(random_load(format, region, packet.first_slot + h));
      }
    engine_.settle();

    engine_.start_counting();
    const std::int64_t start = driver.cycles();
    const Patterns holds = patterns(given.hold, given.seed);
    const auto from_start = [start](const StallPattern& pattern) -> StallPattern {
      if (!pattern) return {};
      return [pattern, start](std::int64_t cycle) { return pattern(cycle - start); };
    };
    driver.stall_input(from_start(holds.source));
    driver.stall_output(from_start(holds.sink));
    std::uint32_t sent = 0;
    for (int t = 0; t < given.tokens; ++t)
      for (const TilePacket& packet : given.packets) driver.send(token(format, packet, sent++));
    for (std::uint32_t tag = 0; tag < sent; ++tag) {
      const PacketHeader got = StreamFormat::read_header(driver.receive());
      if (got.kind != (static_cast<int>(PacketKind::token) | 0x80) || got.tag != tag || got.error)
        throw std::runtime_error(fmt::format("rtl: the answer to packet {} has kind 0x{:02x}, tag {}{}", tag,
                                             got.kind, got.tag, got.error ? " and the error flag" : ""));
    }
    TileCycles result{driver.cycles() - start, {}};
    driver.stall_input({});
    driver.stall_output({});
    const RtlCounts counts = engine_.stop_counting();
    // Before the first beat and after the last one every stage starves.
    const Cycle idle = counts[kCounterCycles] - result.cycles;
    for (std::size_t s = 0; s < result.stages.size(); ++s)
      result.stages[s] = {counts[kCounterBusy + s], counts[kCounterStall + s],
                          counts[kCounterStarve + s] - idle};
    return result;
  }

 private:
  Packet random_load(const StreamFormat& format, Region region, int slot) {
    const int words = format.slot_words(region), width = format.parameters().stream_width;
    const auto beats = static_cast<std::size_t>((format.word_bits(region) + width - 1) / width);
    std::vector<std::uint32_t> payload(static_cast<std::size_t>(words) * beats * format.beat_words());
    for (std::uint32_t& word : payload) word = static_cast<std::uint32_t>(random_());
    return format.load(region, slot, words, payload);
  }

  Packet token(const StreamFormat& format, const TilePacket& packet, std::uint32_t tag) {
    const auto numbers = [this](int count) {
      std::vector<std::int32_t> values(static_cast<std::size_t>(count));
      for (std::int32_t& value : values) value = static_cast<std::int16_t>(random_() & 0xffff) >> 3;
      return values;
    };
    const int d = format.head_dim();
    return format.token({.kind = static_cast<std::uint8_t>(PacketKind::token),
                         .heads_or_region = static_cast<std::uint8_t>(packet.heads),
                         .slot = static_cast<std::uint8_t>(packet.first_slot),
                         .weight_slot = static_cast<std::uint8_t>(packet.first_slot),
                         .head_or_index = static_cast<std::uint16_t>(packet.first_slot),
                         .tag = tag},
                        numbers(d), numbers(d), numbers(2 * format.feature_dim()), numbers(packet.heads * d));
  }

  RtlEngine engine_;
  std::mt19937 random_;
};

/// Shapes up to the largest, small and odd ones among them; the share that one of some engines has of heads
/// in groups, as many as there are slots for.
CalibrationCase draw(const Preset& preset, const CalibrationOptions& options, int number) {
  std::mt19937 random(
      static_cast<std::uint32_t>(options.seed * 1000003 + static_cast<std::uint64_t>(number)));
  const auto from = [&random](int least, int most) {
    return least + static_cast<int>(random() % static_cast<unsigned>(most - least + 1));
  };
  CalibrationCase drawn;
  drawn.preset = preset.name;
  const int d = preset.engine.max_head_dim, f = preset.engine.max_feature_dim;
  switch (from(0, 3)) {
    case 0:
      drawn.head_dim = d;
      drawn.feature_dim = f;
      break;
    case 1:  // powers of two, as models have them
      drawn.head_dim = std::max(1, d >> from(0, 3));
      drawn.feature_dim = std::max(1, f >> from(0, 3));
      break;
    default:
      drawn.head_dim = from(1, d);
      drawn.feature_dim = from(1, f);
  }
  const StreamFormat format(preset, drawn.head_dim, drawn.feature_dim);
  const int slots = std::min(format.context_slots(), format.weight_slots());
  EngineShare share;
  int group = 1;
  do {
    group = 1 << from(0, 3);
    const int kv_heads = from(1, 6), engines = from(1, 4);
    const std::vector<EngineShare> shares = distribute_heads(engines, kv_heads * group, kv_heads);
    share = shares[static_cast<std::size_t>(from(0, static_cast<int>(shares.size()) - 1))];
  } while (share.heads > slots);
  for (const PacketHeads& packet : packets_of(share, group, share.heads))
    drawn.packets.push_back({packet.heads, packet.first_head - share.first_head, 0});
  drawn.tokens =
      options.tokens.empty()
          ? from(1, 64)
          : options.tokens[static_cast<std::size_t>(from(0, static_cast<int>(options.tokens.size()) - 1))];
  drawn.hold = static_cast<Hold>(number % kHoldCount);
  drawn.seed = random();
  return drawn;
}

nlohmann::ordered_json json(const TileCycles& cycles) {
  nlohmann::ordered_json stages;
  for (std::size_t s = 0; s < cycles.stages.size(); ++s) {
    const StageCycles& stage = cycles.stages[s];
    stages[std::string(to_string(static_cast<Stage>(s)))] = {
        {"busy", stage.busy}, {"stall", stage.stall}, {"starve", stage.starve}};
  }
  return {{"cycles", cycles.cycles}, {"stages", stages}};
}

}  // namespace

std::string_view to_string(Hold hold) {
  return kHoldNames[static_cast<std::size_t>(hold)];
}

StageCycles Calibration::parts() const {
  constexpr auto update = static_cast<std::size_t>(Stage::state_update);
  const StageCycles &a = model.stages[update], &b = rtl.stages[update];
  return {a.busy - b.busy, a.stall - b.stall, a.starve - b.starve};
}

bool Calibration::differs() const {
  const auto same = [](const StageCycles& a, const StageCycles& b) {
    return a.busy == b.busy && a.stall == b.stall && a.starve == b.starve;
  };
  return error() != 0 || !std::equal(model.stages.begin(), model.stages.end(), rtl.stages.begin(), same);
}

CalibrationSummary CalibrationReport::summary(bool held) const {
  CalibrationSummary all;
  for (const Calibration& one : cases) {
    if ((one.given.hold != Hold::none) != held) continue;
    ++all.cases;
    all.differing += one.differs();
    all.mean_percent += std::abs(one.percent());
    all.worst_percent = std::max(all.worst_percent, std::abs(one.percent()));
  }
  if (all.cases > 0) all.mean_percent /= all.cases;
  return all;
}

bool CalibrationReport::passed() const {
  const CalibrationSummary held = summary(true);
  return summary(false).differing == 0 && held.mean_percent <= kMeanBound &&
         held.worst_percent <= kWorstBound;
}

CalibrationReport calibrate(const CalibrationOptions& options,
                            const std::function<void(const Calibration&)>& seen) {
  struct Side {
    Preset preset;
    RtlSide rtl;
  };
  std::vector<std::unique_ptr<Side>> sides;
  for (const std::string& name : options.presets.empty() ? rtl_presets() : options.presets) {
    const Preset preset = load_preset(name);
    sides.push_back(std::make_unique<Side>(Side{preset, RtlSide(preset)}));
  }
  CalibrationReport report;
  for (int n = 0; n < options.cases; ++n) {
    check_interrupt();
    // Every preset sees every pattern.
    Side& side = *sides[static_cast<std::size_t>(n / kHoldCount) % sides.size()];
    Calibration one;
    one.given = draw(side.preset, options, n);
    one.rtl = side.rtl.run(one.given);
    one.model = model_cycles(side.preset, one.given);
    if (seen) seen(one);
    report.cases.push_back(std::move(one));
  }
  return report;
}

std::string to_json(const CalibrationReport& report) {
  nlohmann::ordered_json cases = nlohmann::ordered_json::array();
  for (const Calibration& one : report.cases) {
    std::vector<int> heads;
    for (const TilePacket& packet : one.given.packets) heads.push_back(packet.heads);
    const StageCycles parts = one.parts();
    cases.push_back({{"preset", one.given.preset},
                     {"head_dim", one.given.head_dim},
                     {"feature_dim", one.given.feature_dim},
                     {"heads_of_packets", heads},
                     {"tokens", one.given.tokens},
                     {"held_back", to_string(one.given.hold)},
                     {"seed", one.given.seed},
                     {"rtl", json(one.rtl)},
                     {"model", json(one.model)},
                     {"error_cycles", one.error()},
                     {"error_compute", parts.busy},
                     {"error_stall", parts.stall},
                     {"error_memory", parts.starve}});
  }
  const auto summary = [&report](bool held) -> nlohmann::ordered_json {
    const CalibrationSummary all = report.summary(held);
    return {{"cases", all.cases},
            {"differing", all.differing},
            {"mean_percent", all.mean_percent},
            {"worst_percent", all.worst_percent}};
  };
  return nlohmann::ordered_json{{"without_stalls", summary(false)},
                                {"with_stalls", summary(true)},
                                {"passed", report.passed()},
                                {"cases", std::move(cases)}}
             .dump(1) +
         "\n";
}

}  // namespace lawcat

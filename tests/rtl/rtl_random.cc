// SPDX-License-Identifier: Apache-2.0
// See rtl_random.h.
#include "tests/rtl/rtl_random.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "hostlib/arch/tile_layout.h"
#include "hostlib/arch/timing.h"

namespace lawcat {

std::vector<std::int32_t> RandomNumbers::vector(int size, const Format& format, Regime regime) {
  const std::int64_t max = format.max_mantissa(), min = format.min_mantissa();
  std::vector<std::int32_t> values(static_cast<std::size_t>(size));
  const int smaller = regime == Regime::saturating ? below(2) : below(format.width);
  const auto range = static_cast<std::uint64_t>(2 * (max >> smaller) + 1);
  for (std::int32_t& value : values) {
    std::int64_t x = static_cast<std::int64_t>(random_() % range) - (max >> smaller);
    if (regime == Regime::extremes) {
      const std::array<std::int64_t, 6> choices{min, max, 0, 1, -1, x};
      x = choices[static_cast<std::size_t>(below(6))];
    }
    value = static_cast<std::int32_t>(x);
  }
  return values;
}

TokenInput RandomNumbers::token(int slot, int weight_slot, int heads, Regime regime) {
  const Datapath& formats = preset_.datapath;
  TokenInput input{slot, weight_slot, heads, chance(20) ? below(0xff00) : below(64), {}, {}, {}, {}};
  const Regime numbers = regime == Regime::gates || regime == Regime::zero_values ? Regime::plain : regime;
  input.key = vector(d_, formats.query_key, numbers);
  input.query = vector(heads * d_, formats.query_key, numbers);
  input.value = vector(d_, formats.value, numbers);
  if (regime == Regime::zero_values) std::fill(input.value.begin(), input.value.end(), 0);
  input.logits = vector(2 * f_, formats.gate_logit, regime == Regime::gates ? Regime::extremes : numbers);
  return input;
}

HeadWeights RandomNumbers::weights(Regime regime) {
  const DatapathRules rules(preset_.datapath);
  const UnitShape shape{1, 1, d_, f_};
  const auto d = static_cast<std::size_t>(d_), f = static_cast<std::size_t>(f_);
  Saturations ignored{};
  const UnitWeights zero{std::vector<float>(d * kConvTaps), std::vector<float>(d * kConvTaps),
                         std::vector<float>(d * f)};
  HeadWeights weights(rules, shape, zero, 0, ignored);
  const Regime numbers = regime == Regime::gates || regime == Regime::zero_values ? Regime::plain : regime;
  weights.q_taps = vector(d_ * kConvTaps, preset_.datapath.conv_weight, numbers);
  weights.k_taps = vector(d_ * kConvTaps, preset_.datapath.conv_weight, numbers);
  weights.feature = vector(d_ * f_, preset_.datapath.feature_weight, numbers);
  return weights;
}

HeadState RandomNumbers::context(Regime regime) {
  const Datapath& formats = preset_.datapath;
  HeadState state(formats, {1, 1, d_, f_});
  const bool extreme = regime == Regime::extremes || regime == Regime::saturating;
  const auto number = [&](const Format& format) {
    const std::int64_t max = format.max_mantissa();
    if (extreme && chance(50)) return chance(50) ? max : format.min_mantissa();
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(2 * max + 1)) - max;
  };
  const auto exponent = [&](const Format& format) {
    if (!extreme) return -below(48);
    const int range = format.max_exponent() - format.min_exponent() + 1;
    return chance(50) ? format.min_exponent() + below(range)
                      : (chance(50) ? format.max_exponent() : format.min_exponent());
  };
  for (std::int32_t& e : state.exponents) e = exponent(formats.state);
  for (std::int64_t& w : state.words) w = number(formats.state);
  for (std::int32_t& e : state.norm_exponents) e = exponent(formats.normaliser);
  // A normaliser is a sum of probabilities.
  for (std::int64_t& w : state.norm_words) w = std::max<std::int64_t>(0, number(formats.normaliser));
  state.q_tail = vector(3 * d_, formats.query_key, regime);
  state.k_tail = vector(3 * d_, formats.query_key, regime);
  state.tokens =
      extreme ? 0xffffffffU - static_cast<std::uint32_t>(below(3)) : static_cast<std::uint32_t>(random_());
  return state;
}

namespace {

/// A pattern of stalls and its coverage point.
StallPattern pattern(RandomNumbers& random, std::string& name) {
  const std::uint64_t seed = random.bits();
  switch (random.below(5)) {
    case 0:
    case 1:
      name = "free";
      return {};
    case 2:
      name = "random";
      return random_stalls(seed, 5 + random.below(85));
    case 3: {
      name = "bursts";
      const int period = 4 + random.below(random.chance(30) ? 1500 : 100);
      return [period, blocked = random_stalls(seed, 20 + random.below(60))](std::int64_t cycle) {
        return blocked(cycle / period);
      };
    }
    default: {
      name = "slow";
      const int every = 2 + random.below(40);
      return [every](std::int64_t cycle) { return cycle % every != 0; };
    }
  }
}

int dimension(RandomNumbers& random, int most) {
  switch (random.below(6)) {
    case 0:
      return 1 + random.below(std::min(most, 5));
    case 1:
      return std::max(1, most / 2);
    case 2:
      return random.chance(50) ? most : std::max(1, most - 1);
    default:
      return 1 + random.below(std::min(most, 48));
  }
}

class Traffic {
 public:
  Traffic(const RtlLibrary& library, const Preset& preset, std::uint64_t seed, std::int64_t budget)
      : budget_(budget), random_(preset, 1, 1, seed) {
    int d = 0, f = 0;
    do {
      d = dimension(random_, preset.engine.max_head_dim);
      f = dimension(random_, preset.engine.max_feature_dim);
    } while (StreamFormat(preset, d, f).context_slots() < 1 || StreamFormat(preset, d, f).weight_slots() < 1);
    random_ = RandomNumbers(preset, d, f, random_.bits());
    board_ = std::make_unique<Scoreboard>(library, preset, d, f);
    TileDriver& driver = board_->driver();
    driver.stall_input(pattern(random_, input_));
    driver.stall_output(pattern(random_, output_));
    const bool all = random_.chance(10);
    slots_ = std::min(board_->format().context_slots(), all ? 255 : 1 + random_.below(6));
    weight_slots_ = std::min(board_->format().weight_slots(), all ? 255 : 1 + random_.below(6));
    regime_ = static_cast<Regime>(random_.below(kRegimeCount));
    malformed_ = random_.chance(50);
    resets_ = random_.chance(30);
  }

  std::string text() const {
    const UnitShape& shape = board_->shape();
    return fmt::format("D {}, F {}, {} context and {} weight slots, regime {}, input {}, output {}{}{}",
                       shape.head_dim, shape.feature_dim, slots_, weight_slots_, static_cast<int>(regime_),
                       input_, output_, malformed_ ? ", malformed packets" : "", resets_ ? ", resets" : "");
  }
  Scoreboard& board() { return *board_; }

  void run() {
    FunctionalCoverage& coverage = board_->coverage();
    const UnitShape& shape = board_->shape();
    const Preset& preset = board_->preset();
    coverage.hit("input." + input_);
    coverage.hit("output." + output_);
    if (shape.head_dim == 1) coverage.hit("shape.head_dim_1");
    if (shape.head_dim % 2 != 0) coverage.hit("shape.head_dim_odd");
    if (shape.head_dim == preset.engine.max_head_dim) coverage.hit("shape.head_dim_most");
    if (shape.feature_dim == 1) coverage.hit("shape.feature_dim_1");
    if (shape.feature_dim % 2 != 0) coverage.hit("shape.feature_dim_odd");
    if (shape.feature_dim == preset.engine.max_feature_dim) coverage.hit("shape.feature_dim_most");

    // Memories that hold something, which a cleared context must not show.
    for (int s = 0; s < std::min(slots_, 3); ++s) board_->load_context(s, random_.context(some_regime()));
    if (random_.chance(70)) board_->clear(std::nullopt);

    int interval = 0;
    for (const StageTiming& stage : stage_timing(TileLayout(preset), shape.head_dim, shape.feature_dim))
      interval = std::max(interval, stage.interval);
    const std::int64_t target = std::clamp<std::int64_t>(budget_ / (interval + 40), 4, 500);
    while (board_->head_tokens() < target && board_->driver().cycles() < 20 * budget_) operation();
    board_->settle();
    for (int s = 0; s < slots_; ++s)
      if (can_store(s)) board_->store_context(s);
    board_->settle();
  }

 private:
  Regime some_regime() {
    return random_.chance(75) ? regime_ : static_cast<Regime>(random_.below(kRegimeCount));
  }
  int piece() { return random_.chance(25) ? 1 + random_.below(12) : 0; }
  bool can_store(int slot) const { return board_->context_is_known(slot) && !board_->context_is_fresh(slot); }
  std::size_t queue() { return static_cast<std::size_t>(random_.below(6)); }

  TokenInput token() {
    const int slot = random_.below(slots_), weight_slot = random_.below(weight_slots_);
    const int most = std::min({slots_ - slot, weight_slots_ - weight_slot, 255});
    const int heads = random_.chance(30) ? most : 1 + random_.below(most);
    return token(slot, weight_slot, heads);
  }
  TokenInput token(int slot, int weight_slot, int heads) {
    for (int w = weight_slot; w < weight_slot + heads; ++w)
      if (!board_->has_weights(w)) board_->load_weights(w, random_.weights(some_regime()), piece());
    return random_.token(slot, weight_slot, heads, some_regime());
  }

  /// Tokens of a few sequences in turn, as prefill and decoding send them.
  void run_of_tokens() {
    const TokenInput first = token();
    const int packets = 1 + random_.below(10), sequences = 1 + random_.below(3);
    for (int i = 0; i < packets; ++i) {
      const int slot = (first.slot + i % sequences * first.heads) % slots_;
      board_->token(token(slot, first.weight_slot, std::min(first.heads, slots_ - slot)));
      board_->advance(queue());
    }
  }

  void malformed() {
    const RtlParameters& p = board_->format().parameters();
    const auto beats = [&] {
      return static_cast<std::size_t>(1 + random_.below(random_.chance(30) ? 40 : 4));
    };
    const auto byte = [](int x) { return static_cast<std::uint8_t>(x); };
    const std::uint8_t heads = byte(1 + random_.below(3));
    const std::uint16_t words = static_cast<std::uint16_t>(1 + random_.below(5));
    const int contexts = std::min(p.context_slots, 256), weights = std::min(p.weight_slots, 256);
    switch (random_.below(12)) {
      case 0: {
        constexpr std::array<int, 6> kinds{0, 4, 0x7f, 0x81, 0x83, 0xff};
        return board_->dropped({.kind = byte(kinds[static_cast<std::size_t>(random_.below(6))]),
                                .heads_or_region = heads,
                                .words = words},
                               beats(), kErrorKind, "error.kind");
      }
      case 1:
        return board_->dropped({.kind = 1, .words = words}, beats(), kErrorHeads, "error.heads");
      case 2: {
        const bool store = random_.chance(50);
        return board_->dropped(
            {.kind = byte(store ? 3 : 2),
             .heads_or_region = byte(store ? 5 + random_.below(251) : 10 + random_.below(246)),
             .words = words},
            beats(), kErrorRegion, "error.region");
      }
      case 3:
        return board_->dropped(
            {.kind = byte(2 + random_.below(2)), .heads_or_region = byte(random_.below(5))}, beats(),
            kErrorWords, "error.words");
      case 4: {
        if (contexts >= 256) return;
        if (random_.chance(50))
          return board_->dropped(
              {.kind = 1, .heads_or_region = byte(2 + random_.below(254)), .slot = byte(contexts - 1)},
              beats(), kErrorSlot, "error.context_slot");
        return board_->dropped({.kind = byte(2 + random_.below(2)),
                                .heads_or_region = byte(random_.below(5)),
                                .slot = byte(contexts + random_.below(256 - contexts)),
                                .words = words},
                               beats(), kErrorSlot, "error.context_slot");
      }
      case 5: {
        if (weights >= 256) return;
        if (random_.chance(50))
          return board_->dropped(
              {.kind = 1, .heads_or_region = 1, .weight_slot = byte(weights + random_.below(256 - weights))},
              beats(), kErrorSlot, "error.weight_slot");
        return board_->dropped({.kind = 2,
                                .heads_or_region = byte(5 + random_.below(2)),
                                .slot = byte(weights + random_.below(256 - weights)),
                                .words = words},
                               beats(), kErrorSlot, "error.weight_slot");
      }
      case 6:
      case 7: {
        const TokenInput input = token();
        const int whole = static_cast<int>(board_->beats(input));
        return board_->short_token(
            input, static_cast<std::size_t>(random_.chance(20) ? 1 : 1 + random_.below(whole - 1)));
      }
      case 8: {
        const TokenInput input = token();
        return board_->long_token(input, beats());
      }
      case 9:
      case 10: {
        const int slot = random_.below(slots_), region = random_.below(7);
        if (region < kContextRegions ? !can_store(slot) : slot >= weight_slots_ || !board_->has_weights(slot))
          return;
        if (random_.chance(50))
          board_->malformed_load(slot, static_cast<Region>(region), std::nullopt, beats());
        else
          board_->malformed_load(slot, static_cast<Region>(region), random_.chance(30) ? 1 : beats(), 0);
        return;
      }
      default:
        return board_->long_store(random_.below(slots_), static_cast<Region>(random_.below(5)), beats());
    }
  }

  void operation() {
    const int slot = random_.below(slots_);
    const int choice = random_.below(100);
    if (choice < 50) {
      run_of_tokens();
    } else if (choice < 57) {
      if (!can_store(slot)) return;
      board_->store_context(slot, piece());
      saved_.push_back(board_->context(slot));
      if (saved_.size() > 4) saved_.erase(saved_.begin());
    } else if (choice < 64) {
      if (!saved_.empty()) board_->load_context(slot, saved_[random_.bits() % saved_.size()], piece());
    } else if (choice < 67) {
      board_->load_context(slot, random_.context(some_regime()), piece());
    } else if (choice < 70) {
      board_->load_weights(random_.below(weight_slots_), random_.weights(some_regime()), piece());
    } else if (choice < 73) {
      board_->clear(slot);
    } else if (choice < 74) {
      board_->clear(std::nullopt);
    } else if (choice < 76) {
      board_->clear_inside(token(), random_.chance(50) ? std::optional<int>(slot) : std::nullopt);
    } else if (choice < 86) {
      if (malformed_)
        for (int i = random_.below(3); i >= 0; --i) malformed();
    } else if (choice < 96) {
      board_->access_registers(random_.bits());
      for (int i = random_.below(50); i > 0; --i) board_->step();
    } else if (choice < 98) {
      if (!resets_) return;
      for (int i = random_.below(random_.chance(50) ? 40 : 2000); i > 0; --i) board_->step();
      if (random_.chance(85))
        board_->soft_reset();
      else
        board_->hard_reset();
    } else {
      board_->settle();
    }
    board_->advance(queue());
  }

  std::int64_t budget_;
  RandomNumbers random_;
  std::unique_ptr<Scoreboard> board_;
  std::string input_, output_;
  int slots_ = 1, weight_slots_ = 1;
  Regime regime_ = Regime::plain;
  bool malformed_ = false, resets_ = false;
  std::vector<HeadState> saved_;
};

}  // namespace

Scenario run_scenario(const RtlLibrary& library, const Preset& preset, std::uint64_t seed,
                      std::int64_t budget, FunctionalCoverage& coverage) {
  Traffic traffic(library, preset, seed, budget);
  try {
    traffic.run();
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(
        fmt::format("seed {} ({}, budget {}): {}", seed, traffic.text(), budget, error.what()));
  }
  coverage.add(traffic.board().coverage());
  return {traffic.board().head_tokens(), traffic.board().packets(), traffic.board().driver().cycles(),
          traffic.text()};
}

}  // namespace lawcat

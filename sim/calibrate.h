// SPDX-License-Identifier: Apache-2.0
// The tile of the platform (TileModel) beside the Verilated one: the same packets, the same beats held back,
// the cycles of both.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hostlib/arch/preset.h"
#include "hostlib/arch/timing.h"
#include "sim/accelerator/tile.h"

namespace lawcat {

/// How the streams of a case are held back, each by its own draw per cycle or block of cycles. A source that
/// may offer goes on offering until the beat is taken.
enum class Hold { none, rare, bursts, slow_source, slow_sink };
inline constexpr int kHoldCount = static_cast<int>(Hold::slow_sink) + 1;
std::string_view to_string(Hold hold);

struct CalibrationCase {
  std::string preset;
  int head_dim = 1, feature_dim = 1;
  std::vector<TilePacket> packets;  ///< of one token: the share of an engine
  int tokens = 1;
  Hold hold = Hold::none;
  std::uint64_t seed = 1;  ///< of patterns and values
};

struct TileCycles {
  Cycle cycles = 0;  ///< from the first beat offered to the last answer's last beat taken
  std::array<StageCycles, kStageCount> stages{};
};

struct Calibration {
  CalibrationCase given;
  TileCycles rtl, model;

  /// Model less RTL, in cycles.
  Cycle error() const { return model.cycles - rtl.cycles; }
  /// The error by where the state update's time went: computing, held up behind it, waiting for the streams.
  StageCycles parts() const;
  double percent() const { return 100.0 * static_cast<double>(error()) / static_cast<double>(rtl.cycles); }
  /// Any stage's cycles differ, or the whole.
  bool differs() const;
};

struct CalibrationSummary {
  int cases = 0;
  int differing = 0;
  double mean_percent = 0, worst_percent = 0;  ///< of |error|
};

struct CalibrationOptions {
  std::vector<std::string> presets;  ///< empty: all that were Verilated
  int cases = 200;
  std::uint64_t seed = 1;
  std::vector<int> tokens;  ///< drawn from; empty: 1 to 64
};

/// Bounds on |error| in percent; cases that hold nothing back may not differ at all.
inline constexpr double kMeanBound = 0.1, kWorstBound = 1.0;

struct CalibrationReport {
  std::vector<Calibration> cases;
  CalibrationSummary summary(bool held) const;  ///< of the cases with or without beats held back
  bool passed() const;
};

/// What TileModel makes of a case on a preset's tile.
TileCycles model_cycles(const Preset& preset, const CalibrationCase& given);

/// Draws cases over the presets in turn and runs them; `seen` is told of each. Throws InputError for a preset
/// that was not Verilated, std::runtime_error when a tile does not answer as it should.
CalibrationReport calibrate(const CalibrationOptions& options,
                            const std::function<void(const Calibration&)>& seen = {});

std::string to_json(const CalibrationReport& report);

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// One Verilated engine ready for work: reset, identified, its function tables loaded; and what it counts.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "hostlib/arch/preset.h"
#include "rtl/bench/driver.h"
#include "rtl/bench/registers.h"
#include "rtl/bench/stream.h"
#include "rtl/bench/tile.h"

namespace lawcat {

/// Counters by their index (registers.h).
using RtlCounts = std::array<std::int64_t, kCounterClipped + static_cast<int>(kClippedPoints.size())>;

class RtlEngine {
 public:
  /// Throws InputError unless the preset is, unchanged, one of those that this build Verilated.
  explicit RtlEngine(const Preset& preset);

  const Preset& preset() const { return preset_; }
  TileDriver& driver() { return driver_; }

  /// Waits for the end of all work; throws std::runtime_error if anything went wrong in it.
  void settle();
  /// The shape of what follows; there must be no work left.
  void set_shape(int head_dim, int feature_dim);
  /// Makes a slot's context that of a new sequence.
  void clear_slot(int slot);
  /// Counters from 0. They advance until stop_counting(), which settles and leaves the tile enabled.
  void start_counting();
  RtlCounts stop_counting();

 private:
  const Preset preset_;
  std::unique_ptr<RtlTile> tile_;
  TileDriver driver_;
};

}  // namespace lawcat

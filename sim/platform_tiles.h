// SPDX-License-Identifier: Apache-2.0
// Tiles that compute what they are asked, in place of the platform's model of a tile: what systemc_backend.h
// needs of them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hostlib/arch/preset.h"
#include "hostlib/backend/backend.h"
#include "sim/accelerator/tile.h"

namespace lawcat {

/// Weights and contexts of one session on the platform's tiles.
class TileSession {
 public:
  virtual ~TileSession() = default;
  /// The tiles' next packets are this job's: its layer's contexts and weights are there from now on. The time
  /// that takes is the platform's to count.
  virtual void begin(const Job& job) = 0;
  /// All of the job has gone through.
  virtual void end(const Job& job) = 0;

  // As Session.
  virtual std::vector<double> state(int layer) const = 0;
  virtual void set_state(int layer, std::span<const double> state) = 0;
  virtual UnitContext save(int layer) const = 0;
  virtual void restore(int layer, const UnitContext& context) = 0;
  virtual Counters counters() const = 0;
};

class PlatformTiles {
 public:
  virtual ~PlatformTiles() = default;
  /// Name of the backend whose platform has these tiles.
  virtual std::string_view name() const = 0;
  virtual std::unique_ptr<Tile> make(int engine) = 0;
  virtual std::unique_ptr<TileSession> open(const UnitShape& shape, std::span<const UnitWeights> layers) = 0;
};

/// Verilated tiles, stepped in the platform's cycles. Throws InputError unless the preset was Verilated.
std::shared_ptr<PlatformTiles> make_rtl_tiles(const Preset& preset);

}  // namespace lawcat

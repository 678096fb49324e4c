// SPDX-License-Identifier: Apache-2.0
// One layer laid out on the engines: who does which heads, how tokens are cut into chunks, what they weigh.
#pragma once

#include <cstdint>
#include <vector>

#include "hostlib/arch/timing.h"
#include "hostlib/backend/job.h"
#include "sim/accelerator/tile.h"

namespace lawcat {

struct UnitPlan {
  /// Throws InputError when the preset cannot hold the shape.
  UnitPlan(const Preset& preset, const UnitShape& shape);

  /// Engines that take their input together.
  struct Cluster {
    int first_engine = 0;
    int engines = 0;
    int chunk_tokens = 0;         ///< tokens in half of the input buffer
    std::int64_t dram_bytes = 0;  ///< of input, per token
    std::int64_t bus_bytes = 0;
  };
  struct Output {
    std::int64_t dram_bytes = 0;  ///< per token
    std::int64_t bus_bytes = 0;
  };

  UnitShape shape;
  TileLayout layout;
  TileTiming timing;
  std::vector<EngineShare> shares;
  std::vector<Cluster> clusters;
  std::vector<Output> outputs;     ///< per engine
  int kv_heads_on_engines = 0;     ///< key/value heads, one on two engines counted twice
  std::int64_t context_bits = 0;   ///< on the fullest engine
  std::int64_t context_bytes = 0;  ///< over all engines
};

}  // namespace lawcat

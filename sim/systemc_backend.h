// SPDX-License-Identifier: Apache-2.0
// The backend `systemc`: the bit-true datapath's values on a platform that counts cycles. Sessions take
// timing-only jobs (opened without weights) or jobs with values (opened with weights), see sim/README.md for
// the counters.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "hostlib/arch/preset.h"
#include "hostlib/backend/backend.h"
#include "sim/memory/timeline.h"

namespace lawcat {

class PlatformTiles;

struct SystemcOptions {
  /// Most tokens that an engine evaluates at one event. A knob of the simulator only: cycles and bits are the
  /// same for every value from 1.
  int block_tokens = 1 << 20;
  /// Tiles that take the place of the model of a tile and compute (platform_tiles.h); sessions then need
  /// weights. Cycles and bits are the same.
  std::shared_ptr<PlatformTiles> tiles{};
};

/// One platform in its own simulation context, made once; the jobs of all its sessions run one after another
/// in its simulated time. Backends may be many, but only one of them simulates at a time.
class SystemcBackend : public Backend {
 public:
  /// Spans are recorded only while this is on.
  virtual void set_timeline(bool on) = 0;
  /// Spans so far, in order of their evaluation; at most Timeline::kMaxSpans.
  virtual const std::vector<TimelineSpan>& timeline() const = 0;
  /// Spans that were left out because the limit was reached.
  virtual std::int64_t timeline_dropped() const = 0;
};

/// Throws InputError for a platform that cannot be: block_tokens below 1.
std::unique_ptr<SystemcBackend> make_systemc_backend(const Preset& preset,
                                                     const SystemcOptions& options = {});

}  // namespace lawcat

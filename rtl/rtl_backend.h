// SPDX-License-Identifier: Apache-2.0
// The backend `rtl`: the unit's SystemVerilog, Verilated, a tile per engine of the preset that a session
// needs. Sessions take jobs with values only; outputs, contexts and clipped values are those of `fixed`.
// Engines run on threads, since none depends on another, and what is counted does not depend on their number.
//
// Counters: `fixed.saturations.POINT`; `rtl.cycles`, the cycles of a job on its slowest engine, contexts and
// weights being in their slots; `rtl.transfer_cycles`, those that loads and stores of slots took, over all
// engines; `rtl.STAGE.busy_cycles`, `stall_cycles` and `starve_cycles`, over all engines; `rtl.head_tokens`,
// `rtl.beats_in`, `rtl.beats_out`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "hostlib/arch/preset.h"
#include "hostlib/backend/backend.h"

namespace lawcat {

/// How the streams are held back, at random: bits never depend on it, cycles do.
struct RtlOptions {
  std::uint64_t stall_seed = 1;
  int input_stall_percent = 0;
  int output_stall_percent = 0;
  /// At most this many context and weight slots are used, 0 for all: to see slots swapped.
  int most_slots = 0;
};

/// Throws InputError unless the preset is, unchanged, one of those that this build Verilated.
std::unique_ptr<Backend> make_rtl_backend(const Preset& preset, const RtlOptions& options = {});

/// Names of the presets that this build Verilated.
std::vector<std::string> rtl_presets();

}  // namespace lawcat

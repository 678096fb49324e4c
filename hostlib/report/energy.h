// SPDX-License-Identifier: Apache-2.0
// Energy of a run: its counters times the entries of an energy table.
#pragma once

#include <map>
#include <string>

#include "hostlib/arch/energy_table.h"
#include "hostlib/arch/preset.h"
#include "hostlib/backend/backend.h"

namespace lawcat {

/// Joules by component (`state_update`, `state_buffer`, `dram`, `clock`, `leakage`, ...).
struct EnergyEstimate {
  std::map<std::string, EnergyRange> by_component_j;
  EnergyRange total_j() const;
};

/// Throws InputError when table and preset differ in node or voltage, or the table lacks the preset's DRAM.
void require_fit(const EnergyTable& table, const Preset& preset);

/// The rules of hostlib/arch/energy/README.md. Throws InputError when a counter of events, bits or bytes has
/// no rule, and as require_fit().
EnergyEstimate estimate_energy(const Counters& counters, const Preset& preset, const EnergyTable& table);

}  // namespace lawcat

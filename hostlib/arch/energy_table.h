// SPDX-License-Identifier: Apache-2.0
// Energies of the accelerator's elementary events, each with its source.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace lawcat {

/// One figure as three: `low` and `high` bound what the source and its scaling leave open.
struct EnergyRange {
  double low = 0;
  double nominal = 0;
  double high = 0;

  EnergyRange& operator+=(const EnergyRange& other) {
    low += other.low;
    nominal += other.nominal;
    high += other.high;
    return *this;
  }
  friend EnergyRange operator*(double factor, const EnergyRange& range) {
    return {factor * range.low, factor * range.nominal, factor * range.high};
  }
};

struct EnergyEntry {
  std::string what;
  EnergyRange value;  ///< in SI: J, J per bit, J per bit^2, W, or W per KiB
  std::string unit;   ///< as in the file: pJ, pJ/bit, pJ/bit^2, W, W/KiB
  std::string source;
  std::string kind;  ///< pre-layout, literature, or estimate
  double node_nm = 0;
  double voltage_v = 0;
  std::string scaling;  ///< how the source's figure became this one
};

/// All entries of one technology.
struct EnergyTable {
  std::string name;
  std::string description;
  double node_nm = 0;
  double voltage_v = 0;
  std::map<std::string, EnergyEntry> entries;

  /// Throws InputError naming table and entry when missing: an event without an energy is never free.
  const EnergyEntry& at(const std::string& entry) const;
};

/// Reads `file_name` from hostlib/arch/energy/, or a path. Throws InputError for unknown, missing or mistyped
/// keys, an entry that no rule uses or in another unit than its rule's, an entry that a rule uses and the
/// file lacks, an empty source, or values that are not 0 <= low <= nominal <= high.
EnergyTable load_energy_table(const std::string& file_name);

}  // namespace lawcat

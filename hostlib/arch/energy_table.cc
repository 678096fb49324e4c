// SPDX-License-Identifier: Apache-2.0
// Strict reading of energy tables.
#include "hostlib/arch/energy_table.h"

#include <fmt/format.h>
#include <filesystem>
#include <string_view>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "hostlib/io/strict_json.h"

namespace lawcat {
namespace {

std::string get_words(StrictObject& object, const std::string& key) {
  std::string text = object.get_string(key);
  if (text.empty()) throw InputError(object.place(key), "some words", "an empty string");
  return text;
}

/// Entries that every table has, beside those of DRAM families, and the units in which the rules of
/// energy/README.md use them.
constexpr std::pair<std::string_view, std::string_view> kUnits[] = {
    {"add", "pJ/bit"},
    {"clock", "pJ/bit"},
    {"dram_interface", "pJ/bit"},
    {"interconnect", "pJ/bit"},
    {"logic_leakage", "W"},
    {"lookup", "pJ/bit"},
    {"multiply", "pJ"},
    {"multiply_area", "pJ/bit^2"},
    {"small_buffer_read", "pJ/bit"},
    {"small_buffer_write", "pJ/bit"},
    {"sram_leakage", "W/KiB"},
    {"state_buffer_read", "pJ/bit"},
    {"state_buffer_write", "pJ/bit"},
};

/// The unit of an entry. Throws InputError for an entry of no rule.
std::string_view unit_of(const std::string& entry, const std::string& place) {
  if (entry.starts_with("dram:")) return "pJ/bit";
  std::string names;
  for (const auto& [name, unit] : kUnits) {
    if (name == entry) return unit;
    names += std::string(name) + ", ";
  }
  throw InputError(place, "one of " + names + "dram:FAMILY", entry);
}

EnergyEntry read_entry(StrictObject object, std::string_view unit) {
  EnergyEntry entry;
  entry.what = get_words(object, "what");
  entry.unit = get_words(object, "unit");
  if (entry.unit != unit) throw InputError(object.place("unit"), std::string(unit), entry.unit);
  StrictObject value = object.get_object("value");
  const double low = value.get_number("low", 0, 1e6);
  const double nominal = value.get_number("nominal", low, 1e6);
  const double high = value.get_number("high", nominal, 1e6);
  value.finish();
  entry.value = (unit.starts_with("pJ") ? 1e-12 : 1) * EnergyRange{low, nominal, high};
  entry.source = get_words(object, "source");
  entry.kind = object.get_string("kind");
  if (entry.kind != "pre-layout" && entry.kind != "literature" && entry.kind != "estimate")
    throw InputError(object.place("kind"), "pre-layout, literature or estimate", entry.kind);
  entry.node_nm = object.get_number("node_nm", 1, 1000);
  entry.voltage_v = object.get_number("voltage_v", 0.1, 10);
  entry.scaling = get_words(object, "scaling");
  object.finish();
  return entry;
}

}  // namespace

const EnergyEntry& EnergyTable::at(const std::string& entry) const {
  const auto found = entries.find(entry);
  if (found == entries.end())
    throw InputError("energy table " + name, "an entry " + entry, "none of this name");
  return found->second;
}

EnergyTable load_energy_table(const std::string& file_name) {
  const std::filesystem::path shipped = data_root() / "hostlib" / "arch" / "energy" / file_name;
  const std::filesystem::path file = is_there(shipped) ? shipped : std::filesystem::path(file_name);
  const nlohmann::json json = read_json(file);
  StrictObject root(json, file.string());
  const std::string schema = root.get_string("schema");
  if (schema != "lawcat-energy/1") throw InputError(root.place("schema"), "lawcat-energy/1", schema);
  EnergyTable table;
  table.name = get_words(root, "name");
  table.description = get_words(root, "description");
  table.node_nm = root.get_number("node_nm", 1, 1000);
  table.voltage_v = root.get_number("voltage_v", 0.1, 10);
  StrictObject entries = root.get_object("entries");
  for (const auto& [name, value] : root.get_any("entries").items())
    table.entries.emplace(name, read_entry(entries.get_object(name), unit_of(name, entries.place(name))));
  for (const auto& [name, unit] : kUnits)
    if (!table.entries.contains(std::string(name)))
      throw InputError(entries.place(std::string(name)), "this entry, which rules use", "none");
  root.finish();
  return table;
}

}  // namespace lawcat

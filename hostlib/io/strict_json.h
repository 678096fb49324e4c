// SPDX-License-Identifier: Apache-2.0
// JSON input that forgives nothing: every key is asked for by type, and keys nobody asked for are errors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace lawcat {

/// One JSON object under a place name ("presets/edge.json: engine"). Each getter marks its key as known and
/// throws InputError naming place, key, expected type or range, and what was found. Call `finish()` when all
/// keys were asked for: it throws on the first key that was not, with the known keys in the sentence.
class StrictObject {
 public:
  /// Throws when `value` is not an object. `value` must outlive this.
  StrictObject(const nlohmann::json& value, std::string place);

  bool has(const std::string& key) const;
  std::string get_string(const std::string& key);
  bool get_bool(const std::string& key);
  std::int64_t get_int(const std::string& key, std::int64_t min, std::int64_t max);
  /// Finite number in [min, max].
  double get_number(const std::string& key, double min, double max);
  StrictObject get_object(const std::string& key);
  /// The raw value, for arrays and unions; the caller checks it.
  const nlohmann::json& get_any(const std::string& key);
  std::vector<std::int64_t> get_int_array(const std::string& key, std::int64_t min, std::int64_t max);

  /// A list of texts, at least one.
  std::vector<std::string> get_string_array(const std::string& key);

  void finish() const;

  /// "presets/edge.json: engine.lanes"
  std::string place(const std::string& key) const;

 private:
  const nlohmann::json& at(const std::string& key);
  const nlohmann::json* value_;
  std::string place_;
  std::set<std::string> known_;
};

/// Reads a JSON file. Throws InputError with line and column for malformed text, duplicate keys, or a file
/// that cannot be read.
nlohmann::json read_json(const std::filesystem::path& file);

/// A value as a sentence shows it: JSON on one line, cut to 60 characters.
std::string shown(const nlohmann::json& value);

/// JSON to be written; bytes of a string that are not UTF-8 become U+FFFD.
template <class Json>
std::string json_text(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

/// As read_json() for text at hand; `place` stands where the file's name would.
nlohmann::json parse_json(std::string_view text, const std::string& place);

}  // namespace lawcat

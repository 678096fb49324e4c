// SPDX-License-Identifier: Apache-2.0
// JSON input that forgives nothing: the getters, and a parser that refuses duplicate keys.
#include "hostlib/io/strict_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstddef>
#include <iterator>

#include "hostlib/io/error.h"
#include "hostlib/io/file.h"

namespace lawcat {
namespace {

using nlohmann::json;

/// Input iterator that leaves its position where the parser's callback can see it.
class Cursor {
 public:
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  using iterator_category = std::input_iterator_tag;

  Cursor(const char* at, const char** seen) : at_(at), seen_(seen) {}
  reference operator*() const { return *at_; }
  Cursor& operator++() {
    *seen_ = ++at_;
    return *this;
  }
  bool operator==(const Cursor& other) const { return at_ == other.at_; }
  bool operator!=(const Cursor& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** seen_;
};

std::string line_and_column(std::string_view text, const char* at) {
  const std::string_view before = text.substr(0, static_cast<std::size_t>(at - text.data()));
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const std::size_t start = before.rfind('\n') + 1;  // npos + 1 is 0
  return fmt::format("line {}, column {}", lines + 1, before.size() - start);
}

constexpr int kMostLevels = 64;

}  // namespace

std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

json parse_json(std::string_view text, const std::string& place) {
  // The parser would take it for the end.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos)
    throw InputError(fmt::format("{}: {}", place, line_and_column(text, text.data() + nul + 1)), "valid JSON",
                     "a NUL byte");
  const char* seen = text.data();
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int level, json::parse_event_t event, json& parsed) {
    if (level > kMostLevels)
      throw InputError(fmt::format("{}: {}", place, line_and_column(text, seen)),
                       fmt::format("at most {} levels of nesting", kMostLevels), "more");
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      throw InputError(fmt::format("{}: {}", place, line_and_column(text, seen)),
                       "each key once in an object", fmt::format("{} a second time", shown(parsed)));
    return true;
  };
  try {
    return json::parse(Cursor(text.data(), &seen), Cursor(text.data() + text.size(), &seen), watch);
  } catch (const json::exception& error) {
    const std::string_view message =
        error.what();  // "[json.exception.parse_error.101] parse error at line ..."
    throw InputError(fmt::format("{}: not valid JSON, {}: {}", place, line_and_column(text, seen),
                                 message.substr(message.find("] ") + 2)));
  }
}

json read_json(const std::filesystem::path& file) {
  return parse_json(read_file(file), file.string());
}

StrictObject::StrictObject(const json& value, std::string place) : value_(&value), place_(std::move(place)) {
  if (!value.is_object()) throw InputError(place_, "an object", shown(value));
}

bool StrictObject::has(const std::string& key) const {
  return value_->contains(key);
}

const json& StrictObject::at(const std::string& key) {
  known_.insert(key);
  const auto found = value_->find(key);
  if (found == value_->end()) throw InputError(place(key), "this key", "nothing");
  return *found;
}

std::string StrictObject::get_string(const std::string& key) {
  const json& value = at(key);
  if (!value.is_string()) throw InputError(place(key), "a string", shown(value));
  return value.get<std::string>();
}

bool StrictObject::get_bool(const std::string& key) {
  const json& value = at(key);
  if (!value.is_boolean()) throw InputError(place(key), "true or false", shown(value));
  return value.get<bool>();
}

namespace {

std::int64_t int_in_range(const json& value, const std::string& place, std::int64_t min, std::int64_t max) {
  const bool fits = value.is_number_unsigned()
                        ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX)
                        : value.is_number_integer();
  if (!fits || value.get<std::int64_t>() < min || value.get<std::int64_t>() > max)
    throw InputError(place, fmt::format("an integer from {} to {}", min, max), shown(value));
  return value.get<std::int64_t>();
}

}  // namespace

std::int64_t StrictObject::get_int(const std::string& key, std::int64_t min, std::int64_t max) {
  return int_in_range(at(key), place(key), min, max);
}

double StrictObject::get_number(const std::string& key, double min, double max) {
  const json& value = at(key);
  if (!value.is_number() || !(value.get<double>() >= min) || !(value.get<double>() <= max))
    throw InputError(place(key), fmt::format("a number from {} to {}", min, max), shown(value));
  return value.get<double>();
}

StrictObject StrictObject::get_object(const std::string& key) {
  return {at(key), place(key)};
}

const json& StrictObject::get_any(const std::string& key) {
  return at(key);
}

std::vector<std::int64_t> StrictObject::get_int_array(const std::string& key, std::int64_t min,
                                                      std::int64_t max) {
  const json& value = at(key);
  if (!value.is_array()) throw InputError(place(key), "an array of integers", shown(value));
  std::vector<std::int64_t> numbers;
  for (const json& element : value)
    numbers.push_back(int_in_range(element, fmt::format("{}[{}]", place(key), numbers.size()), min, max));
  return numbers;
}

std::vector<std::string> StrictObject::get_string_array(const std::string& key) {
  const json& value = at(key);
  if (!value.is_array() || value.empty())
    throw InputError(place(key), "an array of strings, at least one", shown(value));
  std::vector<std::string> strings;
  for (const json& element : value) {
    if (!element.is_string())
      throw InputError(fmt::format("{}[{}]", place(key), strings.size()), "a string", shown(element));
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

void StrictObject::finish() const {
  for (const auto& [key, value] : value_->items())
    if (!known_.contains(key))
      throw InputError(place(key), fmt::format("one of the keys {}", fmt::join(known_, ", ")),
                       "an unknown key");
}

std::string StrictObject::place(const std::string& key) const {
  return place_ + (place_.find(": ") == std::string::npos ? ": " : ".") + key;
}

}  // namespace lawcat

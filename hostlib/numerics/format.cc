// SPDX-License-Identifier: Apache-2.0
// Text forms of the number formats and rounding modes.
#include "hostlib/numerics/format.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "hostlib/io/error.h"

namespace lawcat {
namespace {

/// Takes an integer off the front of `text`.
std::optional<int> take_int(std::string_view& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::optional<Format> parse(std::string_view text) {
  Format format;
  if (take(text, "bfp")) {
    const auto width = take_int(text);
    if (!width || !take(text, "e")) return std::nullopt;
    const auto bits = take_int(text);
    if (!bits || !text.empty() || *width < 4 || *width > 40 || *bits < 4 || *bits > 10) return std::nullopt;
    format = {FormatKind::block, true, *width, 0, *bits, 0};
    return format;
  }
  const bool is_unsigned = take(text, "u");
  if (take(text, "e")) {
    const auto exponent = take_int(text);
    if (!exponent || !take(text, "m")) return std::nullopt;
    const auto mantissa = take_int(text);
    if (!mantissa || !text.empty() || *exponent < 2 || *exponent > 8 || *mantissa < 1 || *mantissa > 23)
      return std::nullopt;
    return Format{FormatKind::floating,
                  !is_unsigned,
                  *exponent + *mantissa + (is_unsigned ? 0 : 1),
                  0,
                  *exponent,
                  *mantissa};
  }
  if (!is_unsigned && !take(text, "s")) return std::nullopt;
  const auto width = take_int(text);
  if (!width || !take(text, ".")) return std::nullopt;
  const auto fraction = take_int(text);
  if (!fraction || !text.empty() || *width < 2 || *width > 40 || *fraction < -8 || *fraction > 40)
    return std::nullopt;
  return Format::fixed(!is_unsigned, *width, *fraction);
}

constexpr std::array<std::pair<std::string_view, Rounding>, 4> kRoundings{{
    {"truncate", Rounding::truncate},
    {"nearest_even", Rounding::nearest_even},
    {"stochastic", Rounding::stochastic},
    {"error_feedback", Rounding::error_feedback},
}};

}  // namespace

Format parse_format(std::string_view text, const std::string& place) {
  if (const auto format = parse(text)) return *format;
  throw InputError(
      place,
      "a number format: s16.9 or u16.16 (fixed, width 2-40), bfp16e8 (block, mantissa 4-40, exponent "
      "4-10 bits), e5m10 or ue6m11 (float, exponent 2-8, mantissa 1-23 bits)",
      fmt::format("\"{}\"", text));
}

std::string to_string(const Format& format) {
  switch (format.kind) {
    case FormatKind::fixed:
      return fmt::format("{}{}.{}", format.is_signed ? "s" : "u", format.width, format.fraction);
    case FormatKind::block:
      return fmt::format("bfp{}e{}", format.width, format.exponent_bits);
    case FormatKind::floating:
      return fmt::format("{}e{}m{}", format.is_signed ? "" : "u", format.exponent_bits, format.mantissa_bits);
  }
  return {};
}

Rounding parse_rounding(std::string_view text, const std::string& place) {
  for (const auto& [name, rounding] : kRoundings)
    if (name == text) return rounding;
  throw InputError(place, "truncate, nearest_even, stochastic or error_feedback",
                   fmt::format("\"{}\"", text));
}

std::string_view to_string(Rounding rounding) {
  for (const auto& [name, value] : kRoundings)
    if (value == rounding) return name;
  return {};
}

}  // namespace lawcat

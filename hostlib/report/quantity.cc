// SPDX-License-Identifier: Apache-2.0
// Metric prefixes and ordering.
#include "hostlib/report/quantity.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace lawcat {

std::string number_words(double value, std::string_view form) {
  if (std::isnan(value)) return "not a number";
  if (std::isinf(value)) return value > 0 ? "infinite" : "minus infinity";
  return fmt::format(fmt::runtime(form), value);
}

std::string to_words(const Figure& figure, const std::string& unit) {
  if (!figure.value) return "-";
  const double value = *figure.value;
  if (value == 0 || !std::isfinite(value)) return number_words(value, "{} " + unit);
  static constexpr std::array<const char*, 9> prefixes = {"p", "n", "u", "m", "", "k", "M", "G", "T"};
  const int step = std::clamp(static_cast<int>(std::floor(std::log10(std::abs(value)) / 3)), -4, 4);
  // Four digits, so that 999.6 does not become 1e+03.
  const std::string number = fmt::format("{:.4g}", value / std::pow(1000.0, step));
  const std::string suffix = prefixes[static_cast<std::size_t>(step + 4)] + unit;
  return suffix.empty() ? number : number + " " + suffix;
}

std::string ratio_words(double ratio) {
  return fmt::format("{:.3g} x", ratio);
}

std::vector<std::pair<std::string, EnergyRange>> by_size(
    const std::map<std::string, EnergyRange>& components) {
  std::vector<std::pair<std::string, EnergyRange>> sorted(components.begin(), components.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second.nominal > b.second.nominal; });
  return sorted;
}

}  // namespace lawcat

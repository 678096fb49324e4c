// SPDX-License-Identifier: Apache-2.0
// Counting of exact matches.
#include "hostlib/trace/score.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <string>

namespace lawcat {
namespace {

std::string without_spaces(std::string_view text) {
  std::string result;
  for (const char c : text)
    if (!std::isspace(static_cast<unsigned char>(c))) result += c;
  return result;
}

}  // namespace

std::pair<double, double> Accuracy::interval() const {
  if (samples == 0) return {0, 1};
  constexpr double z = 1.959963984540054;  // 97.5 % quantile of the normal distribution
  const double n = samples;
  const double p = rate();
  const double centre = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n);
  return {std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

bool exact_match(std::string_view expected, std::string_view got) {
  return without_spaces(expected) == without_spaces(got);
}

void ScoreBoard::add(int tokens, int depth_bin, bool correct) {
  for (Accuracy* cell : {&by_length_[tokens], &by_depth_[{tokens, depth_bin}]}) {
    cell->samples += 1;
    cell->correct += correct;
  }
}

}  // namespace lawcat

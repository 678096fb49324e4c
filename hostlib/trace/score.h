// SPDX-License-Identifier: Apache-2.0
// Task accuracy: exact matches counted by length and depth, with their confidence intervals.
#pragma once

#include <map>
#include <string_view>
#include <utility>

namespace lawcat {

/// Correct answers out of all, with the Wilson score interval at 95 %.
struct Accuracy {
  int correct = 0;
  int samples = 0;

  double rate() const { return samples ? static_cast<double>(correct) / samples : 0; }
  /// Lower and upper end; [0, 1] without samples.
  std::pair<double, double> interval() const;
};

/// Whether `got` is `expected` once white space is dropped (tokenizers put spaces between digits).
bool exact_match(std::string_view expected, std::string_view got);

/// Accuracy by prompt length, and by prompt length and depth.
class ScoreBoard {
 public:
  /// `depth_bin`: any key by which depths are grouped.
  void add(int tokens, int depth_bin, bool correct);

  const std::map<int, Accuracy>& by_length() const { return by_length_; }
  const std::map<std::pair<int, int>, Accuracy>& by_length_and_depth() const { return by_depth_; }

 private:
  std::map<int, Accuracy> by_length_;
  std::map<std::pair<int, int>, Accuracy> by_depth_;
};

}  // namespace lawcat

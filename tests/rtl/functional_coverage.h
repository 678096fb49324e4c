// SPDX-License-Identifier: Apache-2.0
// Situations that random traffic must have met, counted; scripts/verify_rtl requires it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace lawcat {

class FunctionalCoverage {
 public:
  FunctionalCoverage();
  /// Throws std::logic_error when there is no such point.
  void hit(const std::string& point, std::int64_t times = 1);
  void add(const FunctionalCoverage& other);
  const std::map<std::string, std::int64_t>& points() const { return points_; }
  std::vector<std::string> missed() const;

 private:
  std::map<std::string, std::int64_t> points_;
};

}  // namespace lawcat

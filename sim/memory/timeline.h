// SPDX-License-Identifier: Apache-2.0
// Spans of activity for a Chrome timeline, recorded on demand and bounded in number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lawcat {

/// A unit at work: `unit` is "engine0.state_update", "dram", "interconnect".
struct TimelineSpan {
  std::string unit;
  std::int64_t start_cycle = 0;
  std::int64_t cycles = 0;
};

class Timeline {
 public:
  static constexpr std::size_t kMaxSpans = 200'000;

  void enable(bool on) { enabled_ = on; }
  bool enabled() const { return enabled_; }
  void record(std::string unit, std::int64_t start, std::int64_t end) {
    if (spans_.size() < kMaxSpans) {
      spans_.push_back({std::move(unit), start, end - start});
    } else {
      ++dropped_;
    }
  }
  const std::vector<TimelineSpan>& spans() const { return spans_; }
  std::int64_t dropped() const { return dropped_; }

 private:
  bool enabled_ = false;
  std::vector<TimelineSpan> spans_;
  std::int64_t dropped_ = 0;
};

}  // namespace lawcat

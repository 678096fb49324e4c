// SPDX-License-Identifier: Apache-2.0
// What each unit did when, as Chrome trace events (chrome://tracing, Perfetto).
#pragma once

#include <span>
#include <string>

namespace lawcat {

/// One stretch of work of one unit.
struct TraceEvent {
  std::string unit;  ///< row of the timeline, "engine0.state_update"
  std::string what;  ///< label, "1024 cycles"
  double start_s = 0;
  double duration_s = 0;
};

/// JSON text; times in microseconds as the format asks.
std::string to_chrome_trace(std::span<const TraceEvent> spans);

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Writing of Chrome trace events.
#include "hostlib/report/timeline.h"

#include <map>
#include <nlohmann/json.hpp>

namespace lawcat {

std::string to_chrome_trace(std::span<const TraceEvent> spans) {
  nlohmann::ordered_json events = nlohmann::ordered_json::array();
  std::map<std::string, int> rows;
  for (const TraceEvent& span : spans) {
    const auto [row, is_new] = rows.emplace(span.unit, static_cast<int>(rows.size()) + 1);
    if (is_new)
      events.push_back({{"name", "thread_name"},
                        {"ph", "M"},
                        {"pid", 1},
                        {"tid", row->second},
                        {"args", {{"name", span.unit}}}});
    events.push_back({{"name", span.what},
                      {"ph", "X"},
                      {"pid", 1},
                      {"tid", row->second},
                      {"ts", span.start_s * 1e6},
                      {"dur", span.duration_s * 1e6}});
  }
  return nlohmann::ordered_json{{"displayTimeUnit", "ns"}, {"traceEvents", events}}.dump();
}

}  // namespace lawcat

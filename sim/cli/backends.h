// SPDX-License-Identifier: Apache-2.0
// The one table of backends: their names, the door that makes each, or why it cannot be made here.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hostlib/report/timeline.h"
#include "hostlib/run.h"

namespace lawcat {

struct BackendEntry {
  std::string name;
  std::string what;
  bool has_bits_of_fixed = false;  ///< promises the outputs and contexts of `fixed`
  bool has_time = false;           ///< counts cycles and events, and runs shapes without weights
  bool parallel = false;           ///< sessions may run at the same time on several threads
  std::function<std::unique_ptr<Backend>(const Preset&)> make;  ///< empty when not available
  std::string missing;                                          ///< why, then
};

const std::vector<BackendEntry>& backends();

/// Throws InputError for an unknown name (listing the known) or one that this build lacks (saying why).
const BackendEntry& find_backend(const std::string& name);

/// Switches recording on. Throws InputError when the backend has no time.
void record_timeline(Backend& backend);
struct RecordedTimeline {
  std::vector<TraceEvent> events;
  std::int64_t dropped = 0;
};
RecordedTimeline recorded_timeline(const Backend& backend, double clock_hz);

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The tables of backends and hosts: their names, the door that makes each, or why it cannot be made here.
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
  std::string device{};                                         ///< what it runs on, if not the processor
};

const std::vector<BackendEntry>& backends();

/// Throws InputError for an unknown name (listing the known) or one that this build lacks (saying why).
const BackendEntry& find_backend(const std::string& name);

/// Empty when this build and machine can use a GPU, else why not.
std::string gpu_problem();
/// Name of the GPU; empty when there is none.
std::string gpu_device();

struct HostEntry {
  std::string name;
  std::string what;
  bool parallel = false;  ///< runners may work at the same time on several threads
  std::string missing;    ///< why it cannot run here; empty when it can
};
const std::vector<HostEntry>& hosts();

/// Throws InputError for a host that cannot run here, saying why. With host and backend both on the GPU
/// nothing leaves it.
HostChoice choose_host(const std::string& host, const BackendEntry& backend);

/// Switches recording on. Throws InputError when the backend has no time.
void record_timeline(Backend& backend);
struct RecordedTimeline {
  std::vector<TraceEvent> events;
  std::int64_t dropped = 0;
};
RecordedTimeline recorded_timeline(const Backend& backend, double clock_hz);

}  // namespace lawcat

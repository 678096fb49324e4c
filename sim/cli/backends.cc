// SPDX-License-Identifier: Apache-2.0
// The table of backends.
#include "sim/cli/backends.h"

#include <fmt/format.h>

#include "hostlib/backend/fixed.h"
#include "hostlib/backend/reference.h"
#include "hostlib/io/error.h"
#ifdef LAWCAT_WITH_RTL
#include "rtl/rtl_backend.h"
#include "sim/platform_tiles.h"
#endif
#ifdef LAWCAT_WITH_SYSTEMC
#include "sim/systemc_backend.h"
#endif

namespace lawcat {

const std::vector<BackendEntry>& backends() {
  static const std::vector<BackendEntry> table = {
      {.name = "reference",
       .what = "float64, the formulas as they stand",
       .has_bits_of_fixed = false,
       .has_time = false,
       .parallel = true,
       .make = [](const Preset&) { return make_reference_backend(); },
       .missing = ""},
      {.name = "fixed",
       .what = "the preset's number formats, bit-true",
       .has_bits_of_fixed = false,
       .has_time = false,
       .parallel = true,
       .make = [](const Preset& preset) { return make_fixed_backend(preset); },
       .missing = ""},
      {.name = "systemc",
       .what = "bit-true on a simulated accelerator that counts cycles and events",
       .has_bits_of_fixed = true,
       .has_time = true,
       .parallel = false,
#ifdef LAWCAT_WITH_SYSTEMC
       .make = [](const Preset& preset) { return make_systemc_backend(preset); },
       .missing = ""
#else
       .make = {},
       .missing = "built without SystemC (Debian: libsystemc-dev)"
#endif
      },
      {.name = "rtl",
       .what = "bit-true, the SystemVerilog itself, Verilated, in the simulated accelerator",
       .has_bits_of_fixed = true,
#if defined(LAWCAT_WITH_RTL) && defined(LAWCAT_WITH_SYSTEMC)
       .has_time = true,
       .parallel = false,
       .make =
           [](const Preset& preset) {
             return make_systemc_backend(preset, {.tiles = make_rtl_tiles(preset)});
           },
       .missing = ""
#elif defined(LAWCAT_WITH_RTL)
       // Its engines alone: values without the platform's time.
       .has_time = false,
       .parallel = false,
       .make = [](const Preset& preset) { return make_rtl_backend(preset); },
       .missing = ""
#else
       .has_time = true,
       .parallel = false,
       .make = {},
       .missing = "built without Verilator (Debian: verilator)"
#endif
      },
  };
  return table;
}

const BackendEntry& find_backend(const std::string& name) {
  std::string known;
  for (const BackendEntry& entry : backends()) {
    if (entry.name == name) {
      if (!entry.make) throw InputError(fmt::format("--backend {}: not available: {}", name, entry.missing));
      return entry;
    }
    known += (known.empty() ? "" : ", ") + entry.name;
  }
  throw InputError("--backend", "one of " + known, name);
}

#ifdef LAWCAT_WITH_SYSTEMC

void record_timeline(Backend& backend) {
  auto* platform = dynamic_cast<SystemcBackend*>(&backend);
  if (!platform) throw InputError("--timeline", "a backend with time", std::string(backend.name()));
  platform->set_timeline(true);
}

RecordedTimeline recorded_timeline(const Backend& backend, double clock_hz) {
  const auto& platform = dynamic_cast<const SystemcBackend&>(backend);
  RecordedTimeline recorded;
  recorded.dropped = platform.timeline_dropped();
  for (const TimelineSpan& span : platform.timeline())
    recorded.events.push_back({.unit = span.unit,
                               .what = fmt::format("{} cycles", span.cycles),
                               .start_s = static_cast<double>(span.start_cycle) / clock_hz,
                               .duration_s = static_cast<double>(span.cycles) / clock_hz});
  return recorded;
}

#else

void record_timeline(Backend& backend) {
  throw InputError("--timeline", "a backend with time", std::string(backend.name()));
}

RecordedTimeline recorded_timeline(const Backend&, double) {
  return {};
}

#endif

}  // namespace lawcat

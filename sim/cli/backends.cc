// SPDX-License-Identifier: Apache-2.0
// The tables of backends and hosts.
#include "sim/cli/backends.h"

#include <fmt/format.h>

#include "hostlib/backend/fixed.h"
#include "hostlib/backend/reference.h"
#include "hostlib/io/error.h"
#ifdef LAWCAT_WITH_CUDA
#include "kernels/cuda_backend.h"
#include "kernels/cuda_model.h"
#include "kernels/measure/measure.h"
#endif
#ifdef LAWCAT_WITH_RTL
#include "rtl/rtl_backend.h"
#include "sim/platform_tiles.h"
#endif
#ifdef LAWCAT_WITH_SYSTEMC
#include "sim/systemc_backend.h"
#endif

namespace lawcat {
namespace {

constexpr const char* kPlainCuda = "cuda-fp32";

/// The unit on this machine's GPU, if there is one.
BackendEntry cuda_entry(const char* name, const char* what, [[maybe_unused]] bool plain) {
  BackendEntry entry{.name = name,
                     .what = what,
                     .has_bits_of_fixed = false,
                     .has_time = false,
                     .parallel = false,
                     .make = {},
                     .missing = gpu_problem(),
                     .device = gpu_device()};
#ifdef LAWCAT_WITH_CUDA
  if (entry.missing.empty()) entry.make = [plain](const Preset&) { return make_cuda_backend(plain); };
#endif
  return entry;
}

}  // namespace

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
      cuda_entry("cuda", "the GPU kernels: bf16 in and out, state in float32", false),
      cuda_entry(kPlainCuda, "the GPU's plain form, float32 throughout", true),
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

const std::vector<HostEntry>& hosts() {
  static const std::vector<HostEntry> table = {
      {.name = "cpu", .what = "this machine's processor, float32", .parallel = true, .missing = ""},
      {.name = "cuda",
       .what = "this machine's GPU, bf16 weights and products, sums in float32",
       .parallel = false,
       .missing = gpu_problem()}};
  return table;
}

HostChoice choose_host(const std::string& host, const BackendEntry& backend) {
  for (const HostEntry& entry : hosts())
    if (entry.name == host && !entry.missing.empty())
      throw InputError(fmt::format("--host {}: not available: {}", host, entry.missing));
  HostChoice choice;
#ifdef LAWCAT_WITH_CUDA
  if (host == "cuda") {
    const bool plain = backend.name == kPlainCuda;
    choice.has_unit = plain || backend.name == "cuda";
    choice.make = [plain](const Model& model) { return make_cuda_host(model, plain); };
  }
#else
  static_cast<void>(backend);
#endif
  return choice;
}

#ifdef LAWCAT_WITH_CUDA

std::string gpu_problem() {
  return why_no_cuda();
}

std::string gpu_device() {
  return gpu_name();
}

#else

std::string gpu_problem() {
  return "built without CUDA (nvcc not found)";
}

std::string gpu_device() {
  return "";
}

#endif

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

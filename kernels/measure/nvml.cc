// SPDX-License-Identifier: Apache-2.0
// NVML by dlopen, with declarations of the few functions that are called.
#include "kernels/measure/nvml.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <stdexcept>

namespace lawcat::cuda {
namespace {

constexpr const char* kLibrary = "libnvidia-ml.so.1";
constexpr int kSuccess = 0;
constexpr int kClockSm = 1;
constexpr int kClockMemory = 2;

// As nvml.h declares them; nvmlReturn_t is an enum and nvmlDevice_t a pointer.
using Init = int();
using Shutdown = int();
using ErrorString = const char*(int);
using HandleByPciBusId = int(const char*, void**);
using Count = int(unsigned*);
using HandleByIndex = int(unsigned, void**);
using TotalEnergy = int(void*, unsigned long long*);
using ClockInfo = int(void*, int, unsigned*);
using DriverVersion = int(char*, unsigned);

template <class Function>
Function* symbol(void* library, const char* name) {
  return library ? reinterpret_cast<Function*>(::dlsym(library, name)) : nullptr;
}

std::string message(void* library, int error) {
  auto* const text = symbol<ErrorString>(library, "nvmlErrorString");
  return text ? text(error) : fmt::format("error {}", error);
}

}  // namespace

Nvml::Nvml() {
  library_ = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (!library_) {
    problem_ = fmt::format("{} is not there", kLibrary);
    return;
  }
  auto* const init = symbol<Init>(library_, "nvmlInit_v2");
  auto* const handle = symbol<HandleByPciBusId>(library_, "nvmlDeviceGetHandleByPciBusId_v2");
  auto* const energy = symbol<TotalEnergy>(library_, "nvmlDeviceGetTotalEnergyConsumption");
  if (!init || !handle || !energy) {
    problem_ = fmt::format("{} lacks the energy meter's functions", kLibrary);
    return;
  }
  if (const int error = init(); error != kSuccess) {
    problem_ = fmt::format("NVML does not start: {}", message(library_, error));
    return;
  }
  char bus[32] = "";
  if (cudaDeviceGetPCIBusId(bus, sizeof bus, 0) != cudaSuccess) {
    problem_ = "the GPU does not tell its bus address, so NVML cannot find it";
    return;
  }
  if (const int error = handle(bus, &device_); error != kSuccess) {
    // A virtual machine may number its buses otherwise; where there is one GPU only, it is that one.
    auto* const count = symbol<Count>(library_, "nvmlDeviceGetCount_v2");
    auto* const by_index = symbol<HandleByIndex>(library_, "nvmlDeviceGetHandleByIndex_v2");
    unsigned devices = 0;
    if (!count || !by_index || count(&devices) != kSuccess || devices != 1 ||
        by_index(0, &device_) != kSuccess) {
      problem_ = fmt::format("NVML does not find the GPU at {}: {}", bus, message(library_, error));
      device_ = nullptr;
      return;
    }
  }
  unsigned long long millijoules = 0;
  if (const int error = energy(device_, &millijoules); error != kSuccess)
    problem_ = fmt::format("NVML does not tell this GPU's energy: {}", message(library_, error));
}

Nvml::~Nvml() {
  if (!library_) return;
  if (auto* const shutdown = symbol<Shutdown>(library_, "nvmlShutdown")) shutdown();
  ::dlclose(library_);
}

double Nvml::joules() const {
  auto* const energy = symbol<TotalEnergy>(library_, "nvmlDeviceGetTotalEnergyConsumption");
  unsigned long long millijoules = 0;
  const int error = energy && device_ ? energy(device_, &millijoules) : -1;
  if (error != kSuccess) throw std::runtime_error("NVML energy meter: " + message(library_, error));
  return static_cast<double>(millijoules) * 1e-3;
}

std::optional<std::string> Nvml::driver() const {
  auto* const version = symbol<DriverVersion>(library_, "nvmlSystemGetDriverVersion");
  char text[96] = "";
  if (!version || version(text, sizeof text) != kSuccess) return std::nullopt;
  return text;
}

std::optional<Nvml::Clocks> Nvml::clocks() const {
  auto* const info = symbol<ClockInfo>(library_, "nvmlDeviceGetClockInfo");
  unsigned sm = 0;
  unsigned memory = 0;
  if (!info || !device_ || info(device_, kClockSm, &sm) != kSuccess ||
      info(device_, kClockMemory, &memory) != kSuccess || sm == 0 || memory == 0)
    return std::nullopt;
  return Clocks{sm * 1e6, memory * 1e6};
}

}  // namespace lawcat::cuda

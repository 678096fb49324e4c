// SPDX-License-Identifier: Apache-2.0
// What the driver's management library (NVML) tells of the GPU: energy, clocks, version. The library is
// loaded at run time, as it comes with the driver and not with the toolkit.
#pragma once

#include <optional>
#include <string>

namespace lawcat::cuda {

class Nvml {
 public:
  /// For CUDA device 0. Never throws: what is missing is said by problem().
  Nvml();
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  /// Empty when energy can be read, else why not.
  const std::string& problem() const { return problem_; }
  /// Energy since the driver was loaded, joules, in steps of the meter (tens of milliseconds). Throws
  /// std::runtime_error when the meter fails after it had worked.
  double joules() const;
  std::optional<std::string> driver() const;
  struct Clocks {
    double sm_hz = 0;
    double memory_hz = 0;
  };
  /// Clocks at this moment.
  std::optional<Clocks> clocks() const;

 private:
  void* library_ = nullptr;
  void* device_ = nullptr;
  std::string problem_;
};

}  // namespace lawcat::cuda

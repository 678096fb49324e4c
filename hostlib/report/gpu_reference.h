// SPDX-License-Identifier: Apache-2.0
// Measured times and energies of the unit on a GPU, to stand beside a simulated run.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hostlib/backend/job.h"

namespace lawcat {

/// A `lawcat-gpu/1` file: keys schema, device, driver, cuda, date, commit, idle_power_w, measurements [{shape
/// {heads, kv_heads, head_dim, feature_dim}, operation, tokens, median_s, min_s, max_s, energy_j?}].
struct GpuReference {
  /// One call of the unit (steps 3-8) for one layer: `prefill` over `tokens` tokens, or `decode` of one
  /// token after `tokens` others.
  struct Measurement {
    UnitShape shape;
    std::string operation;
    int tokens = 0;
    double median_s = 0;
    double min_s = 0;
    double max_s = 0;
    std::optional<double> energy_j;  ///< per call, idle power included
  };

  std::string device;
  std::string driver;
  std::string cuda;
  std::string date;
  std::string commit;
  double idle_power_w = 0;
  std::vector<Measurement> measurements;

  /// The measurement of this shape and operation whose token count is nearest to `tokens` and within 2 % of
  /// it; null if there is none. For `decode`, whose cost does not depend on the count, the nearest of any.
  const Measurement* find(const UnitShape& shape, const std::string& operation, int tokens) const;
};

/// Throws InputError for unknown, missing or mistyped keys, and for times that are not 0 < min <= median <=
/// max.
GpuReference load_gpu_reference(const std::filesystem::path& file);

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The unit of time of the accelerator's model.
#pragma once

#include <cstdint>

namespace lawcat {

/// Accelerator clock cycles since the simulation's start.
using Cycle = std::int64_t;

}  // namespace lawcat

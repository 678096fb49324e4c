// SPDX-License-Identifier: Apache-2.0
// The unit in float32, as a CPU library would write it: the yardstick that the fixed backend's speed is told
// in.
#pragma once

#include <span>
#include <vector>

#include "hostlib/backend/job.h"

namespace lawcat {

/// Steps 3-8 in float32 for all heads of a layer: same steps, same loops over cores as the fixed backend.
class Float32Unit {
 public:
  Float32Unit(const UnitShape& shape, const UnitWeights& weights);
  void run(const Job& job);

 private:
  struct Head {
    std::vector<float> q_taps, k_taps, feature, state, norm, q_tail, k_tail;
  };
  UnitShape shape_;
  std::vector<Head> heads_;
};

}  // namespace lawcat

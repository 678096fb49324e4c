// SPDX-License-Identifier: Apache-2.0
// Where fixed point leaves the mathematics: both datapaths side by side, point by point, on the same inputs.
#pragma once

#include <optional>
#include <vector>

#include "hostlib/arch/preset.h"
#include "hostlib/backend/datapath.h"
#include "hostlib/backend/job.h"

namespace lawcat {

/// The first element of a point that differs by more than the tolerance.
struct Divergence {
  int token = 0;
  int head = 0;
  int element = 0;  ///< index inside the point's vector (state: row * D + column)
  double expected = 0;
  double got = 0;
};

/// One datapath point over all tokens and heads.
struct PointDiagnosis {
  Point point;
  double min = 0, max = 0;  ///< range of the fixed-point values
  double smallest = 0;      ///< smallest magnitude that is not zero; 0 when all are zero
  double max_abs_err = 0;   ///< against float64
  double sqnr_db = 0;       ///< 10 log10(sum expected^2 / sum error^2); infinity when equal
  std::int64_t saturations = 0;
  std::optional<Divergence> first;
};

/// Runs the plain datapath and the reference over the job (from zero state) and compares every point. An
/// element diverges when it is off by more than `tolerance` times the largest magnitude of its vector. Slow:
/// every point of every token is looked at. The job's `o` is not written.
std::vector<PointDiagnosis> diagnose(const Preset& preset, const UnitShape& shape, const UnitWeights& weights,
                                     const Job& job, double tolerance);

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The unit in float64: the mathematics of steps 3-8, written as the formulas stand.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "hostlib/backend/backend.h"
#include "hostlib/backend/datapath.h"

namespace lawcat {

/// The backend `reference`: any shape, no presets. Its sessions throw InputError for jobs that ask for timing
/// alone.
std::unique_ptr<Backend> make_reference_backend();

/// One head of the reference. State [K, D+1] and tails live in the object.
class ReferenceHead {
 public:
  ReferenceHead(const UnitShape& shape, const UnitWeights& weights, int head);

  /// One token: q, k, v [D], gk [K] of its kv head; writes o [D]. `trace` may be null.
  void step(std::span<const float> q, std::span<const float> k, std::span<const float> v,
            std::span<const float> gk, std::span<double> o, HeadTrace* trace = nullptr);

  std::vector<double> state;   ///< [K, D+1]
  std::vector<double> q_tail;  ///< [3, D], oldest first
  std::vector<double> k_tail;  ///< [3, D]

 private:
  void convolve(std::span<const double> taps, std::vector<double>& tail, std::span<const float> input,
                std::span<double> output) const;
  void probabilities(std::span<const double> input, std::span<double> z, std::span<double> phi) const;

  std::size_t d_, f_, k_;
  std::vector<double> q_taps_, k_taps_;  ///< [4, D]
  std::vector<double> feature_;          ///< [D, F]
  std::vector<double> conv_q_, conv_k_, z_q_, z_k_, phi_q_, phi_k_, gate_, u_, row_;
};

}  // namespace lawcat

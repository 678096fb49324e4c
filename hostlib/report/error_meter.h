// SPDX-License-Identifier: Apache-2.0
// Streaming comparison of one array of numbers with another.
#pragma once

#include <cstdint>
#include <span>

namespace lawcat {

/// Sums over pairs (reference, got); constant in memory. Figures of the error are NaN once a pair had a NaN
/// or two equal infinities.
class ErrorMeter {
 public:
  /// Both of one length.
  void add(std::span<const float> reference, std::span<const float> got);
  void add(const ErrorMeter& other);

  std::int64_t count() const { return count_; }
  /// 10 log10(signal / noise) in dB; +infinity without noise, else -infinity without signal or with an
  /// infinite error.
  double sqnr_db() const;
  /// sqrt(noise / signal); infinite without signal.
  double rel_l2_err() const;
  double max_abs_err() const { return max_abs_err_; }
  /// Of the angle between the two arrays.
  double cosine() const;
  /// Largest magnitude of the reference, NaNs left out.
  double max_abs_reference() const { return max_abs_reference_; }

 private:
  std::int64_t count_ = 0;
  double signal_ = 0;   ///< sum of reference^2
  double noise_ = 0;    ///< sum of (got - reference)^2
  double power_ = 0;    ///< sum of got^2
  double product_ = 0;  ///< sum of got * reference
  double max_abs_err_ = 0;
  double max_abs_reference_ = 0;
};

}  // namespace lawcat

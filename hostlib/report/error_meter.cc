// SPDX-License-Identifier: Apache-2.0
// Sums in double; error figures from them.
#include "hostlib/report/error_meter.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace lawcat {
namespace {

/// NaN when either is, which std::max would drop.
double larger(double a, double b) {
  return std::isnan(a) || a > b ? a : b;
}

}  // namespace

void ErrorMeter::add(std::span<const float> reference, std::span<const float> got) {
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double r = reference[i];
    const double g = got[i];
    const double e = g - r;
    signal_ += r * r;
    noise_ += e * e;
    power_ += g * g;
    product_ += g * r;
    max_abs_err_ = larger(max_abs_err_, std::abs(e));
    max_abs_reference_ = std::max(max_abs_reference_, std::abs(r));
  }
  count_ += static_cast<std::int64_t>(reference.size());
}

void ErrorMeter::add(const ErrorMeter& other) {
  count_ += other.count_;
  signal_ += other.signal_;
  noise_ += other.noise_;
  power_ += other.power_;
  product_ += other.product_;
  max_abs_err_ = larger(max_abs_err_, other.max_abs_err_);
  max_abs_reference_ = std::max(max_abs_reference_, other.max_abs_reference_);
}

double ErrorMeter::sqnr_db() const {
  if (noise_ == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal_ / noise_);
}

double ErrorMeter::rel_l2_err() const {
  if (noise_ == 0) return 0;
  return std::sqrt(noise_ / signal_);
}

double ErrorMeter::cosine() const {
  const double norm = std::sqrt(signal_) * std::sqrt(power_);
  if (norm == 0) return signal_ == power_ ? 1 : 0;
  return product_ / norm;
}

}  // namespace lawcat

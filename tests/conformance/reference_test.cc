// SPDX-License-Identifier: Apache-2.0
// The reference against an independent form of the mathematics: no state at all, every output as a weighted
// sum over all earlier tokens, gates as differences of cumulated logarithms, in long double.
#include "hostlib/backend/reference.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/conformance/cases.h"

namespace lawcat {
namespace {

using conformance::Case;
using Real = long double;

/// o of one token and head: sum_s w(t,s) v_s / (sum_s w(t,s) + 1e-10),
/// w(t,s) = sum_r phi_q[t,r] phi_k[s,r] prod_{u=s+1..t} a_u[r].
std::vector<double> closed_form(const UnitVectors& x, int token, int head) {
  const auto [heads, kv_heads, dim, features] = x.shape;
  const int keys = 2 * features, kv = head / (heads / kv_heads);
  const auto phi = [&](const std::vector<float>& input, int input_heads, int input_head,
                       const std::vector<float>& taps, int t) {
    std::vector<Real> conv(dim);
    for (int c = 0; c < dim; ++c)
      for (int j = 0; j < 4; ++j)
        if (t - 3 + j >= 0)
          conv[c] += static_cast<Real>(taps[(head * dim + c) * 4 + j]) *
                     input[(static_cast<std::size_t>(t - 3 + j) * input_heads + input_head) * dim + c];
    std::vector<Real> z(features), result(keys);
    for (int i = 0; i < features; ++i)
      for (int c = 0; c < dim; ++c) z[i] += conv[c] * x.weights.feature_map[(head * dim + c) * features + i];
    for (int side = 0; side < 2; ++side) {
      const Real sign = side == 0 ? 1 : -1;
      for (int i = 0; i < features; ++i) {
        Real sum = 0;
        for (int j = 0; j < features; ++j) sum += std::exp(sign * (z[j] - z[i]));
        result[side * features + i] = std::max(1 / sum, static_cast<Real>(1e-12));
      }
    }
    return result;
  };
  const std::vector<Real> phi_q = phi(x.q, heads, head, x.weights.q_conv1d, token);
  std::vector<Real> decay(keys, 0), numerator(dim, 0);
  Real denominator = 1e-10L;
  for (int s = token; s >= 0; --s) {
    const std::vector<Real> phi_k = phi(x.k, kv_heads, kv, x.weights.k_conv1d, s);
    Real weight = 0;
    for (int r = 0; r < keys; ++r) {
      weight += phi_q[r] * phi_k[r] * std::exp(decay[r]);
      const Real gk = x.gk[(static_cast<std::size_t>(s) * kv_heads + kv) * keys + r];
      decay[r] -= (gk > 0 ? std::log1p(std::exp(-gk)) : std::log1p(std::exp(gk)) - gk) / 16;
    }
    denominator += weight;
    for (int c = 0; c < dim; ++c)
      numerator[c] += weight * x.v[(static_cast<std::size_t>(s) * kv_heads + kv) * dim + c];
  }
  std::vector<double> o;
  for (const Real n : numerator) o.push_back(static_cast<double>(n / denominator));
  return o;
}

class Reference : public testing::TestWithParam<Case> {};

TEST_P(Reference, EqualsTheClosedFormWithin1e6) {
  const UnitVectors x = conformance::make(GetParam());
  const std::vector<UnitWeights> layers{x.weights};
  std::vector<float> o(x.q.size(), std::nanf(""));
  make_reference_backend()->open(x.shape, layers, 1)->run(x.job(0, x.tokens, o));
  double error = 0, norm = 0;
  for (const int token : {0, 1, 2, 3, x.tokens / 2, x.tokens - 1}) {
    if (token >= x.tokens) continue;
    const int head = (token * 7) % x.shape.heads;
    const std::vector<double> expected = closed_form(x, token, head);
    for (int c = 0; c < x.shape.head_dim; ++c) {
      const double got = o[(static_cast<std::size_t>(token) * x.shape.heads + head) * x.shape.head_dim + c];
      error += (got - expected[c]) * (got - expected[c]);
      norm += expected[c] * expected[c];
    }
  }
  EXPECT_LE(std::sqrt(error / norm), 1e-6);  // float32 output rounding alone is 3e-8
}

INSTANTIATE_TEST_SUITE_P(Cases, Reference, testing::ValuesIn(conformance::cases()),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace lawcat

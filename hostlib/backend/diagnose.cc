// SPDX-License-Identifier: Apache-2.0
// Where fixed point leaves the mathematics: see diagnose.h.
#include "hostlib/backend/diagnose.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "hostlib/backend/reference.h"

namespace lawcat {
namespace {

struct Tally {
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  double smallest = std::numeric_limits<double>::infinity();
  double max_abs_err = 0, signal = 0, noise = 0;
  std::optional<Divergence> first;

  void add(const std::vector<double>& expected, const std::vector<double>& got, int token, int head,
           double tolerance) {
    double peak = 0;
    for (const double x : expected) peak = std::max(peak, std::abs(x));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double error = got[i] - expected[i];
      min = std::min(min, got[i]);
      max = std::max(max, got[i]);
      if (got[i] != 0) smallest = std::min(smallest, std::abs(got[i]));
      max_abs_err = std::max(max_abs_err, std::abs(error));
      signal += expected[i] * expected[i];
      noise += error * error;
      if (!first && std::abs(error) > tolerance * peak)
        first = Divergence{token, head, static_cast<int>(i), expected[i], got[i]};
    }
  }
};

}  // namespace

std::vector<PointDiagnosis> diagnose(const Preset& preset, const UnitShape& shape, const UnitWeights& weights,
                                     const Job& job, double tolerance) {
  validate(shape);
  validate(shape, weights);
  validate(shape, job);
  const DatapathRules rules(preset.datapath);
  const auto d = static_cast<std::size_t>(shape.head_dim), k = static_cast<std::size_t>(shape.key_features());
  std::array<Tally, kPointCount> tallies;
  Saturations saturations{};

  std::vector<HeadWeights> head_weights;
  std::vector<HeadState> states;
  std::vector<ReferenceHead> references;
  for (int h = 0; h < shape.heads; ++h) {
    head_weights.emplace_back(rules, shape, weights, h, saturations);
    states.emplace_back(rules.formats, shape);
    references.emplace_back(shape, weights, h);
  }
  HeadTrace expected, got;
  GroupToken token;
  std::vector<std::int32_t> query(d);
  std::vector<double> o(d);
  std::vector<float> o_fixed(d);
  // Token-major, so that "first" is first in time.
  for (int t = 0; t < job.tokens; ++t) {
    for (int h = 0; h < shape.heads; ++h) {
      const int kv = h / shape.group();
      if (h % shape.group() == 0) quantise_group_token(rules, shape, job, t, kv, token, saturations);
      const std::size_t q_at = (static_cast<std::size_t>(t) * shape.heads + h) * d;
      const std::size_t kv_at = static_cast<std::size_t>(t) * shape.kv_heads + kv;
      for (std::size_t c = 0; c < d; ++c)
        query[c] = quantise(job.q[q_at + c], rules.formats.query_key,
                            saturations[static_cast<std::size_t>(Point::query)]);
      const auto head = static_cast<std::size_t>(h);
      references[head].step(job.q.subspan(q_at, d), job.k.subspan(kv_at * d, d), job.v.subspan(kv_at * d, d),
                            job.gk.subspan(kv_at * k, k), o, &expected);
      step_head(rules, shape, head_weights[head], static_cast<std::uint32_t>(h), query, token, states[head],
                o_fixed, saturations, &got);
      for (int point = 0; point < kPointCount; ++point) {
        const auto p = static_cast<std::size_t>(point);
        if (!got.values[p].empty()) tallies[p].add(expected.values[p], got.values[p], t, h, tolerance);
      }
    }
  }

  std::vector<PointDiagnosis> result;
  for (int point = 0; point < kPointCount; ++point) {
    const auto p = static_cast<std::size_t>(point);
    const Tally& tally = tallies[p];
    PointDiagnosis& out = result.emplace_back();
    out.point = static_cast<Point>(point);
    out.saturations = saturations[p];
    if (tally.min > tally.max) continue;  // weights: only their saturations are known
    out.min = tally.min;
    out.max = tally.max;
    out.smallest = std::isinf(tally.smallest) ? 0 : tally.smallest;
    out.max_abs_err = tally.max_abs_err;
    out.sqnr_db = tally.noise == 0 ? std::numeric_limits<double>::infinity()
                                   : 10 * std::log10(tally.signal / tally.noise);
    out.first = tally.first;
  }
  return result;
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The bare unit on vectors, the comparison of two results, and the bare logits.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/io/interrupt.h"
#include "hostlib/observed_session.h"
#include "hostlib/run.h"

namespace lawcat {
namespace {

constexpr int kFirstCurvePoint = 64;

}  // namespace

UnitRun run_unit(const UnitVectors& vectors, Backend& backend, const Progress& progress) {
  const std::unique_ptr<Session> session = backend.open(vectors.shape, {&vectors.weights, 1}, 1);
  if (!vectors.state.empty())
    session->set_state(0, std::vector<double>(vectors.state.begin(), vectors.state.end()));
  UnitRun run;
  run.result.o.resize(vectors.q.size());
  for (int token = 0; token < vectors.tokens; token += kJobTokens) {
    check_interrupt();
    const int count = std::min(kJobTokens, vectors.tokens - token);
    session->run(vectors.job(token, count, run.result.o));
    if (progress) progress("tokens", token + count, vectors.tokens);
  }
  const std::vector<double> state = session->state(0);
  run.result.state.assign(state.size(), 0);
  std::transform(state.begin(), state.end(), run.result.state.begin(),
                 [](double value) { return static_cast<float>(value); });
  run.counters = session->counters();
  return run;
}

UnitComparison compare(const UnitVectors& vectors, const UnitResult& expected, const UnitResult& got,
                       double tolerance) {
  UnitComparison comparison;
  const std::size_t d = static_cast<std::size_t>(vectors.shape.head_dim);
  const std::size_t h = static_cast<std::size_t>(vectors.shape.heads);
  std::size_t begin = 0;
  for (int tokens = std::min(kFirstCurvePoint, vectors.tokens);;
       tokens = static_cast<int>(std::min<std::int64_t>(2LL * tokens, vectors.tokens))) {
    const std::size_t end = static_cast<std::size_t>(tokens) * h * d;
    comparison.output.add(std::span(expected.o).subspan(begin, end - begin),
                          std::span(got.o).subspan(begin, end - begin));
    comparison.curve.push_back({tokens, comparison.output});
    begin = end;
    if (tokens == vectors.tokens) break;
  }
  comparison.state.add(expected.state, got.state);

  const double limit = tolerance * comparison.output.max_abs_reference();
  for (std::size_t i = 0; i < expected.o.size() && !comparison.first_off; ++i)
    if (!(std::abs(static_cast<double>(got.o[i]) - expected.o[i]) <= limit))
      comparison.first_off = {.token = static_cast<int>(i / (h * d)),
                              .head = static_cast<int>(i / d % h),
                              .channel = static_cast<int>(i % d),
                              .expected = expected.o[i],
                              .got = got.o[i]};
  return comparison;
}

std::vector<float> run_logits(const Model& model, std::span<const int> tokens, int last, Backend& backend,
                              const Progress& progress, const HostChoice& choice) {
  const std::unique_ptr<ModelHost> host = choice.make(model);
  std::unique_ptr<Session> unit;
  if (model.is_lawcat() && !choice.has_unit) {
    const int layers = model.config().layers;
    const Observer observer{progress, "tokens", layers - 1, static_cast<std::int64_t>(tokens.size())};
    unit = std::make_unique<ObservedSession>(backend.open(model.unit_shape(), model.unit_weights(), layers),
                                             observer, nullptr);
  }
  return host->open(std::move(unit))->forward(tokens, last);
}

}  // namespace lawcat

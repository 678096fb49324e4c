// SPDX-License-Identifier: Apache-2.0
// Task accuracy: many prompts, each through its own session.
#include <omp.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/model/generate.h"
#include "hostlib/model/tokenizer.h"
#include "hostlib/run.h"
#include "hostlib/trace/passkey.h"
#include "hostlib/trace/random.h"

namespace lawcat {
namespace {

constexpr int kAnswerTokens = 5;
constexpr int kDepthBins = 5;

PasskeySpec spec_of(const EvalRequest& request, int tokens, int index) {
  PasskeySpec spec;
  spec.tokens = tokens;
  spec.seed = request.seed;
  spec.index = static_cast<std::uint64_t>(index);
  spec.noise = request.noise;
  if (request.depths.empty()) {
    Random random(request.seed, ~spec.index);
    spec.depth = (index + random.uniform()) / request.samples;
  } else {
    spec.depth = request.depths[static_cast<std::size_t>(index) % request.depths.size()];
  }
  return spec;
}

EvalSample run_sample(const PasskeySpec& spec, const Model& model, const Tokenizer& tokenizer,
                      Backend& backend, ModelHost& host, bool host_has_unit) {
  const PasskeyPrompt prompt = make_passkey(spec);
  std::vector<int> tokens;
  if (model.config().bos_token) tokens.push_back(*model.config().bos_token);
  const std::vector<int> words = tokenizer.encode(prompt.text);
  tokens.insert(tokens.end(), words.begin(), words.end());
  std::unique_ptr<Session> unit;
  if (model.is_lawcat() && !host_has_unit)
    unit = backend.open(model.unit_shape(), model.unit_weights(), model.config().layers);
  const std::unique_ptr<ModelRunner> runner = host.open(std::move(unit));
  const std::string got = tokenizer.decode(generate(*runner, tokens, kAnswerTokens));
  return {.tokens = spec.tokens,
          .index = spec.index,
          .depth = prompt.depth,
          .expected = prompt.answer,
          .got = got,
          .correct = exact_match(prompt.answer, got)};
}

}  // namespace

EvalResult evaluate(const EvalRequest& request, const std::filesystem::path& folder, Backend& backend) {
  const Model model = Model::load(folder);
  if (!model.has_weights()) throw InputError("model " + model.config().name, "weights", "only a shape");
  const Tokenizer tokenizer = Tokenizer::load(folder);
  const std::unique_ptr<ModelHost> host = request.host.make(model);
  const int per_length = request.samples;
  const int count = per_length * static_cast<int>(request.lengths.size());
  for (const int tokens : request.lengths) make_passkey(spec_of(request, tokens, 0));

  // Longest prompts first, so that the last ones to finish are short.
  std::vector<int> order(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) order[static_cast<std::size_t>(i)] = i;
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return request.lengths[static_cast<std::size_t>(a / per_length)] >
           request.lengths[static_cast<std::size_t>(b / per_length)];
  });

  EvalResult result;
  result.samples.resize(static_cast<std::size_t>(count));
  std::exception_ptr failure;
  int done = 0;
  // Inside, the unit and the dense work find themselves in a parallel region and stay on one core.
#pragma omp parallel for schedule(dynamic) if (request.parallel)
  for (int i = 0; i < count; ++i) {
    bool failed;
#pragma omp critical(lawcat_eval)
    failed = failure != nullptr;
    if (failed) continue;
    const int sample = order[static_cast<std::size_t>(i)];
    try {
      const int tokens = request.lengths[static_cast<std::size_t>(sample / per_length)];
      result.samples[static_cast<std::size_t>(sample)] =
          run_sample(spec_of(request, tokens, sample % per_length), model, tokenizer, backend, *host,
                     request.host.has_unit);
#pragma omp critical(lawcat_eval)
      if (++done; request.progress) request.progress("samples", done, count);
    } catch (...) {
#pragma omp critical(lawcat_eval)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);

  for (const EvalSample& sample : result.samples) {
    const int bin = request.depths.empty()
                        ? std::min(kDepthBins - 1, static_cast<int>(sample.depth * kDepthBins))
                        : static_cast<int>(sample.index % request.depths.size());
    result.scores.add(sample.tokens, bin, sample.correct);
  }
  return result;
}

}  // namespace lawcat

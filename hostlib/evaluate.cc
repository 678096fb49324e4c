// SPDX-License-Identifier: Apache-2.0
// Task accuracy: many prompts, each through its own session.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <omp.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/model/generate.h"
#include "hostlib/model/tokenizer.h"
#include "hostlib/run.h"
#include "hostlib/token_count.h"
#include "hostlib/trace/random.h"
#include "hostlib/trace/task.h"

namespace lawcat {
namespace {

TaskSpec spec_of(const EvalRequest& request, const Task& task, int tokens, int index) {
  TaskSpec spec;
  spec.tokens = tokens;
  spec.seed = request.seed;
  spec.index = static_cast<std::uint64_t>(index);
  spec.noise = request.noise;
  spec.distractors = request.distractors;
  if (request.depths.empty()) {
    if (!task.has_needle()) return spec;
    Random random(request.seed, ~spec.index);
    spec.depth = (index + random.uniform()) / request.samples;
  } else {
    spec.depth = request.depths[static_cast<std::size_t>(index) % request.depths.size()];
  }
  return spec;
}

/// Where a model's answers come from. `backend` null: the host has the unit, or the model none.
struct Answerer {
  const Model& model;
  const Tokenizer& tokenizer;
  ModelHost& host;
  Backend* backend;

  std::string answer(const std::vector<int>& tokens, int count, std::span<const int> ends) const {
    std::unique_ptr<Session> unit;
    if (backend) unit = backend->open(model.unit_shape(), model.unit_weights(), model.config().layers);
    const std::unique_ptr<ModelRunner> runner = host.open(std::move(unit));
    return tokenizer.decode(generate(*runner, tokens, count, ends));
  }
};

EvalSample run_sample(const Task& task, const TaskSpec& spec, const Answerer& first, const Answerer* second) {
  const TaskPrompt prompt = task.make(spec);
  std::vector<int> tokens;
  if (const auto& begin = first.model.config().bos_token) tokens.push_back(*begin);
  const std::vector<int> words = first.tokenizer.encode(prompt.text);
  tokens.insert(tokens.end(), words.begin(), words.end());
  std::span<const int> ends;
  if (task.ends()) ends = first.model.config().eos_tokens;
  EvalSample sample;
  sample.tokens = spec.tokens;
  sample.index = spec.index;
  sample.depth = prompt.depth;
  sample.expected = prompt.answer;
  sample.repeats = prompt.repeats;
  sample.got = first.answer(tokens, prompt.answer_tokens, ends);
  sample.correct = task.score(prompt, sample.got);
  if (second) {
    sample.against_got = second->answer(tokens, prompt.answer_tokens, ends);
    sample.against_correct = task.score(prompt, sample.against_got);
  }
  return sample;
}

}  // namespace

EvalResult evaluate(const EvalRequest& request, const std::filesystem::path& folder, Backend& backend,
                    Backend* against) {
  const Model model = Model::load(folder);
  if (!model.has_weights()) throw InputError("model " + model.config().name, "weights", "only a shape");
  if (against && !model.is_lawcat())
    throw InputError("model " + model.config().name + ": a second backend to compare with",
                     "LAWCAT attention, which has a unit", "softmax attention");
  const Tokenizer tokenizer = Tokenizer::load(folder);
  const std::unique_ptr<const Task> task = make_task(request.task, count_with(tokenizer));
  const std::unique_ptr<ModelHost> host = request.host.make(model);
  const Answerer first{model, tokenizer, *host,
                       model.is_lawcat() && !request.host.has_unit ? &backend : nullptr};
  std::unique_ptr<ModelHost> processor;
  std::optional<Answerer> second;
  if (against) {
    if (request.host.has_unit) processor = make_cpu_host(model);
    second.emplace(Answerer{model, tokenizer, processor ? *processor : *host, against});
  }
  const std::set<int> different(request.lengths.begin(), request.lengths.end());
  if (different.size() != request.lengths.size())
    throw InputError("eval: tokens", "each length once", fmt::format("{}", fmt::join(request.lengths, ",")));
  constexpr std::size_t kMostPrompts = 1 << 24;
  const int per_length = request.samples;
  if (request.lengths.size() > kMostPrompts / static_cast<std::size_t>(per_length))
    throw InputError("eval: prompts in all", fmt::format("at most {}", kMostPrompts),
                     fmt::format("{} lengths of {} each", request.lengths.size(), per_length));
  const int count = per_length * static_cast<int>(request.lengths.size());
  for (const int tokens : request.lengths) task->make(spec_of(request, *task, tokens, 0));

  // Longest prompts first, so that the last ones to finish are short.
  std::vector<int> order(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) order[static_cast<std::size_t>(i)] = i;
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return request.lengths[static_cast<std::size_t>(a / per_length)] >
           request.lengths[static_cast<std::size_t>(b / per_length)];
  });

  EvalResult result;
  result.has_unit = model.is_lawcat();
  result.chance = task->chance();
  result.samples.resize(static_cast<std::size_t>(count));
  std::exception_ptr failure;
  int done = 0;
  if (request.progress) request.progress("samples", 0, count);
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
      result.samples[static_cast<std::size_t>(sample)] = run_sample(
          *task, spec_of(request, *task, tokens, sample % per_length), first, second ? &*second : nullptr);
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
    if (against) result.against_scores.add(sample.tokens, bin, sample.against_correct);
  }
  return result;
}

}  // namespace lawcat

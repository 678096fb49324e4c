// SPDX-License-Identifier: Apache-2.0
// Pools of a task's prompts with their answers, as tokens.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <omp.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <optional>

#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "hostlib/io/interrupt.h"
#include "hostlib/io/safetensors.h"
#include "hostlib/model/config.h"
#include "hostlib/model/tokenizer.h"
#include "hostlib/run.h"
#include "hostlib/token_count.h"

namespace lawcat {
namespace {

struct Ends {
  std::optional<int> begin;
  std::optional<int> end;
};

/// From config.json where there is one, as the model will be run with it, else from the tokenizer.
Ends ends_of(const std::filesystem::path& folder, const Tokenizer& tokenizer) {
  if (!is_there(folder / "config.json")) return {tokenizer.begin_token(), tokenizer.end_token()};
  const ModelConfig config = load_config(folder / "config.json");
  Ends ends;
  ends.begin = config.bos_token;
  // A sample ends with one; of several the first, which ends a text.
  if (!config.eos_tokens.empty()) ends.end = config.eos_tokens.front();
  return ends;
}

std::span<const std::byte> bytes_of(const auto& values) {
  return std::as_bytes(std::span(values));
}

}  // namespace

Pool make_pool(const PoolRequest& request, const std::filesystem::path& folder) {
  const Tokenizer tokenizer = Tokenizer::load(folder);
  const Ends ends = ends_of(folder, tokenizer);
  std::vector<std::unique_ptr<const Task>> tasks;
  for (const std::string& name : request.tasks)
    tasks.push_back(make_task(name, count_with(tokenizer), request.split));

  Pool pool;
  pool.samples.resize(static_cast<std::size_t>(request.samples));
  std::exception_ptr failure;
  int done = 0;
  const int jobs = request.jobs > 0 ? request.jobs : omp_get_max_threads();
#pragma omp parallel for schedule(dynamic, 16) num_threads(jobs)
  for (int i = 0; i < request.samples; ++i) {
    bool failed;
#pragma omp critical(lawcat_pool)
    failed = failure != nullptr;
    if (failed) continue;
    try {
      check_interrupt();
      const auto index = static_cast<std::size_t>(i);
      PoolSample& sample = pool.samples[index];
      sample.task = index % tasks.size();
      sample.length = request.lengths[index / tasks.size() % request.lengths.size()];
      sample.prompt = tasks[sample.task]->make({.tokens = sample.length,
                                                .seed = request.seed,
                                                .index = index,
                                                .depth = request.depth,
                                                .noise = 0,
                                                .distractors = 0});
      const std::vector<int> asked = tokenizer.encode(sample.prompt.text);
      const std::vector<int> whole = tokenizer.encode(sample.prompt.text + sample.prompt.completion);
      if (whole.size() <= asked.size() || !std::equal(asked.begin(), asked.end(), whole.begin()))
        throw InputError(folder.string() + ": tokenizer",
                         "tokens of a prompt to begin those of prompt and answer",
                         fmt::format("others for {}, sample {}", request.tasks[sample.task], i));
      if (ends.begin) sample.tokens.push_back(*ends.begin);
      sample.answer = static_cast<int>(sample.tokens.size() + asked.size());
      sample.tokens.insert(sample.tokens.end(), whole.begin(), whole.end());
      if (ends.end) sample.tokens.push_back(*ends.end);
      if (!request.keep_texts) {
        sample.prompt.text.clear();
        sample.prompt.text.shrink_to_fit();
      }
#pragma omp critical(lawcat_pool)
      if (++done; request.progress && done % 64 == 0) request.progress("prompts", done, request.samples);
    } catch (...) {
#pragma omp critical(lawcat_pool)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
  return pool;
}

void write_pool(const PoolRequest& request, const Pool& pool, const std::filesystem::path& file) {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> offsets = {0};
  std::vector<std::int32_t> answers;
  std::vector<std::int32_t> tasks;
  for (const PoolSample& sample : pool.samples) {
    tokens.insert(tokens.end(), sample.tokens.begin(), sample.tokens.end());
    offsets.push_back(static_cast<std::int64_t>(tokens.size()));
    answers.push_back(sample.answer);
    tasks.push_back(static_cast<std::int32_t>(sample.task));
  }
  const auto count = static_cast<std::int64_t>(pool.samples.size());
  write_safetensors(file,
                    {{"tokens", DType::i32, {offsets.back()}, bytes_of(tokens)},
                     {"offsets", DType::i64, {count + 1}, bytes_of(offsets)},
                     {"answer", DType::i32, {count}, bytes_of(answers)},
                     {"task", DType::i32, {count}, bytes_of(tasks)}},
                    {{"schema", "lawcat-prompts/1"},
                     {"task", fmt::format("{}", fmt::join(request.tasks, ","))},
                     {"tokens", fmt::format("{}", fmt::join(request.lengths, ","))},
                     {"seed", std::to_string(request.seed)},
                     {"split", std::string(split_name(request.split))}});
}

}  // namespace lawcat

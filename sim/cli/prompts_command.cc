// SPDX-License-Identifier: Apache-2.0
// lawcat-sim prompts: a task's prompts with their answers, as tokens in a file or as text.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <optional>

#include "sim/cli/options.h"
#include "sim/cli/terminal.h"

namespace lawcat {
namespace {

struct PromptsOptions {
  std::string model = "passkey-tiny";
  std::string output;
  std::string split = "train";
  bool text = false;
  bool quiet = false;
  PoolRequest request;
};

int run_prompts(const PromptsOptions& options) {
  PoolRequest request = options.request;
  request.split = options.split == "train" ? Split::train : Split::test;
  request.keep_texts = options.text;
  request.progress = terminal_progress(options.quiet);
  std::optional<OutputFile> file;
  if (!options.output.empty()) file.emplace(options.output);
  const Pool pool = make_pool(request, find_model(options.model));
  clear_progress();
  if (file) {
    write_pool(request, pool, file->path());
    file->keep();
  }
  std::size_t tokens = 0;
  int repeating = 0;
  for (std::size_t i = 0; i < pool.samples.size(); ++i) {
    const PoolSample& sample = pool.samples[i];
    tokens += sample.tokens.size();
    repeating += sample.prompt.repeats;
    if (options.text)
      fmt::print("## {} {}, {} of {} tokens, depth {:.3f}, answer {}\n{}[[{}]]\n\n",
                 request.tasks[sample.task], i, sample.tokens.size(), sample.length, sample.prompt.depth,
                 sample.prompt.answer, sample.prompt.text, sample.prompt.completion);
  }
  if (file)
    fmt::print("{} prompts of {}, split {}, seed {}: {} tokens in {}\n", pool.samples.size(),
               fmt::join(request.tasks, ", "), options.split, request.seed, tokens, options.output);
  if (repeating > 0)
    fmt::print("in {} of them the haystack's text repeats: split {} is shorter than the prompt\n", repeating,
               options.split);
  return kDone;
}

}  // namespace

void add_prompts_command(CLI::App& app, int& code) {
  const auto options = std::make_shared<PromptsOptions>();
  PoolRequest& request = options->request;
  request.lengths = {1024};
  request.samples = 1000;
  request.seed = 1;
  app.add_option("--task", request.tasks, "Tasks, separated by commas, taken in turn")
      ->delimiter(',')
      ->check(CLI::IsMember(task_names()))
      ->required();
  app.add_option("--model", options->model, "Folder or shipped model; only its tokenizer is needed")
      ->capture_default_str();
  app.add_option(
         "--tokens", request.lengths,
         "Lengths, separated by commas, taken in turn: begin token, prompt, answer; 0: babilong's facts "
         "without the book")
      ->delimiter(',')
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  app.add_option("--samples", request.samples, "Prompts in all")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  app.add_option("--seed", request.seed, "Seed of the prompts")->check(seed_number())->capture_default_str();
  app.add_option("--depth", request.depth, "Place of the needle, or of all facts, 0 to 1; default: drawn")
      ->check(finite_number(0, 1));
  app.add_option("--split", options->split, "Part of the haystack's text: train, or the one that eval uses")
      ->check(CLI::IsMember({"train", "test"}))
      ->capture_default_str();
  CLI::Option* output = app.add_option("--output", options->output, "safetensors file to write");
  app.add_option("--jobs", request.jobs, "Threads; default: one a core")->check(CLI::Range(1, 1024));
  CLI::Option* text = app.add_flag("--text", options->text, "Prints the prompts, answers in [[ ]]");
  app.add_flag("--quiet", options->quiet, "No progress");
  app.callback([&code, options, output, text] {
    if (output->empty() && text->empty()) throw CLI::RequiredError("--output or --text");
    code = run_prompts(*options);
  });
}

}  // namespace lawcat

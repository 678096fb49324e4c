// SPDX-License-Identifier: Apache-2.0
// lawcat-sim logits: the whole model on given token ids.
#include <fmt/format.h>

#include <memory>

#include "hostlib/io/error.h"
#include "hostlib/io/safetensors.h"
#include "sim/cli/backends.h"
#include "sim/cli/options.h"
#include "sim/cli/terminal.h"

namespace lawcat {
namespace {

struct LogitsOptions {
  CommonOptions common;
  std::string model;
  std::string tokens;
  std::string result;
  int last = 0;
};

int run_logits_command(const LogitsOptions& options) {
  const Model model = Model::load(find_model(options.model));
  if (!model.has_weights()) throw InputError("--model " + options.model, "a model with weights", "a shape");
  const int vocab = model.config().vocab_size;
  const std::vector<int> tokens = read_tokens(options.tokens, vocab);
  const int count = static_cast<int>(tokens.size());
  if (options.last > count)
    throw InputError("--last", fmt::format("at most the {} tokens of {}", count, options.tokens),
                     std::to_string(options.last));
  const BackendEntry& entry = find_backend(options.common.backend);
  const HostChoice host = choose_host(options.common.host, entry);
  const std::unique_ptr<Backend> backend = entry.make(options.common.load("edge"));
  OutputFile out(options.result);

  const int rows = options.last > 0 ? options.last : count;
  const std::vector<float> logits =
      run_logits(model, tokens, rows, *backend, terminal_progress(options.common.quiet), host);
  clear_progress();
  write_safetensors(out.path(), {{"logits", DType::f32, {rows, vocab}, std::as_bytes(std::span(logits))}});
  out.keep();
  return kDone;
}

}  // namespace

void add_logits_command(CLI::App& app, int& code) {
  const auto options = std::make_shared<LogitsOptions>();
  app.add_option("--model", options->model, "Folder or shipped model")->required();
  app.add_option("--tokens", options->tokens, "safetensors file with `tokens` [T], integers")->required();
  app.add_option("--result", options->result, "safetensors file for `logits` [T, vocab], float32")
      ->required();
  app.add_option("--last", options->last, "Only the last N rows")->check(CLI::Range(1, 1 << 30));
  options->common.add_to(app, "reference");
  app.callback([&code, options] { code = run_logits_command(*options); });
}

}  // namespace lawcat

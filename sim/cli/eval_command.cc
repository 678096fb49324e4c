// SPDX-License-Identifier: Apache-2.0
// lawcat-sim eval: task accuracy by prompt length and depth.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "hostlib/io/file.h"
#include "sim/cli/backends.h"
#include "sim/cli/options.h"
#include "sim/cli/terminal.h"

namespace lawcat {
namespace {

using Json = nlohmann::ordered_json;

struct EvalOptions {
  CommonOptions common;
  std::string task = "passkey";
  std::string model = "passkey-tiny";
  std::string out;
  EvalRequest request;
};

Json accuracy_of(const Accuracy& accuracy) {
  const auto [low, high] = accuracy.interval();
  return {{"correct", accuracy.correct},
          {"samples", accuracy.samples},
          {"accuracy", accuracy.rate()},
          {"wilson_95", {low, high}}};
}

/// What the depths of a bin are: the one asked for, or a fifth of the filler.
Json depth_of(const EvalRequest& request, int bin) {
  if (!request.depths.empty()) return {{"depth", request.depths[static_cast<std::size_t>(bin)]}};
  return {{"depth_from", bin / 5.0}, {"depth_to", (bin + 1) / 5.0}};
}

Json results_of(const EvalRequest& request, const EvalResult& result) {
  Json lengths = Json::array();
  for (const auto& [tokens, accuracy] : result.scores.by_length()) {
    Json length = {{"tokens", tokens}};
    length.update(accuracy_of(accuracy));
    length["by_depth"] = Json::array();
    for (const auto& [cell, part] : result.scores.by_length_and_depth()) {
      if (cell.first != tokens) continue;
      Json depth = depth_of(request, cell.second);
      depth.update(accuracy_of(part));
      length["by_depth"].push_back(depth);
    }
    lengths.push_back(length);
  }
  return lengths;
}

int run_eval(const EvalOptions& options) {
  EvalRequest request = options.request;
  const Preset preset = options.common.load("edge");
  const BackendEntry& entry = find_backend(options.common.backend);
  request.host = choose_host(options.common.host, entry);
  request.parallel = entry.parallel && options.common.host == "cpu";
  request.progress = terminal_progress(options.common.quiet);
  const std::unique_ptr<Backend> backend = entry.make(preset);
  const std::filesystem::path model = find_model(options.model);
  const std::string model_name = model.stem().string();
  OutputFolder out(options.out.empty()
                       ? std::filesystem::path("out") / fmt::format("eval-{}-{}", options.task, model_name)
                       : std::filesystem::path(options.out));

  const EvalResult result = evaluate(request, model, *backend);
  clear_progress();

  Json json = {{"schema", "lawcat-eval/1"},
               {"task", options.task},
               {"model", model_name},
               {"backend", entry.name},
               {"host", options.common.host},
               {"preset", preset.name},
               {"preset_hash", preset.hash},
               {"commit", commit()},
               {"seed", request.seed},
               {"samples", request.samples},
               {"depths", request.depths},
               {"noise", request.noise},
               {"results", results_of(request, result)}};
  json["answers"] = Json::array();
  for (const EvalSample& sample : result.samples)
    json["answers"].push_back({{"tokens", sample.tokens},
                               {"index", sample.index},
                               {"depth", sample.depth},
                               {"expected", sample.expected},
                               {"got", sample.got},
                               {"correct", sample.correct}});
  AtomicFile file(out.path() / "eval.json");
  file.write(json.dump(2) + "\n");
  file.commit();
  out.keep();

  fmt::print("{} of {} on {} ({}): {} prompts a length, seed {}, noise {}\n", options.task, model_name,
             entry.name, preset.name, request.samples, request.seed, request.noise);
  fmt::print("  {:>8} {:>9} {:>16}   {}\n", "tokens", "accuracy", "95 % interval", "by depth");
  for (const auto& [tokens, accuracy] : result.scores.by_length()) {
    const auto [low, high] = accuracy.interval();
    std::string depths;
    for (const auto& [cell, part] : result.scores.by_length_and_depth())
      if (cell.first == tokens) depths += fmt::format(" {}/{}", part.correct, part.samples);
    fmt::print("  {:>8} {:>9.3f} {:>7.3f} to {:.3f}  {}\n", tokens, accuracy.rate(), low, high, depths);
  }
  return kDone;
}

}  // namespace

void add_eval_command(CLI::App& app, int& code) {
  const auto options = std::make_shared<EvalOptions>();
  EvalRequest& request = options->request;
  request.lengths = {1024};
  request.samples = 20;
  request.seed = 1;
  app.add_option("--task", options->task, "passkey: five digits hidden in filler text")
      ->check(CLI::IsMember({"passkey"}))
      ->capture_default_str();
  app.add_option("--model", options->model, "Folder or shipped model")->capture_default_str();
  app.add_option("--tokens", request.lengths, "Prompt lengths, separated by commas")
      ->delimiter(',')
      ->check(CLI::Range(kMinPasskeyTokens, 1 << 24))
      ->capture_default_str();
  app.add_option("--samples", request.samples, "Prompts per length")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--seed", request.seed, "Seed of the prompts")->capture_default_str();
  app.add_option(
         "--depths", request.depths,
         "Places of the needle, 0 to 1, separated by commas, taken in turn; default: spread and drawn")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--noise", request.noise, "Share of filler words that become random words")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--out", options->out, "Folder for eval.json; default out/eval-<task>-<model>");
  options->common.add_to(app, "fixed");
  app.callback([&code, options] { code = run_eval(*options); });
}

}  // namespace lawcat

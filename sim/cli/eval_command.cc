// SPDX-License-Identifier: Apache-2.0
// lawcat-sim eval: task accuracy by prompt length and depth, as numbers and as a picture.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "hostlib/io/file.h"
#include "hostlib/io/strict_json.h"
#include "hostlib/report/heat_map.h"
#include "sim/cli/backends.h"
#include "sim/cli/options.h"
#include "sim/cli/terminal.h"

namespace lawcat {
namespace {

using Json = nlohmann::ordered_json;

struct EvalOptions {
  CommonOptions common;
  std::string model = "passkey-tiny";
  std::string out;
  std::string against;
  EvalRequest request;
};

Json accuracy_of(const Accuracy& accuracy) {
  const auto [low, high] = accuracy.interval();
  return {{"correct", accuracy.correct},
          {"samples", accuracy.samples},
          {"accuracy", accuracy.rate()},
          {"wilson_95", {low, high}}};
}

/// What the depths of a bin are: the one asked for, or a part of the filler.
Json depth_of(const EvalRequest& request, int bin) {
  if (!request.depths.empty()) return {{"depth", request.depths[static_cast<std::size_t>(bin)]}};
  return {{"depth_from", bin / double{kDepthBins}}, {"depth_to", (bin + 1) / double{kDepthBins}}};
}

/// Answers that are not the same in both runs, among prompts of that length.
int differing(const EvalResult& result, int tokens) {
  int count = 0;
  for (const EvalSample& sample : result.samples)
    count += sample.tokens == tokens && !exact_match(sample.got, sample.against_got);
  return count;
}

/// Prompts of that length in which the haystack's text repeats.
int repeating(const EvalResult& result, int tokens) {
  int count = 0;
  for (const EvalSample& sample : result.samples) count += sample.tokens == tokens && sample.repeats;
  return count;
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
    if (const auto& second = result.against_scores.by_length(); second.contains(tokens)) {
      length["against"] = accuracy_of(second.at(tokens));
      length["differing_answers"] = differing(result, tokens);
    }
    if (request.task != "passkey") length["repeating_prompts"] = repeating(result, tokens);
    lengths.push_back(length);
  }
  return lengths;
}

/// What makes the prompts harder or an answer likely.
std::string conditions_of(const EvalRequest& request, const EvalResult& result, const char* separator) {
  if (request.task == "passkey")
    return fmt::format("noise {}, distractors {}", request.noise, request.distractors);
  return fmt::format("test split{}by chance {:.3g}", separator, result.chance);
}

HeatCell cell_of(const Accuracy& accuracy) {
  return {.correct = accuracy.correct, .samples = accuracy.samples, .interval = accuracy.interval()};
}

/// Length x depth. `unit`: what computed the attention.
HeatMap picture_of(const EvalOptions& options, const EvalResult& result, const std::string& model,
                   const std::string& unit) {
  const EvalRequest& request = options.request;
  HeatMap map;
  map.title = fmt::format("{} on task {}", model, request.task);
  map.notes = {unit, fmt::format("{} prompts a length, seed {}; {}", request.samples, request.seed,
                                 conditions_of(request, result, "; "))};
  map.column_title = "prompt length in tokens";
  map.row_title = "depth of the answer";
  const int bins = request.depths.empty() ? kDepthBins : static_cast<int>(request.depths.size());
  for (int bin = 0; bin < bins; ++bin)
    map.rows.push_back(request.depths.empty()
                           ? fmt::format("{} to {} %", 100 * bin / kDepthBins, 100 * (bin + 1) / kDepthBins)
                           : fmt::format("{:.4g} %", 100 * request.depths[static_cast<std::size_t>(bin)]));
  const auto& parts = result.scores.by_length_and_depth();
  for (const auto& [tokens, accuracy] : result.scores.by_length()) {
    map.columns.push_back(std::to_string(tokens));
    map.totals.push_back(cell_of(accuracy));
  }
  for (int bin = 0; bin < bins; ++bin)
    for (const auto& [tokens, accuracy] : result.scores.by_length()) {
      const auto part = parts.find({tokens, bin});
      map.cells.push_back(part == parts.end() ? HeatCell{} : cell_of(part->second));
    }
  return map;
}

int run_eval(const EvalOptions& options) {
  EvalRequest request = options.request;
  const Preset preset = options.common.load("edge");
  const BackendEntry& entry = find_backend(options.common.backend);
  request.host = choose_host(options.common.host, entry);
  // What --against offers can always work on several threads.
  request.parallel = entry.parallel && options.common.host == "cpu";
  request.progress = terminal_progress(options.common.quiet);
  const std::unique_ptr<Backend> backend = entry.make(preset);
  const std::unique_ptr<Backend> against =
      options.against.empty() ? nullptr : find_backend(options.against).make(preset);
  const std::filesystem::path model = find_model(options.model);
  const std::string model_name = load_config(model).name;
  OutputFolder out(options.out.empty()
                       ? std::filesystem::path("out") / fmt::format("eval-{}-{}", request.task, model_name)
                       : std::filesystem::path(options.out));

  const EvalResult result = evaluate(request, model, *backend, against.get());
  clear_progress();
  std::string unit = "softmax attention, computed by the host: no backend, no preset";
  if (result.has_unit) {
    unit = fmt::format("backend {}, preset {}", entry.name, preset.name);
    for (const std::string& set : options.common.sets) unit += fmt::format(", {}", set);
  }

  Json json = {{"schema", "lawcat-eval/1"},   {"task", request.task},
               {"model", model_name},         {"backend", entry.name},
               {"host", options.common.host}, {"preset", preset.name},
               {"preset_hash", preset.hash},  {"set", options.common.sets},
               {"commit", commit()},          {"seed", request.seed},
               {"samples", request.samples},  {"depths", request.depths},
               {"noise", request.noise},      {"distractors", request.distractors},
               {"chance", result.chance},     {"results", results_of(request, result)}};
  if (!result.has_unit)
    for (const char* key : {"backend", "preset", "preset_hash"}) {
      json[key] = nullptr;
      json[std::string(key) + "_reason"] = "the model has softmax attention, which the host computes";
    }
  if (against) json["against"] = options.against;
  json["answers"] = Json::array();
  for (const EvalSample& sample : result.samples) {
    json["answers"].push_back({{"tokens", sample.tokens},
                               {"index", sample.index},
                               {"depth", sample.depth},
                               {"expected", sample.expected},
                               {"got", sample.got},
                               {"correct", sample.correct}});
    if (against) json["answers"].back()["against_got"] = sample.against_got;
  }
  AtomicFile file(out.path() / "eval.json");
  AtomicFile picture(out.path() / "eval.svg");
  file.write(json_text(json, 2) + "\n");
  picture.write(to_svg(picture_of(options, result, model_name, unit)));
  file.commit();
  picture.commit();
  out.keep();

  fmt::print("{} of {}: {}\n  {} prompts a length, seed {}, {}\n", request.task, model_name, unit,
             request.samples, request.seed, conditions_of(request, result, ", "));
  fmt::print("  {:>8} {:>9} {:>16}   {}\n", "tokens", "accuracy", "95 % interval", "by depth");
  for (const auto& [tokens, accuracy] : result.scores.by_length()) {
    const auto [low, high] = accuracy.interval();
    std::string depths;
    for (const auto& [cell, part] : result.scores.by_length_and_depth())
      if (cell.first == tokens) depths += fmt::format(" {}/{}", part.correct, part.samples);
    fmt::print("  {:>8} {:>9.3f} {:>7.3f} to {:.3f}  {}\n", tokens, accuracy.rate(), low, high, depths);
  }
  for (const auto& [tokens, accuracy] : result.against_scores.by_length()) {
    const auto [low, high] = accuracy.interval();
    fmt::print("  {:>8} {:>9.3f} {:>7.3f} to {:.3f}   on {}, {} of {} answers differ\n", tokens,
               accuracy.rate(), low, high, options.against, differing(result, tokens), accuracy.samples);
  }
  for (const auto& [tokens, accuracy] : result.scores.by_length())
    if (const int count = repeating(result, tokens); count > 0)
      fmt::print("  at {} tokens {} of {} prompts repeat the haystack's text, of which there is less\n",
                 tokens, count, accuracy.samples);
  fmt::print("  picture  {}\n", (out.path() / "eval.svg").string());
  return kDone;
}

}  // namespace

void add_eval_command(CLI::App& app, int& code) {
  const auto options = std::make_shared<EvalOptions>();
  EvalRequest& request = options->request;
  request.lengths = {1024};
  request.samples = 20;
  request.seed = 1;
  app.add_option(
         "--task", request.task,
         "passkey: five digits hidden in filler text; s-niah-1, -2, -3: RULER's number or uuid in noise "
         "or essays;\nbabilong-qa2, -qa3: facts about people and objects in a book")
      ->check(CLI::IsMember(task_names()))
      ->capture_default_str();
  app.add_option("--model", options->model, "Folder or shipped model")->capture_default_str();
  app.add_option("--tokens", request.lengths,
                 "Prompt lengths, separated by commas; 0: babilong's facts without the book")
      ->delimiter(',')
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  app.add_option("--samples", request.samples, "Prompts per length")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--seed", request.seed, "Seed of the prompts")->check(seed_number())->capture_default_str();
  app.add_option(
         "--depths", request.depths,
         "Places of the needle, 0 to 1, separated by commas, taken in turn; default: spread and drawn")
      ->delimiter(',')
      ->check(finite_number(0, 1));
  app.add_option("--noise", request.noise, "Share of filler words that become random words")
      ->check(finite_number(0, 1))
      ->capture_default_str();
  app.add_option("--distractors", request.distractors, "Filler sentences that state another number")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_option("--against", options->against,
                 "Answers every prompt on this backend too, and counts answers that differ")
      ->check(CLI::IsMember({"reference", "fixed"}));
  app.add_option("--out", options->out, "Folder for eval.json and eval.svg; default out/eval-<task>-<model>");
  options->common.add_to(app, "fixed");
  app.callback([&code, options] { code = run_eval(*options); });
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// lawcat-sim unit: the bare unit on a user's tensors, and how far its answer is from another.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hostlib/backend/diagnose.h"
#include "hostlib/io/error.h"
#include "hostlib/trace/random_vectors.h"
#include "sim/cli/backends.h"
#include "sim/cli/options.h"
#include "sim/cli/terminal.h"

namespace lawcat {
namespace {

constexpr double kShownTolerance = 0.01;
constexpr int kDiagnosedTokens = 1024;  // every point of every token is slow

struct UnitOptions {
  CommonOptions common;
  std::string vectors;
  std::string random;  ///< gate regime
  int tokens = 1024;
  std::vector<int> shape{4, 2, 64, 32};
  std::uint64_t seed = 1;
  std::string save_vectors;
  std::string result;
  std::string against;
  std::optional<double> tolerance;
  bool curve = false;
  bool bf16 = false;
};

void print_errors(std::string_view what, const ErrorMeter& meter) {
  fmt::print("  {:<8} {:>11.3e} {:>8.1f} {:>12.9f} {:>11.3e} {:>11.3e}\n", what, meter.rel_l2_err(),
             meter.sqnr_db(), meter.cosine(), meter.max_abs_err(), meter.max_abs_reference());
}

void print_saturations(const Counters& counters) {
  constexpr std::string_view prefix = "fixed.saturations.";
  std::string points;
  bool counted = false;
  for (const auto& [name, counter] : counters.all()) {
    if (!name.starts_with(prefix)) continue;
    counted = true;
    if (counter.value > 0)
      points +=
          fmt::format("{}{} {:.0f}", points.empty() ? "" : ", ", name.substr(prefix.size()), counter.value);
  }
  if (counted) fmt::print("saturations: {}\n", points.empty() ? "none" : points);
}

/// Ranges, errors and saturations along the fixed-point datapath, from zero state.
void print_points(const UnitVectors& vectors, const Preset& preset, double tolerance) {
  const int tokens = std::min(vectors.tokens, kDiagnosedTokens);
  std::vector<float> o(vectors.q.size());
  fmt::print(
      "datapath points of {}, first {} tokens\n  {:<18} {:>11} {:>11} {:>11} {:>8} {:>11} {:>8}   {}\n",
      preset.name, tokens, "", "min", "max", "smallest", "SQNR dB", "max error", "clipped",
      "first off: token, head, element");
  for (const PointDiagnosis& point :
       diagnose(preset, vectors.shape, vectors.weights, vectors.job(0, tokens, o), tolerance)) {
    // Weights are rounded before the first token; only their saturations are counted.
    if (point.min == point.max && point.saturations == 0) continue;
    fmt::print(
        "  {:<18} {:>11.4g} {:>11.4g} {:>11.3g} {:>8.1f} {:>11.3e} {:>8}   {}\n", to_string(point.point),
        point.min, point.max, point.smallest, point.sqnr_db, point.max_abs_err, point.saturations,
        point.first
            ? fmt::format("{}, {}, {}: expected {:.6g}, got {:.6g}", point.first->token, point.first->head,
                          point.first->element, point.first->expected, point.first->got)
            : "none");
  }
}

UnitVectors load_vectors(const UnitOptions& options) {
  const UnitShape shape{options.shape[0], options.shape[1], options.shape[2], options.shape[3]};
  UnitVectors vectors =
      options.vectors.empty()
          ? random_vectors(shape, options.tokens, parse_gate_regime(options.random), options.seed)
          : read_vectors(find_vectors(options.vectors));
  if (options.bf16) vectors.round_to_bf16();
  return vectors;
}

int run_unit_command(const UnitOptions& options) {
  if (options.result.empty() && options.against.empty())
    throw InputError("unit: expected --result or --against, got neither: nothing would come of the run");
  if (options.vectors.empty() == options.random.empty())
    throw InputError("unit", "either --vectors or --random", options.vectors.empty() ? "neither" : "both");
  const Preset preset = options.common.load("edge");
  const BackendEntry& entry = find_backend(options.common.backend);
  const std::unique_ptr<Backend> backend = entry.make(preset);
  const UnitVectors vectors = load_vectors(options);
  const bool against_backend = options.against == "reference" || options.against == "fixed";
  std::optional<UnitResult> expected;
  std::string against = options.against;
  if (options.against == "gpu") {
    Capture capture =
        find_gpu_capture(vectors, options.vectors.empty() ? "" : find_vectors(options.vectors).string());
    for (const auto& [what, value] : capture.provenance)
      if (what != "vectors_sha256" && !value.empty()) against += fmt::format(", {} {}", what, value);
    expected = std::move(capture.result);
  } else if (!options.against.empty() && !against_backend) {
    expected = read_result(options.against, vectors);
  }
  std::optional<OutputFile> out, kept;
  if (!options.result.empty()) out.emplace(options.result);
  if (!options.save_vectors.empty()) kept.emplace(options.save_vectors);
  const Progress progress = terminal_progress(options.common.quiet);

  const UnitRun run = run_unit(vectors, *backend, progress);
  if (against_backend)
    expected = run_unit(vectors, *find_backend(options.against).make(preset), progress).result;
  clear_progress();
  if (kept) {
    write_vectors(kept->path(), vectors);
    kept->keep();
  }
  if (out) {
    write_result(out->path(), vectors, run.result,
                 {{"backend", entry.name}, {"device", entry.device}, {"commit", commit()}});
    out->keep();
  }

  fmt::print("unit on {} ({}): {} tokens, heads {}/{} x {}, features {}\n", entry.name, preset.name,
             vectors.tokens, vectors.shape.heads, vectors.shape.kv_heads, vectors.shape.head_dim,
             vectors.shape.feature_dim);
  if (const double cycles = run.counters.value("unit.cycles"); cycles > 0)
    fmt::print("cycles: {:.0f}\n", cycles);
  print_saturations(run.counters);
  if (!expected) return kDone;

  const UnitComparison comparison =
      compare(vectors, *expected, run.result, options.tolerance.value_or(kShownTolerance));
  fmt::print("against {}\n  {:<8} {:>11} {:>8} {:>12} {:>11} {:>11}\n", against, "", "relative L2", "SQNR dB",
             "cosine", "max error", "max value");
  print_errors("o", comparison.output);
  print_errors("state", comparison.state);
  if (options.curve) {
    fmt::print("error up to a length\n  {:>8} {:>11} {:>8}\n", "tokens", "relative L2", "SQNR dB");
    for (const auto& [tokens, meter] : comparison.curve)
      fmt::print("  {:>8} {:>11.3e} {:>8.1f}\n", tokens, meter.rel_l2_err(), meter.sqnr_db());
  }
  const std::string limit =
      fmt::format("{:g} of the largest value", options.tolerance.value_or(kShownTolerance));
  if (const auto& place = comparison.first_off)
    fmt::print("first output off by more than {}: token {}, head {}, channel {}: expected {}, got {}\n",
               limit, place->token, place->head, place->channel, place->expected, place->got);
  else
    fmt::print("no output is off by more than {}\n", limit);
  if (options.against == "reference" && entry.name != "reference") {
    if (vectors.state.empty())
      print_points(vectors, preset, options.tolerance.value_or(kShownTolerance));
    else
      fmt::print("datapath points: not shown, as they are compared from zero state only\n");
  }
  return options.tolerance && comparison.first_off ? kMismatch : kDone;
}

}  // namespace

void add_unit_command(CLI::App& app, int& code) {
  const auto options = std::make_shared<UnitOptions>();
  app.add_option(
      "--vectors", options->vectors,
      "safetensors file with q, k, v, gk, q_conv1d, k_conv1d, feature_map and, if wanted, state; or "
      "the name of vectors in traces/expected");
  auto* const random = app.add_option(
      "--random", options->random,
      "Instead: seeded random tensors, gate logits plain (0 +- 2), long (9 +- 2) or spiky (0 +- 8)");
  app.add_option("--tokens", options->tokens, "Of --random")
      ->check(CLI::Range(1, 1 << 20))
      ->needs(random)
      ->capture_default_str();
  app.add_option("--shape", options->shape, "Of --random: heads,kv_heads,head_dim,feature_dim")
      ->delimiter(',')
      ->expected(4)
      ->needs(random)
      ->capture_default_str();
  app.add_option("--seed", options->seed, "Of --random")
      ->check(seed_number())
      ->needs(random)
      ->capture_default_str();
  app.add_option("--save-vectors", options->save_vectors,
                 "Keeps the tensors, as they are used, in a safetensors file");
  app.add_flag("--bf16", options->bf16, "Rounds the tensors to bfloat16 first, as GPU kernels read them");
  app.add_option("--result", options->result, "safetensors file for o and state, float32");
  app.add_option(
      "--against", options->against,
      "reference, fixed, gpu (the recorded result of the GPU kernels for these tensors), or a result "
      "file: prints the errors");
  app.add_option(
         "--tolerance", options->tolerance,
         "With --against: exit code 1 when an output is off by more than this share of the largest value")
      ->check(finite_number(0, 1e9))
      ->needs("--against");
  app.add_flag("--curve", options->curve, "With --against: error against length")->needs("--against");
  options->common.add_to(app, "fixed", false);
  app.callback([&code, options] { code = run_unit_command(*options); });
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// lawcat-sim gpu: times and meters the CUDA kernels on this machine's GPU, or shows what was measured.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "hostlib/report/gpu_reference.h"
#include "hostlib/run.h"
#include "sim/cli/backends.h"
#include "sim/cli/options.h"
#include "sim/cli/terminal.h"
#ifdef LAWCAT_WITH_CUDA
#include "kernels/measure/measure.h"
#endif

namespace lawcat {
namespace {

struct GpuOptions {
  std::vector<std::string> shapes;
  std::string trace;
  std::vector<int> tokens{1024, 4096, 16384};
  bool tokens_given = false;
  std::vector<std::string> operations{"unit"};
  std::vector<int> batches{1};
  std::vector<std::string> attentions{"unit"};
  std::string gates = "plain";
  double energy_s = 2;
  std::string out;
  bool append = false;
  std::string show;
  bool brief = false;
  bool quiet = false;
};

#ifdef LAWCAT_WITH_CUDA

int measure_gpu(const GpuOptions& options, const std::filesystem::path& out) {
  MeasureRequest request{.models = {}, .tokens = options.tokens, .decode_batches = options.batches};
  const auto wanted = [&options](const char* operation) {
    return std::find(options.operations.begin(), options.operations.end(), operation) !=
           options.operations.end();
  };
  request.unit = wanted("unit");
  request.layer = wanted("layer");
  request.model = wanted("model");
  request.attentions = options.attentions;
  request.gates = options.gates;
  request.energy_seconds = options.energy_s;
  if (options.brief) {
    request.seconds = 0.05;
    request.repetitions = 5;
    request.energy_seconds = 0;
  }
  for (const std::string& shape : options.shapes) request.models.push_back(load_config(find_model(shape)));
  if (!options.trace.empty()) {
    const Trace trace = load_trace(find_trace(options.trace));
    request.models.push_back(load_config(find_model(trace.model)));
    request.tokens = {prompt_tokens(trace)};
  }
  plan(request);  // says what is wrong with the request before what is wrong with the machine
  std::optional<GpuReference> kept;
  if (options.append && is_there(out)) kept = load_gpu_reference(out);
  if (const std::string problem = gpu_problem(); !problem.empty()) throw InputError("gpu: " + problem);

  OutputFile output(out);
  const Progress progress = terminal_progress(options.quiet);
  std::map<std::string, std::vector<std::string>> left_out;  // calls by reason
  const auto write = [&output](const GpuReference& so_far) {
    AtomicFile file(output.path());
    file.write(to_json(so_far));
    file.commit();
    output.keep();
  };
  const GpuReference reference =
      measure(request, commit(), kept ? &*kept : nullptr,
              {.progress =
                   [&progress](std::string_view what, std::int64_t done, std::int64_t total) {
                     if (progress) progress(what, done, total);
                   },
               .measured = write,
               .left_out = [&left_out](const std::string& what,
                                       const std::string& why) { left_out[why].push_back(what); }});
  clear_progress();
  if (reference.measurements.empty())
    throw InputError("gpu: nothing was measured: " +
                     (left_out.empty() ? "no call was asked for" : left_out.begin()->first));
  fmt::print("{}", to_text(reference));
  for (const auto& [why, calls] : left_out)
    fmt::print("left out, {}: {}{}\n", why, calls.front(),
               calls.size() > 1 ? fmt::format(" and {} more calls", calls.size() - 1) : std::string());
  fmt::print("written to {}\n", out.string());
  return kDone;
}

#else

int measure_gpu(const GpuOptions& options, const std::filesystem::path&) {
  for (const std::string& shape : options.shapes) load_config(find_model(shape));
  throw InputError("gpu: " + gpu_problem());
}

#endif

int run_gpu(const GpuOptions& options) {
  if (!options.show.empty()) {
    fmt::print("{}", to_text(load_gpu_reference(options.show)));
    return kDone;
  }
  if (options.shapes.empty() && options.trace.empty())
    throw InputError("gpu", "--shape, --trace or --show", "none of them");
  if (!options.trace.empty() && options.tokens_given)
    throw InputError("gpu: --tokens", "none with --trace, whose prompt has its length", "some");
  std::string name = "gpu";
  if (!options.trace.empty())
    name = load_trace(find_trace(options.trace)).name;
  else if (options.shapes.size() == 1)
    name = load_config(find_model(options.shapes.front())).name;
  return measure_gpu(options, options.out.empty() ? std::filesystem::path("out/gpu") / (name + ".json")
                                                  : std::filesystem::path(options.out));
}

}  // namespace

void add_gpu_command(CLI::App& app, int& code) {
  const auto options = std::make_shared<GpuOptions>();
  auto* const show =
      app.add_option("--show", options->show, "Only prints what this file of measurements holds");
  const auto measuring = [show](CLI::Option* option) {
    option->excludes(show);
    return option;
  };
  measuring(app.add_option("--shape", options->shapes,
                           "Shapes or models with LAWCAT attention (see list), separated by commas"))
      ->delimiter(',');
  measuring(app.add_option(
      "--trace", options->trace,
      "What this trace needs: the unit of its model at its prompt's length, and a decode step"));
  auto* const tokens =
      measuring(app.add_option("--tokens", options->tokens, "Lengths of prefill, separated by commas"))
          ->delimiter(',')
          ->check(CLI::Range(1, 1 << 20))
          ->capture_default_str();
  measuring(app.add_option("--operations", options->operations,
                           "unit (steps 3-8 of a layer), layer, model, separated by commas"))
      ->delimiter(',')
      ->check(CLI::IsMember({"unit", "layer", "model"}))
      ->capture_default_str();
  measuring(
      app.add_option("--decode-batch", options->batches, "Sequences of a decode step, separated by commas"))
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  measuring(
      app.add_option("--attention", options->attentions,
                     "Of layers and models, separated by commas: unit, or softmax attention by our plain "
                     "kernel, softmax, or PyTorch's where this build has them, torch-cudnn, torch-flash"))
      ->delimiter(',')
      ->capture_default_str();
  measuring(
      app.add_option("--gates", options->gates,
                     "Gate logits of the random inputs: plain (0 +- 2), long (9 +- 2) or spiky (0 +- 8)"))
      ->check(CLI::IsMember({"plain", "long", "spiky"}))
      ->capture_default_str();
  measuring(app.add_option("--seconds-of-energy", options->energy_s,
                           "How long each call's energy is metered; 0 for none"))
      ->check(finite_number(0, 60))
      ->capture_default_str();
  auto* const out = measuring(
      app.add_option("--out", options->out, "File of measurements; default out/gpu/<shape or trace>.json"));
  measuring(app.add_flag("--append", options->append, "Keeps what the file holds from this GPU and commit"))
      ->needs(out);
  measuring(app.add_flag("--quick", options->brief, "Few repetitions and no energy: to see that it works"));
  app.add_flag("--quiet", options->quiet, "No progress on the terminal");
  app.callback([&code, options, tokens] {
    options->tokens_given = tokens->count() > 0;
    code = run_gpu(*options);
  });
}

}  // namespace lawcat

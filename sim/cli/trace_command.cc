// SPDX-License-Identifier: Apache-2.0
// The main job: lawcat-sim --trace NAME.
#include <fmt/format.h>

#include <memory>
#include <optional>

#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "sim/cli/backends.h"
#include "sim/cli/options.h"
#include "sim/cli/recording_backend.h"
#include "sim/cli/terminal.h"

namespace lawcat {
namespace {

struct TraceOptions {
  CommonOptions common;
  std::string trace;
  std::string out;
  bool timeline = false;
  std::string record_vectors;  ///< LAYER=FILE
};

int run_trace(const TraceOptions& options) {
  RunRequest request;
  request.trace = load_trace(find_trace(options.trace));
  request.preset = options.common.load(request.trace.preset);
  request.commit = commit();
  request.progress = terminal_progress(options.common.quiet);
  if (request.trace.timing_only() && options.common.host != "cpu")
    throw InputError("--host", "cpu, as the host's time is modelled where the trace's model is only a shape",
                     options.common.host);
  const BackendEntry& entry = find_backend(options.common.backend);
  if (request.trace.timing_only() && !entry.has_time)
    throw InputError("--backend", "one with time, as the trace's model is only a shape", entry.name);
  request.host = choose_host(options.common.host, entry);
  request.verify_against_fixed = entry.has_bits_of_fixed;
  std::optional<RecordOption> record;
  if (!options.record_vectors.empty()) {
    record = parse_record_option(options.record_vectors);
    if (request.trace.timing_only())
      throw InputError("--record-vectors", "a trace with values", "one whose model is only a shape");
  }
  const std::unique_ptr<Backend> backend = entry.make(request.preset);
  if (options.timeline) record_timeline(*backend);
  OutputFolder out(options.out.empty() ? std::filesystem::path("out") / request.trace.name
                                       : std::filesystem::path(options.out));
  std::optional<OutputFile> vectors;
  if (record) vectors.emplace(record->file);

  UnitVectors asked;
  std::unique_ptr<Backend> recorder;
  if (record) recorder = std::make_unique<RecordingBackend>(*backend, record->layer, asked);
  const Report report = run(request, recorder ? *recorder : *backend);
  clear_progress();

  // All texts are on the disk before the first takes its name.
  AtomicFile json(out.path() / "report.json");
  json.write(to_json(report));
  AtomicFile html(out.path() / "report.html");
  html.write(to_html(report));
  std::optional<AtomicFile> timeline;
  std::string note;
  if (options.timeline) {
    const RecordedTimeline recorded = recorded_timeline(*backend, request.preset.clock_hz);
    timeline.emplace(out.path() / "timeline.json").write(to_chrome_trace(recorded.events));
    if (recorded.dropped > 0)
      note = fmt::format(" (timeline: the first {} spans, {} more left out)", recorded.events.size(),
                         recorded.dropped);
  }
  json.commit();
  html.commit();
  if (timeline) timeline->commit();
  out.keep();
  if (vectors) {
    write_vectors(vectors->path(), asked);
    vectors->keep();
  }
  fmt::print("{}  {:<14}{}{}\n", to_text(report), "report", (out.path() / "report.html").string(), note);
  return report.passed() ? kDone : kMismatch;
}

}  // namespace

void add_trace_command(CLI::App& app, int& code) {
  const auto options = std::make_shared<TraceOptions>();
  CLI::Option* trace =
      app.add_option("--trace", options->trace,
                     "Workload: a file, or a name searched here and then among the shipped traces");
  options->common.add_to(app, "systemc");
  app.add_option("--out", options->out, "Folder for report.json and report.html; default out/<trace name>");
  app.add_flag("--timeline", options->timeline,
               "Also timeline.json, Chrome trace events (Perfetto reads them)");
  app.add_option("--record-vectors", options->record_vectors,
                 "LAYER=FILE: what this layer's unit is asked, in a safetensors file for unit --vectors");
  // This one comes before a command's own callback: options in front of its name would be read and ignored.
  app.parse_complete_callback([&app] {
    if (app.get_subcommands().empty()) return;
    for (const CLI::Option* option : app.get_options())
      if (option->count() > 0)
        throw CLI::ValidationError(option->get_name(),
                                   "belongs behind the command " + app.get_subcommands().front()->get_name());
  });
  app.callback([&app, &code, options, trace] {
    if (!app.get_subcommands().empty()) return;
    if (trace->count() == 0) throw CLI::RequiredError("--trace or a command (see --help)");
    code = run_trace(*options);
  });
}

}  // namespace lawcat

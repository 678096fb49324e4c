// SPDX-License-Identifier: Apache-2.0
// lawcat-sim calibrate: cycles of the platform's tile against those of the Verilated one.
#include <memory>

#include "hostlib/io/error.h"
#include "sim/cli/options.h"

#if defined(LAWCAT_WITH_SYSTEMC) && defined(LAWCAT_WITH_RTL)

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <utility>

#include "hostlib/io/file.h"
#include "sim/calibrate.h"
#include "sim/cli/terminal.h"

namespace lawcat {
namespace {

struct CommandOptions {
  CalibrationOptions cases;
  bool stages = false;
  std::string json;
};

void print_stages(const Calibration& one) {
  for (std::size_t s = 0; s < one.rtl.stages.size(); ++s) {
    const StageCycles &r = one.rtl.stages[s], &m = one.model.stages[s];
    fmt::print("  {:<12}  busy {:>8} {:>+5}  stall {:>8} {:>+5}  starve {:>8} {:>+5}\n",
               to_string(static_cast<Stage>(s)), r.busy, m.busy - r.busy, r.stall, m.stall - r.stall,
               r.starve, m.starve - r.starve);
  }
}

void print_case(const Calibration& one, bool stages) {
  const CalibrationCase& given = one.given;
  std::vector<int> heads;
  for (const TilePacket& packet : given.packets) heads.push_back(packet.heads);
  const StageCycles parts = one.parts();
  fmt::print("{:<9} {:>3} {:>3} {:>6}  {:<14} {:<11} {:>9} {:>9} {:>+6} {:>+8} {:>+6} {:>+7}\n", given.preset,
             given.head_dim, given.feature_dim, given.tokens, fmt::format("{}", fmt::join(heads, " ")),
             to_string(given.hold), one.rtl.cycles, one.model.cycles, one.error(), parts.busy, parts.stall,
             parts.starve);
  if (stages) print_stages(one);
}

void print_summary(std::string_view what, const CalibrationSummary& all) {
  fmt::print("{:<15} {:>4} cases, {:>4} differ; |error| mean {:.4f} %, worst {:.4f} %\n", what, all.cases,
             all.differing, all.mean_percent, all.worst_percent);
}

int run_calibrate(const CommandOptions& options) {
  std::optional<OutputFile> json;
  if (!options.json.empty()) json.emplace(options.json);
  bool titled = false;
  const CalibrationReport report = calibrate(options.cases, [&](const Calibration& one) {
    if (!std::exchange(titled, true))
      fmt::print("{:<9} {:>3} {:>3} {:>6}  {:<14} {:<11} {:>9} {:>9} {:>6} {:>8} {:>6} {:>7}\n", "preset",
                 "D", "F", "tokens", "heads", "held back", "rtl", "model", "error", "=compute", "+stall",
                 "+memory");
    print_case(one, options.stages);
  });
  print_summary("without stalls", report.summary(false));
  print_summary("with stalls", report.summary(true));
  if (json) {
    AtomicFile file(json->path());
    file.write(to_json(report));
    file.commit();
    json->keep();
  }
  if (report.passed()) return kDone;
  fmt::print("not calibrated: no case without stalls may differ, |error| mean {} %, worst {} %\n", kMeanBound,
             kWorstBound);
  return kMismatch;
}

}  // namespace

void add_calibrate_command(CLI::App& app, int& code) {
  const auto options = std::make_shared<CommandOptions>();
  app.add_option("--preset", options->cases.presets, "Presets that this build Verilated; default all");
  app.add_option("--cases", options->cases.cases, "Random cases")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app.add_option("--seed", options->cases.seed, "Of shapes, values and patterns")
      ->check(seed_number())
      ->capture_default_str();
  app.add_option("--tokens", options->cases.tokens, "Token counts to draw from; default 1 to 64")
      ->check(CLI::Range(1, 65536));
  app.add_flag("--stages", options->stages, "Each stage's cycles of the RTL, and the model's difference");
  app.add_option("--json", options->json, "Everything, in this file");
  app.callback([&code, options] { code = run_calibrate(*options); });
}

}  // namespace lawcat

#else

namespace lawcat {

void add_calibrate_command(CLI::App& app, int&) {
  app.allow_extras();
  app.callback([] {
    throw InputError(
        "calibrate: not available: built without Verilator or without SystemC (Debian: verilator, "
        "libsystemc-dev)");
  });
}

}  // namespace lawcat

#endif

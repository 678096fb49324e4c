// SPDX-License-Identifier: Apache-2.0
// lawcat-sim list: what there is and what of it runs here.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "hostlib/io/file.h"
#include "sim/cli/backends.h"
#include "sim/cli/options.h"

namespace lawcat {
namespace {

/// Entries of a shipped folder that `wanted` accepts, sorted.
template <typename Predicate>
std::vector<std::filesystem::path> shipped(const std::filesystem::path& folder, Predicate wanted) {
  std::vector<std::filesystem::path> found;
  std::error_code none;  // a missing folder has no entries
  for (const auto& entry : std::filesystem::directory_iterator(data_root() / folder, none))
    if (wanted(entry.path())) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

bool is_json(const std::filesystem::path& path) {
  return path.extension() == ".json";
}

std::string describe(const ModelConfig& config, bool weights) {
  return fmt::format("{} layers, hidden {}, heads {}/{} x {}, {}, {}", config.layers, config.hidden_size,
                     config.heads, config.kv_heads, config.head_dim,
                     config.lawcat ? fmt::format("LAWCAT features {}", config.lawcat->feature_dim)
                                   : std::string("softmax attention (logits, eval)"),
                     weights ? "weights" : "shape only");
}

void list() {
  fmt::print("traces\n");
  std::vector<Trace> traces;
  for (const auto& file : shipped("traces", is_json)) traces.push_back(load_trace(file));
  std::stable_sort(traces.begin(), traces.end(), [](const Trace& a, const Trace& b) {
    return (a.passkey ? a.passkey->tokens : 0) < (b.passkey ? b.passkey->tokens : 0);
  });
  for (const Trace& trace : traces)
    fmt::print("  {:<20} {} [{}]\n", trace.name, trace.description, trace.model);
  fmt::print("models\n");
  for (const auto& folder :
       shipped("models", [](const auto& path) { return std::filesystem::exists(path / "config.json"); }))
    fmt::print("  {:<20} {}\n", folder.filename().string(),
               describe(load_config(folder / "config.json"), true));
  for (const auto& file : shipped("models/shapes", is_json))
    fmt::print("  {:<20} {}\n", file.stem().string(), describe(load_config(file), false));
  fmt::print("presets\n");
  for (const std::string& name : preset_names())
    fmt::print("  {:<20} {}\n", name, load_preset(name).description);
  fmt::print("backends\n");
  for (const BackendEntry& entry : backends())
    fmt::print("  {:<20} {}; {}\n", entry.name, entry.what, entry.make ? "available" : entry.missing);
  fmt::print("hosts\n");
  for (const HostEntry& entry : hosts())
    fmt::print("  {:<20} {}; {}\n", entry.name, entry.what,
               entry.missing.empty() ? "available" : entry.missing);
  const std::string problem = gpu_problem();
  fmt::print("gpu\n  {:<20} {}\n", "measuring", problem.empty() ? "available: " + gpu_device() : problem);
}

}  // namespace

void add_list_command(CLI::App& app, int& code) {
  app.callback([&code] {
    list();
    code = kDone;
  });
}

}  // namespace lawcat

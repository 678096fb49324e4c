// SPDX-License-Identifier: Apache-2.0
// The long run of random traffic: rtl_random [--presets A,B] [--head-tokens N] [--seed FIRST] [--scenarios N]
// [--budget CYCLES] [--verbose] [--one-tile]. Scenario i of a preset has seed FIRST + i; a run goes on from
// the seed that the last one printed. A preset that is a file goes by its stem, too. Prints per preset
// head-tokens, mismatches, cycles per second and what was not met. Exit status: 0 all equal, 1 a difference,
// 2 wrong arguments.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "rtl/bench/tile.h"
#include "tests/rtl/rtl_random.h"

namespace lawcat {
namespace {

struct Arguments {
  std::string presets;
  std::int64_t head_tokens = 10000, scenarios = INT64_MAX, budget = 40000;
  std::uint64_t seed = 1;
  bool verbose = false, one_tile = false;
};

/// One tile for all scenarios of a preset, which each begin with a reset of what the last one left.
std::unique_ptr<RtlTile> shared_tile;

class SharedTile final : public RtlTile {
 public:
  const TileOutputs& cycle(const TileInputs& inputs) override { return shared_tile->cycle(inputs); }
  bool failed() const override { return shared_tile->failed(); }
};

bool run(RtlLibrary library, const Arguments& arguments) {
  if (arguments.one_tile) {
    shared_tile = library.make();
    library.make = [] { return std::unique_ptr<RtlTile>(std::make_unique<SharedTile>()); };
  }
  const Preset preset = load_preset(library.preset);
  FunctionalCoverage coverage;
  std::int64_t head_tokens = 0, packets = 0, cycles = 0, scenarios = 0, differences = 0;
  const auto start = std::chrono::steady_clock::now();
  std::uint64_t seed = arguments.seed;
  for (; head_tokens < arguments.head_tokens && scenarios < arguments.scenarios && differences < 10; ++seed) {
    ++scenarios;
    try {
      const Scenario done = run_scenario(library, preset, seed, arguments.budget, coverage);
      head_tokens += done.head_tokens;
      packets += done.packets;
      cycles += done.cycles;
      if (arguments.verbose)
        fmt::print("{} seed {}: {} head-tokens, {} cycles; {}\n", library.preset, seed, done.head_tokens,
                   done.cycles, done.text);
    } catch (const std::exception& error) {
      ++differences;
      fmt::print("{}: DIFFERENCE {}\n", library.preset, error.what());
    }
    std::fflush(stdout);
  }
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  fmt::print(
      "{}: {} scenarios (seeds {} to {}), {} head-tokens, {} packets, {} cycles, {} differences; "
      "{:.3f} M cycles/s\n",
      library.preset, scenarios, arguments.seed, seed - 1, head_tokens, packets, cycles, differences,
      static_cast<double>(cycles) / wall.count() / 1e6);
  const auto missed = coverage.missed();
  fmt::print("{}: {} of {} coverage points met{}{}\n", library.preset,
             coverage.points().size() - missed.size(), coverage.points().size(),
             missed.empty() ? "" : "; not ", fmt::join(missed, ", "));
  return differences == 0;
}

}  // namespace
}  // namespace lawcat

int main(int argc, char** argv) {
  using namespace lawcat;
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--verbose" || name == "--one-tile") {
      (name == "--verbose" ? arguments.verbose : arguments.one_tile) = true;
      continue;
    }
    const std::map<std::string, std::int64_t*> numbers{{"--head-tokens", &arguments.head_tokens},
                                                       {"--scenarios", &arguments.scenarios},
                                                       {"--budget", &arguments.budget}};
    const char* value = i + 1 < argc ? argv[++i] : nullptr;
    if (value != nullptr && name == "--presets") {
      arguments.presets = value;
    } else if (value != nullptr && name == "--seed") {
      arguments.seed = std::strtoull(value, nullptr, 10);
    } else if (const auto found = numbers.find(name); value != nullptr && found != numbers.end()) {
      *found->second = std::atoll(value);
    } else {
      fmt::print(stderr, "rtl_random: no argument {} without a value\n", name);
      return 2;
    }
  }
  bool equal = true, any = false;
  for (const RtlLibrary& library : rtl_test_libraries()) {
    const std::string wanted = "," + arguments.presets + ",";
    const auto is_wanted = [&](const std::string& name) {
      return wanted.find("," + name + ",") != std::string::npos;
    };
    if (!arguments.presets.empty() && !is_wanted(library.preset) &&
        !is_wanted(std::filesystem::path(library.preset).stem().string()))
      continue;
    any = true;
    equal = run(library, arguments) && equal;
  }
  if (!any) {
    fmt::print(stderr, "rtl_random: none of the presets {} is built\n", arguments.presets);
    return 2;
  }
  shared_tile.reset();
  return equal ? 0 : 1;
}

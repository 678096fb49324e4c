// SPDX-License-Identifier: Apache-2.0
// The long run of random traffic: rtl_random [--presets A,B] [--head-tokens N] [--seed FIRST] [--scenarios N]
// [--budget CYCLES] [--verbose] [--one-tile]. Scenario i of a preset has seed FIRST + i; a run goes on from
// the seed that the last one printed. A preset that is a file goes by its path or its stem. Prints per preset
// head-tokens, mismatches, cycles per second and what was not met. Exit status: 0 all equal, 1 a difference,
// 2 wrong arguments.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "hostlib/io/error.h"
#include "rtl/bench/tile.h"
#include "tests/rtl/rtl_random.h"

namespace lawcat {
namespace {

struct Arguments {
  std::vector<RtlLibrary> libraries{rtl_test_libraries().begin(), rtl_test_libraries().end()};
  std::int64_t head_tokens = 10000, seed = 1, scenarios = INT64_MAX, budget = 40000;
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
  std::int64_t seed = arguments.seed;
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

std::int64_t number(const std::string& option, const std::string& text, std::int64_t least) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || last != end || value < least)
    throw InputError(option, fmt::format("a number from {} on", least), fmt::format("\"{}\"", text));
  return value;
}

RtlLibrary library_of(const std::string& name) {
  std::vector<std::string> built;
  for (const RtlLibrary& library : rtl_test_libraries()) {
    const std::filesystem::path preset = library.preset;
    std::error_code none;
    if (name == preset || name == preset.stem() || std::filesystem::equivalent(name, preset, none))
      return library;
    built.push_back(preset.stem().string());
  }
  throw InputError("--presets", fmt::format("presets of this build ({})", fmt::join(built, ", ")),
                   fmt::format("\"{}\"", name));
}

Arguments parse(const std::vector<std::string>& words) {
  Arguments arguments;
  const std::map<std::string, std::int64_t*> numbers{{"--head-tokens", &arguments.head_tokens},
                                                     {"--seed", &arguments.seed},
                                                     {"--scenarios", &arguments.scenarios},
                                                     {"--budget", &arguments.budget}};
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& name = words[i];
    const bool has_value = i + 1 < words.size();
    if (name == "--verbose" || name == "--one-tile") {
      (name == "--verbose" ? arguments.verbose : arguments.one_tile) = true;
    } else if (has_value && name == "--presets") {
      arguments.libraries.clear();
      const std::string& presets = words[++i];
      for (std::size_t first = 0; first <= presets.size();) {
        const std::size_t end = std::min(presets.find(',', first), presets.size());
        arguments.libraries.push_back(library_of(presets.substr(first, end - first)));
        first = end + 1;
      }
    } else if (const auto found = numbers.find(name); has_value && found != numbers.end()) {
      *found->second = number(name, words[++i], name == "--seed" ? 0 : 1);
    } else {
      throw InputError(fmt::format("no argument {} without a value", name));
    }
  }
  return arguments;
}

}  // namespace
}  // namespace lawcat

int main(int count, char** words) {
  using namespace lawcat;
  try {
    const Arguments arguments = parse({words + 1, words + count});
    bool equal = true;
    for (const RtlLibrary& library : arguments.libraries) equal = run(library, arguments) && equal;
    shared_tile.reset();
    return equal ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "rtl_random: {}\n", error.what());
    return 2;
  }
}

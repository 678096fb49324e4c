// SPDX-License-Identifier: Apache-2.0
// Simulated engine cycles per second of wall time, timing only and with values: systemc_speed [PRESET
// [TOKENS]].
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <random>

#include "hostlib/arch/timing.h"
#include "hostlib/backend/fixed.h"
#include "sim/systemc_backend.h"

namespace lawcat {
namespace {

constexpr UnitShape kLlama1B{.heads = 32, .kv_heads = 8, .head_dim = 64, .feature_dim = 32};

std::vector<float> random_values(std::mt19937& generator, int count, float scale) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

void measure(const char* what, const Preset& preset, std::span<const UnitWeights> weights, const Job& job,
             int jobs) {
  const auto backend = make_systemc_backend(preset);
  const auto session = backend->open(kLlama1B, weights, 1);
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < jobs; ++i) session->run(job);
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  const Counters counters = session->counters();
  const auto bottleneck = find_bottleneck([&](const std::string& name) { return counters.value(name); });
  fmt::print(
      "{}: {} jobs of {} tokens, {:.4g} cycles on {:.0f} engines in {:.3f} s: {:.1f} M engine cycles/s; {}\n",
      what, jobs, job.tokens, counters.value("unit.cycles"),
      counters.value("unit.engine_cycles") / counters.value("unit.cycles"), wall.count(),
      counters.value("unit.engine_cycles") / wall.count() / 1e6, bottleneck.reason);
}

}  // namespace
}  // namespace lawcat

int main(int argc, char** argv) {
  using namespace lawcat;
  const Preset preset = load_preset(argc > 1 ? argv[1] : preset_names().front());
  const int tokens = argc > 2 ? std::atoi(argv[2]) : 1024;
  fmt::print("preset {}, {} lanes\n", preset.name, preset.engine.state_lanes);
  measure("timing only, prefill", preset, {}, {.tokens = 16 * tokens}, 4);
  measure("timing only, decode", preset, {}, {.tokens = 1}, 20000);

  std::mt19937 generator(1);
  const std::vector<UnitWeights> weights{{random_values(generator, 32 * 64 * 4, 0.5F),
                                          random_values(generator, 32 * 64 * 4, 0.5F),
                                          random_values(generator, 32 * 64 * 32, 0.3F)}};
  const auto q = random_values(generator, tokens * 32 * 64, 1),
             k = random_values(generator, tokens * 8 * 64, 1),
             v = random_values(generator, tokens * 8 * 64, 1),
             gk = random_values(generator, tokens * 8 * 64, 4);
  std::vector<float> o(q.size());
  const Job job{0, tokens, q, k, v, gk, o};
  measure("with values, prefill", preset, weights, job, 1);
  const auto fixed = make_fixed_backend(preset)->open(kLlama1B, weights, 1);
  const auto start = std::chrono::steady_clock::now();
  fixed->run(job);
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  fmt::print("the same values without time (backend fixed): {:.3f} s\n", wall.count());
}

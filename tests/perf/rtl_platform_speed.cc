// SPDX-License-Identifier: Apache-2.0
// Wall time of the platform with Verilated tiles: rtl_platform_speed [PRESET [TOKENS]], a prefill with two
// heads on each engine.
#include <fmt/format.h>
#include <omp.h>

#include <cstdlib>

#include "hostlib/trace/random_vectors.h"
#include "sim/platform_tiles.h"
#include "sim/systemc_backend.h"

int main(int argc, char** argv) {
  using namespace lawcat;
  const Preset preset = load_preset(argc > 1 ? argv[1] : "edge");
  const int heads = 2 * preset.engine.count;
  const UnitVectors x =
      random_vectors({heads, heads, 64, 32}, argc > 2 ? std::atoi(argv[2]) : 200, GateRegime::plain, 1);
  const std::vector<UnitWeights> layers{x.weights};
  const auto backend = make_systemc_backend(preset, {.tiles = make_rtl_tiles(preset)});
  const auto session = backend->open(x.shape, layers, 1);
  std::vector<float> o(x.q.size());
  const double start = omp_get_wtime();
  session->run(x.job(0, x.tokens, o));
  const double seconds = omp_get_wtime() - start;
  const double cycles = session->counters().value("unit.cycles");
  fmt::print("{}: {} engines, {:.0f} cycles in {:.2f} s: {:.3f} M engine-cycles/s\n", preset.name,
             preset.engine.count, cycles, seconds, cycles * preset.engine.count / seconds / 1e6);
}

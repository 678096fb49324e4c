// SPDX-License-Identifier: Apache-2.0
// Speed of the Verilated tiles in a long prefill, rtl_speed [PRESET [PACKETS]]: cycles that one tile
// simulates in a second of processor time; and cycles of all tiles that the engines of the preset simulate in
// a second of wall time, as many side by side as there are cores.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "rtl/bench/driver.h"
#include "rtl/bench/registers.h"
#include "rtl/bench/stream.h"
#include "rtl/bench/tile.h"

namespace lawcat {
namespace {

namespace reg = tile_register;

constexpr int kHeadDim = 64, kFeatureDim = 32, kHeads = 4;

std::vector<std::int32_t> random_numbers(std::mt19937& generator, int count, int range) {
  std::uniform_int_distribution<std::int32_t> numbers(-range, range);
  std::vector<std::int32_t> values(static_cast<std::size_t>(count));
  for (std::int32_t& value : values) value = numbers(generator);
  return values;
}

class Prefill {
 public:
  Prefill(const RtlLibrary& library, const Preset& preset)
      : format_(preset, kHeadDim, kFeatureDim),
        tile_(library.make()),
        driver_(*tile_, format_.parameters().stream_width) {
    driver_.reset();
    driver_.write(reg::kShape, kHeadDim | kFeatureDim << 8);
    driver_.write(reg::kControl, reg::kEnable);
    for (Packet& packet : format_.load_tables()) driver_.send(std::move(packet));
    std::mt19937 generator(1);
    Saturations ignored{};
    const DatapathRules rules(preset.datapath);
    std::uniform_real_distribution<float> reals(-0.5F, 0.5F);
    for (int head = 0; head < kHeads; ++head) {
      UnitWeights weights{std::vector<float>(kHeadDim * kConvTaps), std::vector<float>(kHeadDim * kConvTaps),
                          std::vector<float>(kHeadDim * kFeatureDim)};
      for (auto* values : {&weights.q_conv1d, &weights.k_conv1d, &weights.feature_map})
        for (float& value : *values) value = reals(generator);
      for (Packet& packet :
           format_.load_weights(head, HeadWeights(rules, {1, 1, kHeadDim, kFeatureDim}, weights, 0, ignored)))
        driver_.send(std::move(packet));
    }
    driver_.wait_idle();
    driver_.write(reg::kControl, reg::kEnable | reg::kClearCounters);
    for (int i = 0; i < 16; ++i)
      kinds_.push_back(format_.token(
          {.kind = 1, .heads_or_region = kHeads}, random_numbers(generator, kHeadDim, 1000),
          random_numbers(generator, kHeadDim, 200), random_numbers(generator, 2 * kFeatureDim, 3000),
          random_numbers(generator, kHeads * kHeadDim, 1000)));
  }

  /// Returns the cycles that the packets took.
  std::int64_t run(int packets) {
    const std::int64_t first = driver_.cycles();
    for (int sent = 0, done = 0; done < packets; ++done) {
      for (; sent < packets && driver_.queued() < 4; ++sent)
        driver_.send(kinds_[static_cast<std::size_t>(sent % 16)]);
      driver_.receive();
    }
    return driver_.cycles() - first;
  }

  double state_update_busy() {
    constexpr int kStateUpdate = 6;
    return static_cast<double>(driver_.counter(kCounterBusy + kStateUpdate)) /
           static_cast<double>(driver_.counter(kCounterCycles));
  }

 private:
  StreamFormat format_;
  std::unique_ptr<RtlTile> tile_;
  TileDriver driver_;
  std::vector<Packet> kinds_;
};

void measure(const RtlLibrary& library, int packets) {
  const Preset preset = load_preset(library.preset);
  Prefill one(library, preset);
  const std::clock_t start = std::clock();
  const auto cycles = static_cast<double>(one.run(packets));
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  fmt::print(
      "{}: {} lanes, {} head-tokens, {:.0f} cycles in {:.2f} s of processor time: {:.3f} M cycles/s; state "
      "update busy {:.1f} %\n",
      library.preset, preset.engine.state_lanes, packets * kHeads, cycles, seconds, cycles / seconds / 1e6,
      100 * one.state_update_busy());

  const int engines = std::min(preset.engine.count, omp_get_max_threads());
  std::vector<std::unique_ptr<Prefill>> all;
  for (int e = 0; e < engines; ++e) all.push_back(std::make_unique<Prefill>(library, preset));
  std::int64_t engine_cycles = 0;
  const double wall_start = omp_get_wtime();
#pragma omp parallel for num_threads(engines) reduction(+ : engine_cycles)
  for (int e = 0; e < engines; ++e) engine_cycles += all[static_cast<std::size_t>(e)]->run(packets);
  const double wall = omp_get_wtime() - wall_start;
  fmt::print(
      "{}: {} of {} engines side by side, {} engine-cycles in {:.2f} s of wall time: {:.3f} M "
      "engine-cycles/s\n",
      library.preset, engines, preset.engine.count, engine_cycles, wall,
      static_cast<double>(engine_cycles) / wall / 1e6);
}

}  // namespace
}  // namespace lawcat

int main(int argc, char** argv) {
  using namespace lawcat;
  const int packets = argc > 2 ? std::atoi(argv[2]) : 1000;
  for (const RtlLibrary& library : rtl_libraries())
    if (argc < 2 || std::string(argv[1]) == library.preset) measure(library, packets);
}

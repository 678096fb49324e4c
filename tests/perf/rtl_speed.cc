// SPDX-License-Identifier: Apache-2.0
// Simulated cycles per second of processor time of the Verilated tiles in a long prefill: rtl_speed [PRESET
// [PACKETS]].
#include <fmt/format.h>

#include <cstdlib>
#include <ctime>
#include <random>
#include <string>

#include "rtl/bench/driver.h"
#include "rtl/bench/registers.h"
#include "rtl/bench/stream.h"
#include "rtl/bench/tile.h"

namespace lawcat {
namespace {

namespace reg = tile_register;

std::vector<std::int32_t> random_numbers(std::mt19937& generator, int count, int range) {
  std::uniform_int_distribution<std::int32_t> numbers(-range, range);
  std::vector<std::int32_t> values(static_cast<std::size_t>(count));
  for (std::int32_t& value : values) value = numbers(generator);
  return values;
}

void measure(const RtlLibrary& library, int packets) {
  constexpr int kHeadDim = 64, kFeatureDim = 32, kHeads = 4;
  const Preset preset = load_preset(library.preset);
  const StreamFormat format(preset, kHeadDim, kFeatureDim);
  const auto tile = library.make();
  TileDriver driver(*tile, format.parameters().stream_width);
  driver.reset();
  driver.write(reg::kShape, kHeadDim | kFeatureDim << 8);
  driver.write(reg::kControl, reg::kEnable);
  for (Packet& packet : format.load_tables()) driver.send(std::move(packet));
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
         format.load_weights(head, HeadWeights(rules, {1, 1, kHeadDim, kFeatureDim}, weights, 0, ignored)))
      driver.send(std::move(packet));
  }
  driver.wait_idle();
  driver.write(reg::kControl, reg::kEnable | reg::kClearCounters);

  std::vector<Packet> kinds;
  for (int i = 0; i < 16; ++i)
    kinds.push_back(format.token(
        {.kind = 1, .heads_or_region = kHeads}, random_numbers(generator, kHeadDim, 1000),
        random_numbers(generator, kHeadDim, 200), random_numbers(generator, 2 * kFeatureDim, 3000),
        random_numbers(generator, kHeads * kHeadDim, 1000)));
  const std::int64_t first = driver.cycles();
  const std::clock_t start = std::clock();
  for (int sent = 0, done = 0; done < packets; ++done) {
    for (; sent < packets && driver.queued() < 4; ++sent)
      driver.send(kinds[static_cast<std::size_t>(sent % 16)]);
    driver.receive();
  }
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  const auto cycles = static_cast<double>(driver.cycles() - first);
  constexpr int kStateUpdate = 6;
  fmt::print(
      "{}: {} lanes, {} head-tokens, {:.0f} cycles in {:.2f} s of processor time: {:.3f} M cycles/s; state "
      "update busy {:.1f} %\n",
      library.preset, preset.engine.state_lanes, packets * kHeads, cycles, seconds, cycles / seconds / 1e6,
      100 * static_cast<double>(driver.counter(kCounterBusy + kStateUpdate)) /
          static_cast<double>(driver.counter(kCounterCycles)));
}

}  // namespace
}  // namespace lawcat

int main(int argc, char** argv) {
  using namespace lawcat;
  const int packets = argc > 2 ? std::atoi(argv[2]) : 1000;
  for (const RtlLibrary& library : rtl_libraries())
    if (argc < 2 || std::string(argv[1]) == library.preset) measure(library, packets);
}

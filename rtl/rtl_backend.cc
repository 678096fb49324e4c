// SPDX-License-Identifier: Apache-2.0
// See rtl_backend.h.
#include "rtl/rtl_backend.h"

#include <algorithm>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/io/interrupt.h"
#include "rtl/rtl_unit.h"

namespace lawcat {
namespace {

/// Tokens stream through the parts' slots as fast as the streams are let.
class RtlSession final : public Session {
 public:
  RtlSession(std::shared_ptr<RtlMachine> machine, const UnitShape& shape, std::span<const UnitWeights> layers,
             int most_slots)
      : machine_(std::move(machine)), shape_(shape), unit_({machine_}, shape, layers, most_slots) {}

  void run(const Job& job) override {
    validate(shape_, job);
    if (job.timing_only())
      throw InputError("backend rtl", "a job with values", "a timing-only job (it simulates values)");
    unit_.check_layer(job.layer);
    unit_.acquire();
    std::int64_t slowest = 0;
    for (const std::vector<int>& share : unit_.shares()) {
      std::int64_t cycles = 0;
      const auto blocks = static_cast<std::size_t>(unit_.blocks());
      for (std::size_t first = 0; first < share.size(); first += blocks)
        cycles += run_parts(job, std::span(share).subspan(first, std::min(blocks, share.size() - first)));
      slowest = std::max(slowest, cycles);
    }
    cycles_ += slowest;
  }

  std::vector<double> state(int layer) const override { return unit_.state(layer); }
  void set_state(int layer, std::span<const double> state) override { unit_.set_state(layer, state); }
  UnitContext save(int layer) const override { return unit_.save(layer); }
  void restore(int layer, const UnitContext& saved) override { unit_.restore(layer, saved); }

  Counters counters() const override {
    Counters all = unit_.saturations();
    const auto add = [&all](const std::string& name, std::string_view unit, std::int64_t value) {
      all.add("rtl." + name, unit, static_cast<double>(value));
    };
    const auto count = [this](int counter) { return unit_.counts()[static_cast<std::size_t>(counter)]; };
    add("cycles", "cycles", cycles_);
    add("transfer_cycles", "cycles", unit_.transfer_cycles());
    for (int s = 0; s < static_cast<int>(kTileStages.size()); ++s) {
      const std::string stage(kTileStages[static_cast<std::size_t>(s)]);
      add(stage + ".busy_cycles", "cycles", count(kCounterBusy + s));
      add(stage + ".stall_cycles", "cycles", count(kCounterStall + s));
      add(stage + ".starve_cycles", "cycles", count(kCounterStarve + s));
    }
    add("head_tokens", "events", count(kCounterHeadTokens));
    add("beats_in", "events", count(kCounterBeatsIn));
    add("beats_out", "events", count(kCounterBeatsOut));
    return all;
  }

 private:
  /// Streams all tokens of the job through these parts; returns the cycles from the first beat to the end.
  std::int64_t run_parts(const Job& job, std::span<const int> parts) {
    constexpr std::size_t kQueued = 64;  // more packets than the tile takes in before an answer comes out
    unit_.place(job.layer, parts);
    TileDriver& driver = machine_->engine.driver();
    machine_->engine.start_counting();
    const std::int64_t start = driver.cycles();
    const auto total = static_cast<std::int64_t>(parts.size()) * job.tokens;
    const auto part_of = [&](std::int64_t n) { return parts[static_cast<std::size_t>(n) % parts.size()]; };
    const auto token_of = [&](std::int64_t n) {
      return static_cast<int>(n / static_cast<std::int64_t>(parts.size()));
    };
    for (std::int64_t sent = 0, done = 0; done < total; ++done) {
      for (; sent < total && driver.queued() < kQueued; ++sent)
        driver.send(unit_.token(job, token_of(sent), part_of(sent), static_cast<std::uint32_t>(sent)));
      check_interrupt();  // the tile is left in the middle of its work: this backend does no more
      unit_.take(job, token_of(done), part_of(done), static_cast<std::uint32_t>(done), driver.receive());
    }
    const std::int64_t cycles = driver.cycles() - start;
    unit_.count(machine_->engine.stop_counting());
    if (job.tokens > 0) unit_.ran(job.layer, parts);
    return cycles;
  }

  std::shared_ptr<RtlMachine> machine_;
  UnitShape shape_;
  RtlUnit unit_;
  std::int64_t cycles_ = 0;
};

class RtlBackend final : public Backend {
 public:
  RtlBackend(const Preset& preset, const RtlOptions& options)
      : machine_(std::make_shared<RtlMachine>(preset)), most_slots_(options.most_slots) {
    TileDriver& driver = machine_->engine.driver();
    driver.stall_input(random_stalls(options.stall_seed, options.input_stall_percent));
    driver.stall_output(random_stalls(~options.stall_seed, options.output_stall_percent));
  }

  std::string_view name() const override { return "rtl"; }

  std::unique_ptr<Session> open(const UnitShape& shape, std::span<const UnitWeights> layers, int) override {
    validate(shape);
    if (layers.empty()) throw InputError("backend rtl", "weights of at least one layer", "none");
    for (const UnitWeights& weights : layers) validate(shape, weights);
    return std::make_unique<RtlSession>(machine_, shape, layers, most_slots_);
  }

 private:
  std::shared_ptr<RtlMachine> machine_;
  int most_slots_;
};

}  // namespace

std::unique_ptr<Backend> make_rtl_backend(const Preset& preset, const RtlOptions& options) {
  return std::make_unique<RtlBackend>(preset, options);
}

std::vector<std::string> rtl_presets() {
  std::vector<std::string> names;
  for (const RtlLibrary& library : rtl_libraries()) names.emplace_back(library.preset);
  return names;
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// See rtl_backend.h.
#include "rtl/rtl_backend.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <iterator>
#include <utility>

#include "hostlib/arch/timing.h"
#include "hostlib/io/error.h"
#include "hostlib/io/interrupt.h"
#include "rtl/rtl_unit.h"

namespace lawcat {
namespace {

/// Tokens stream through the parts' slots as fast as the streams are let.
class RtlSession final : public Session {
 public:
  RtlSession(std::vector<std::shared_ptr<RtlMachine>> machines, const UnitShape& shape,
             std::span<const UnitWeights> layers, int most_slots)
      : machines_(std::move(machines)), shape_(shape), unit_(machines_, shape, layers, most_slots) {}

  void run(const Job& job) override;
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
  /// What an engine did for a job.
  struct Share {
    std::int64_t cycles = 0;
    std::vector<RtlCounts> counts;
    std::exception_ptr failure;
  };

  /// The job on engine `e`, unless another engine failed.
  void run_share(const Job& job, std::size_t e, Share& share, const std::atomic<bool>& failed) {
    const std::span<const int> parts = unit_.shares()[e];
    const auto blocks = static_cast<std::size_t>(unit_.blocks());
    for (std::size_t first = 0; first < parts.size() && !failed; first += blocks)
      run_parts(job, machines_[e]->engine, parts.subspan(first, std::min(blocks, parts.size() - first)),
                share, failed);
  }

  /// Streams all tokens of the job through these parts; its cycles are those from the first beat to the end.
  void run_parts(const Job& job, RtlEngine& engine, std::span<const int> parts, Share& share,
                 const std::atomic<bool>& failed) {
    constexpr std::size_t kQueued = 64;  // more packets than the tile takes in before an answer comes out
    unit_.place(job.layer, parts);
    TileDriver& driver = engine.driver();
    engine.start_counting();
    const std::int64_t start = driver.cycles();
    const auto total = static_cast<std::int64_t>(parts.size()) * job.tokens;
    const auto part_of = [&](std::int64_t n) { return parts[static_cast<std::size_t>(n) % parts.size()]; };
    const auto token_of = [&](std::int64_t n) {
      return static_cast<int>(n / static_cast<std::int64_t>(parts.size()));
    };
    for (std::int64_t sent = 0, done = 0; done < total; ++done) {
      for (; sent < total && driver.queued() < kQueued; ++sent)
        driver.send(unit_.token(job, token_of(sent), part_of(sent), static_cast<std::uint32_t>(sent)));
      // The tiles are left in the middle of their work: this backend does no more.
      if (failed) return;
      check_interrupt();
      unit_.take(job, token_of(done), part_of(done), static_cast<std::uint32_t>(done), driver.receive());
    }
    share.cycles += driver.cycles() - start;
    share.counts.push_back(engine.stop_counting());
    if (job.tokens > 0) unit_.ran(job.layer, parts);
  }

  std::vector<std::shared_ptr<RtlMachine>> machines_;  ///< one per engine that has heads
  UnitShape shape_;
  RtlUnit unit_;
  std::int64_t cycles_ = 0;
};

void RtlSession::run(const Job& job) {
  validate(shape_, job);
  if (job.timing_only())
    throw InputError("backend rtl", "a job with values", "a timing-only job (it simulates values)");
  unit_.check_layer(job.layer);
  unit_.acquire();
  std::vector<Share> shares(unit_.shares().size());
  std::atomic<bool> failed = false;
#pragma omp parallel for schedule(dynamic)
  for (std::size_t e = 0; e < shares.size(); ++e) {
    try {
      run_share(job, e, shares[e], failed);
    } catch (...) {
      shares[e].failure = std::current_exception();
      failed = true;
    }
  }
  std::int64_t slowest = 0;
  for (const Share& share : shares) {
    if (share.failure) std::rethrow_exception(share.failure);
    for (const RtlCounts& counts : share.counts) unit_.count(counts);
    slowest = std::max(slowest, share.cycles);
  }
  cycles_ += slowest;
}

class RtlBackend final : public Backend {
 public:
  RtlBackend(const Preset& preset, const RtlOptions& options) : preset_(preset), options_(options) {
    add_machines(1);
  }

  std::string_view name() const override { return "rtl"; }

  std::unique_ptr<Session> open(const UnitShape& shape, std::span<const UnitWeights> layers, int) override {
    validate(shape);
    if (layers.empty()) throw InputError("backend rtl", "weights of at least one layer", "none");
    for (const UnitWeights& weights : layers) validate(shape, weights);
    const auto engines = static_cast<std::ptrdiff_t>(
        place_layer(preset_, shape.heads, shape.kv_heads, shape.head_dim, shape.feature_dim).size());
    add_machines(engines);
    return std::make_unique<RtlSession>(std::vector(machines_.begin(), std::next(machines_.begin(), engines)),
                                        shape, layers, options_.most_slots);
  }

 private:
  void add_machines(std::ptrdiff_t wanted) {
    while (std::ssize(machines_) < wanted) {
      machines_.push_back(std::make_shared<RtlMachine>(preset_));
      TileDriver& driver = machines_.back()->engine.driver();
      driver.stall_input(random_stalls(options_.stall_seed, options_.input_stall_percent));
      driver.stall_output(random_stalls(~options_.stall_seed, options_.output_stall_percent));
    }
  }

  const Preset preset_;
  const RtlOptions options_;
  std::vector<std::shared_ptr<RtlMachine>> machines_;  ///< as many as a session has needed so far
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

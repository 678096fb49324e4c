// SPDX-License-Identifier: Apache-2.0
// Verilated tiles in the platform: one cycle of the RTL per cycle of simulated time while there is work in
// it.
#include <fmt/format.h>

#include <deque>
#include <utility>

#include "hostlib/io/error.h"
#include "rtl/rtl_unit.h"
#include "sim/platform_tiles.h"

namespace lawcat {
namespace {

class RtlTimedTile final : public Tile {
 public:
  explicit RtlTimedTile(std::shared_ptr<RtlMachine> machine) : machine_(std::move(machine)) {
    driver().stall_output([this](std::int64_t) { return !ready_; });
  }

  /// What the packets to come consist of: of each token these parts.
  void load(RtlUnit& unit, const Job& job, std::span<const int> parts) {
    unit_ = &unit;
    job_ = &job;
    parts_ = parts;
  }
  const RtlCounts& counts() const {
    stop();
    return counts_;
  }

  void begin(const TileTiming&, Cycle at) override {
    begun_ = next_ = at;
    sent_ = taken_ = answered_ = 0;
    offered_.reset();
    machine_->engine.start_counting();
    counting_ = true;
  }
  void observe(bool on) override { observed_ = on; }

  // What the port says of cycles up to `now` is known before `now`: transfers take time.
  std::optional<Cycle> run(TilePort& port, Cycle now) override {
    if (now < next_) return wake();
    if (!offered_) {
      if (const std::optional<TilePacket> packet = port.next_packet()) offered_ = packet->offered;
    }
    if (idle() && (!offered_ || *offered_ > now)) return offered_;
    if (offered_ && *offered_ <= now && sent_ == taken_) {
      driver().send(unit_->token(*job_, token(sent_), part(sent_), static_cast<std::uint32_t>(sent_)));
      ++sent_;
      input_start_ = now;
    }
    if (!driver().receiving()) {
      const std::optional<Cycle> room = port.answer_room();
      ready_ = room && *room <= now;
    }
    const bool within = driver().receiving();
    driver().step();
    if (!within) output_start_ = now;
    if (sent_ > taken_ && driver().queued() == 0) {
      if (observed_) port.passed(Stage::unpack, taken_, input_start_, now + 1);
      ++taken_;
      offered_.reset();
      port.taken(now);
    }
    if (const std::optional<Packet> answer = driver().take()) {
      unit_->take(*job_, token(answered_), part(answered_), static_cast<std::uint32_t>(answered_), *answer);
      if (observed_) port.passed(Stage::pack, answered_, output_start_, now + 1);
      ++answered_;
      port.answered(now);
    }
    next_ = now + 1;
    return next_;
  }

  std::int64_t updated_packets() const override { return 0; }
  StageCycles cycles(Stage stage, Cycle end) const override {
    stop();
    const auto s = static_cast<std::size_t>(stage);
    const Cycle busy = counts_[kCounterBusy + s], stall = counts_[kCounterStall + s];
    // Cycles that were not stepped are cycles without work.
    return {busy, stall, end - begun_ - busy - stall};
  }

 private:
  TileDriver& driver() const { return machine_->engine.driver(); }
  bool idle() const { return sent_ == answered_; }
  std::optional<Cycle> wake() const { return idle() && !offered_ ? std::nullopt : std::optional(next_); }
  int token(std::int64_t packet) const {
    return static_cast<int>(packet / static_cast<std::int64_t>(parts_.size()));
  }
  int part(std::int64_t packet) const { return parts_[static_cast<std::size_t>(packet) % parts_.size()]; }
  void stop() const {
    if (!counting_) return;
    ready_ = true;
    counts_ = machine_->engine.stop_counting();
    counting_ = false;
  }

  std::shared_ptr<RtlMachine> machine_;
  RtlUnit* unit_ = nullptr;
  const Job* job_ = nullptr;
  std::span<const int> parts_;
  Cycle begun_ = 0, next_ = 0;  ///< next_: the first cycle that was not stepped
  std::int64_t sent_ = 0, taken_ = 0, answered_ = 0;
  std::optional<Cycle> offered_;  ///< the next packet, from when on
  Cycle input_start_ = 0, output_start_ = 0;
  bool observed_ = false;
  mutable bool ready_ = true, counting_ = false;
  mutable RtlCounts counts_{};
};

class RtlTileSession final : public TileSession {
 public:
  RtlTileSession(std::vector<std::shared_ptr<RtlMachine>> machines, std::vector<RtlTimedTile*> tiles,
                 const UnitShape& shape, std::span<const UnitWeights> layers)
      : tiles_(std::move(tiles)), unit_(std::move(machines), shape, layers) {
    // A packet has all heads of a group that its engine has, and all of them have slots at the same time.
    for (const std::vector<int>& share : unit_.shares()) {
      if (static_cast<int>(share.size()) > unit_.blocks())
        throw InputError(
            "backend rtl",
            fmt::format("heads in {} packets a token and engine, as there are slots", unit_.blocks()),
            fmt::format("{}", share.size()));
      for (std::size_t i = 1; i < share.size(); ++i)
        if (unit_.part(share[i]).kv_head == unit_.part(share[i - 1]).kv_head)
          throw InputError("backend rtl",
                           fmt::format("at most {} heads of a group on an engine, one packet",
                                       unit_.part(share[i - 1]).heads),
                           "more");
    }
  }

  void begin(const Job& job) override {
    unit_.acquire();
    for (std::size_t e = 0; e < unit_.shares().size(); ++e) {
      unit_.place(job.layer, unit_.shares()[e]);
      tiles_[e]->load(unit_, job, unit_.shares()[e]);
    }
  }
  void end(const Job& job) override {
    for (std::size_t e = 0; e < unit_.shares().size(); ++e) {
      unit_.count(tiles_[e]->counts());
      unit_.ran(job.layer, unit_.shares()[e]);
    }
  }

  std::vector<double> state(int layer) const override { return unit_.state(layer); }
  void set_state(int layer, std::span<const double> state) override { unit_.set_state(layer, state); }
  UnitContext save(int layer) const override { return unit_.save(layer); }
  void restore(int layer, const UnitContext& context) override { unit_.restore(layer, context); }
  Counters counters() const override { return unit_.saturations(); }

 private:
  std::vector<RtlTimedTile*> tiles_;
  RtlUnit unit_;
};

class RtlTiles final : public PlatformTiles {
 public:
  explicit RtlTiles(const Preset& preset) {
    for (int e = 0; e < preset.engine.count; ++e) machines_.push_back(std::make_shared<RtlMachine>(preset));
    tiles_.resize(machines_.size());
  }

  std::string_view name() const override { return "rtl"; }
  std::unique_ptr<Tile> make(int engine) override {
    const auto e = static_cast<std::size_t>(engine);
    auto tile = std::make_unique<RtlTimedTile>(machines_[e]);
    tiles_[e] = tile.get();
    return tile;
  }
  std::unique_ptr<TileSession> open(const UnitShape& shape, std::span<const UnitWeights> layers) override {
    return std::make_unique<RtlTileSession>(machines_, tiles_, shape, layers);
  }

 private:
  std::vector<std::shared_ptr<RtlMachine>> machines_;
  std::vector<RtlTimedTile*> tiles_;  ///< the platform's
};

}  // namespace

std::shared_ptr<PlatformTiles> make_rtl_tiles(const Preset& preset) {
  return std::make_shared<RtlTiles>(preset);
}

}  // namespace lawcat

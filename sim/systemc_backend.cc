// SPDX-License-Identifier: Apache-2.0
// See systemc_backend.h.
#include "sim/systemc_backend.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "hostlib/backend/fixed.h"
#include "hostlib/io/error.h"
#include "sim/accelerator/accelerator.h"
#include "sim/platform_tiles.h"

// libsystemc has a `main` of its own that calls sc_main; a program with its own `main` still has to define
// this.
int sc_main(int, char**) {
  return 1;
}

namespace lawcat {
namespace {

/// A SystemC kernel of its own: modules can only be made before a kernel's first run, and a process may want
/// several platforms. The kernel's functions act on one global context, which `Use` exchanges for the time
/// being.
class SimulationContext {
 public:
  class Use {
   public:
    explicit Use(SimulationContext& context)
        : lock_(mutex_), current_(sc_core::sc_curr_simcontext), default_(sc_core::sc_default_global_context) {
      sc_core::sc_curr_simcontext = sc_core::sc_default_global_context = context.context_.get();
    }
    ~Use() {
      sc_core::sc_curr_simcontext = current_;
      sc_core::sc_default_global_context = default_;
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    std::lock_guard<std::mutex> lock_;
    sc_core::sc_simcontext* current_;
    sc_core::sc_simcontext* default_;
  };

 private:
  static inline std::mutex mutex_;
  std::unique_ptr<sc_core::sc_simcontext> context_ = std::make_unique<sc_core::sc_simcontext>();
};

/// The elaborated platform, shared by the backend and its sessions.
struct Platform {
  Platform(Preset machine, const SystemcOptions& options) : preset(std::move(machine)), tiles(options.tiles) {
    SimulationContext::Use use(context);
    std::function<std::unique_ptr<Tile>(int)> make_tile;
    if (tiles) make_tile = [this](int engine) { return tiles->make(engine); };
    accelerator.emplace("accelerator", preset, options.block_tokens, timeline, make_tile);
  }
  ~Platform() {
    SimulationContext::Use use(context);
    accelerator.reset();
  }

  const Preset preset;
  const std::shared_ptr<PlatformTiles> tiles;
  Timeline timeline;
  SimulationContext context;
  std::optional<Accelerator> accelerator;
  std::int64_t sequences = 0;
};

class SystemcSession : public Session {
 public:
  SystemcSession(std::shared_ptr<Platform> platform, const UnitShape& shape,
                 std::span<const UnitWeights> layers, int layer_count)
      : platform_(std::move(platform)),
        plan_(platform_->preset, shape),
        layer_count_(layer_count),
        sequence_(platform_->sequences++) {
    if (platform_->tiles)
      tiles_ = platform_->tiles->open(shape, layers);
    else if (!layers.empty())
      fixed_ = std::make_unique<FixedUnit>(platform_->preset, shape, layers);
  }

  ~SystemcSession() override {
    SimulationContext::Use use(platform_->context);
    platform_->accelerator->state_buffer.forget(sequence_);
  }

  void run(const Job& job) override {
    check_layer(job.layer);
    if (has_values()) {
      validate(plan_.shape, job);
    } else if (!job.timing_only()) {
      throw InputError("job", "no tensors, because the session was opened without weights", "tensors");
    } else if (job.tokens < 1) {
      throw InputError("job.tokens", "at least 1", std::to_string(job.tokens));
    }
    if (has_values() && job.timing_only())
      throw InputError("job", "tensors, because the session was opened with weights", "none");

    std::vector<Block> blocks;
    BlockSink values;
    if (fixed_)
      values = [&blocks](int first_token, int count, int first_head, int heads) {
        blocks.push_back({first_token, count, first_head, heads});
      };
    {
      SimulationContext::Use use(platform_->context);
      if (tiles_) tiles_->begin(job);
      platform_->accelerator->run(plan_, sequence_, job.layer, (job.layer + 1) % layer_count_, job.tokens,
                                  values, counts_);
      if (tiles_) tiles_->end(job);
    }
    compute(job, blocks);
  }

  std::vector<double> state(int layer) const override {
    return tiles(layer) ? tiles_->state(layer) : fixed(layer).state(layer);
  }
  void set_state(int layer, std::span<const double> state) override {
    if (tiles(layer))
      tiles_->set_state(layer, state);
    else
      fixed(layer).set_state(layer, state);
    replace(layer);
  }
  UnitContext save(int layer) const override {
    return tiles(layer) ? tiles_->save(layer) : fixed(layer).save(layer);
  }
  void restore(int layer, const UnitContext& context) override {
    if (tiles(layer))
      tiles_->restore(layer, context);
    else
      fixed(layer).restore(layer, context);
    replace(layer);
  }
  Counters counters() const override;

 private:
  /// What the state update of one engine passed at one event.
  struct Block {
    int first_token;
    int count;
    int first_head;
    int heads;
  };

  /// The datapath's values, block by block in the order in which the simulated engines went.
  void compute(const Job& job, const std::vector<Block>& blocks) {
    if (blocks.empty()) return;
    const int heads = heads_of_a_thread(plan_.shape);
#pragma omp parallel for schedule(dynamic)
    for (int first = 0; first < plan_.shape.heads; first += heads) {
      for (const Block& block : blocks) {
        const int from = std::max(first, block.first_head);
        const int to = std::min(first + heads, block.first_head + block.heads);
        if (from < to) fixed_->run(job, block.first_token, block.count, from, to - from);
      }
    }
  }

  void check_layer(int layer) const {
    if (layer < 0 || layer >= layer_count_)
      throw InputError("layer", fmt::format("0 to {}", layer_count_ - 1), std::to_string(layer));
  }
  bool has_values() const {
    return fixed_ || tiles_;
  }
  bool tiles(int layer) const {
    check_layer(layer);
    return tiles_ != nullptr;
  }
  FixedUnit& fixed(int layer) const {
    check_layer(layer);
    if (!fixed_)
      throw InputError("session", "one opened with weights, which has a state", "a timing-only session");
    return *fixed_;
  }
  void replace(int layer) {
    SimulationContext::Use use(platform_->context);
    platform_->accelerator->state_buffer.replace({sequence_, layer});
  }

  std::shared_ptr<Platform> platform_;
  UnitPlan plan_;
  int layer_count_;
  std::int64_t sequence_;
  // Where values come from; neither in a session for timing only.
  std::unique_ptr<FixedUnit> fixed_;
  std::unique_ptr<TileSession> tiles_;
  JobCounts counts_;
};

Counters SystemcSession::counters() const {
  Counters all;
  const auto add = [&all](const std::string& name, std::string_view unit, auto amount) {
    all.add(name, unit, static_cast<double>(amount));
  };
  const UnitShape& shape = plan_.shape;
  const Datapath& formats = platform_->preset.datapath;
  const double d = shape.head_dim, f = shape.feature_dim;
  const auto tokens = static_cast<double>(counts_.tokens);
  const double head_tokens = tokens * shape.heads;
  const double group_tokens = tokens * plan_.kv_heads_on_engines;

  add("unit.cycles", "cycles", counts_.cycles);
  add("unit.engine_cycles", "cycles", counts_.engine_cycles);
  add("unit.jobs", "events", counts_.jobs);
  add("unit.tokens", "events", counts_.tokens);
  add("unit.head_tokens", "events", head_tokens);
  for (int s = 0; s < kStageCount; ++s) {
    const auto stage = static_cast<Stage>(s);
    const std::string name{to_string(stage)};
    const StageCycles& cycles = counts_.stages[static_cast<std::size_t>(s)];
    add(name + ".busy_cycles", "cycles", cycles.busy);
    add(name + ".stall_cycles", "cycles", cycles.stall);
    add(name + ".starve_cycles", "cycles", cycles.starve);
    const StageEvents events = stage_events(stage, shape.head_dim, shape.feature_dim);
    const double times = stage == Stage::gate ? group_tokens : head_tokens;
    add(name + ".multiplies", "events", times * events.multiplies);
    add(name + ".adds", "events", times * events.adds);
    add(name + ".lookups", "events", times * events.lookups);
  }

  // A swapped context is state and tails in the proportion in which it consists of them.
  const auto state_bits =
      static_cast<double>(state_bits_per_head(formats, shape.head_dim, shape.feature_dim));
  const auto tails = static_cast<double>(tail_bits(formats, shape.head_dim));
  const double all_state = shape.heads * state_bits;
  const double all_tails = shape.heads * tails;
  const double swapped_in = 8.0 * static_cast<double>(counts_.context_read_bytes) / (all_state + all_tails);
  const double swapped_out = 8.0 * static_cast<double>(counts_.context_write_bytes) / (all_state + all_tails);
  add("state_buffer.read_bits", "bits", head_tokens * state_bits + swapped_out * all_state);
  add("state_buffer.write_bits", "bits", head_tokens * state_bits + swapped_in * all_state);
  // Tails are shifted: whole words are read and written back.
  add("tail_buffer.read_bits", "bits", head_tokens * tails + swapped_out * all_tails);
  add("tail_buffer.write_bits", "bits", head_tokens * tails + swapped_in * all_tails);
  // Packets are written and read once; k and v are read again by every head, from the stages' input buffers.
  std::int64_t packet_bytes = 0;
  for (const EngineShare& share : plan_.shares)
    packet_bytes += input_token_bytes(plan_.layout, share.heads, share.kv_heads, share.kv_heads,
                                      shape.head_dim, shape.feature_dim) +
                    output_token_bytes(plan_.layout, share.heads, share.kv_heads, shape.head_dim);
  const double packets = 8 * tokens * static_cast<double>(packet_bytes);
  add("stream_buffer.write_bits", "bits", packets);
  add("stream_buffer.read_bits", "bits",
      packets + head_tokens * d * (formats.query_key.width + formats.value.width));
  add("weight_buffer.read_bits", "bits",
      head_tokens * (2 * kConvTaps * d * formats.conv_weight.width + d * f * formats.feature_weight.width));

  add("dram.read_bytes", "bytes", counts_.dram_read_bytes);
  add("dram.write_bytes", "bytes", counts_.dram_write_bytes);
  add("dram.busy_cycles", "cycles", counts_.dram_busy_cycles);
  add("interconnect.read_bytes", "bytes", counts_.bus_read_bytes);
  add("interconnect.write_bytes", "bytes", counts_.bus_write_bytes);
  add("interconnect.read_busy_cycles", "cycles", counts_.bus_read_busy_cycles);
  add("interconnect.write_busy_cycles", "cycles", counts_.bus_write_busy_cycles);
  add("dma.transfers", "events", counts_.transfers);
  add("dma.state_read_bytes", "bytes", counts_.context_read_bytes);
  add("dma.state_write_bytes", "bytes", counts_.context_write_bytes);
  if (fixed_) all.add(fixed_->counters());
  if (tiles_) all.add(tiles_->counters());
  return all;
}

class SystemcBackendImpl : public SystemcBackend {
 public:
  SystemcBackendImpl(const Preset& preset, const SystemcOptions& options)
      : platform_(std::make_shared<Platform>(preset, options)) {}

  std::string_view name() const override { return platform_->tiles ? platform_->tiles->name() : "systemc"; }

  std::unique_ptr<Session> open(const UnitShape& shape, std::span<const UnitWeights> layers,
                                int layer_count) override {
    validate(shape);
    for (const UnitWeights& weights : layers) validate(shape, weights);
    if (platform_->tiles && layers.empty())
      throw InputError(fmt::format("backend {}", name()), "weights of at least one layer",
                       "none (it simulates values)");
    const int count = layers.empty() ? layer_count : static_cast<int>(layers.size());
    if (count < 1) throw InputError("layer_count", "at least 1", std::to_string(count));
    return std::make_unique<SystemcSession>(platform_, shape, layers, count);
  }

  void set_timeline(bool on) override { platform_->timeline.enable(on); }
  const std::vector<TimelineSpan>& timeline() const override { return platform_->timeline.spans(); }
  std::int64_t timeline_dropped() const override { return platform_->timeline.dropped(); }

 private:
  std::shared_ptr<Platform> platform_;
};

}  // namespace

std::unique_ptr<SystemcBackend> make_systemc_backend(const Preset& preset, const SystemcOptions& options) {
  if (options.block_tokens < 1)
    throw InputError("block_tokens", "at least 1", std::to_string(options.block_tokens));
  return std::make_unique<SystemcBackendImpl>(preset, options);
}

}  // namespace lawcat

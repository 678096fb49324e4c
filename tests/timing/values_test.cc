// SPDX-License-Identifier: Apache-2.0
// Values on the platform: the bits of the fixed backend, whatever the engines, blocks and memory; and its
// interface.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "hostlib/backend/fixed.h"
#include "hostlib/io/error.h"
#include "tests/timing/machine.h"

namespace lawcat {
namespace {

using testing::HasSubstr;

constexpr int kLayers = 2;
constexpr UnitShape kShape{.heads = 6, .kv_heads = 2, .head_dim = 16, .feature_dim = 8};

std::vector<float> random_values(std::mt19937& generator, std::size_t count, float scale) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

/// Inputs and outputs of one job.
struct Tensors {
  Tensors(std::mt19937& generator, int layer_index, int token_count)
      : layer(layer_index), tokens(token_count) {
    const auto t = static_cast<std::size_t>(tokens);
    q = random_values(generator, t * 6 * 16, 1);
    k = random_values(generator, t * 2 * 16, 1);
    v = random_values(generator, t * 2 * 16, 1);
    gk = random_values(generator, t * 2 * 16, 4);
    o.assign(t * 6 * 16, 0);
  }
  Job job() { return {layer, tokens, q, k, v, gk, o}; }
  int layer, tokens;
  std::vector<float> q, k, v, gk, o;
};

struct Model {
  std::mt19937 generator{7};
  std::vector<UnitWeights> layers;
  std::vector<Tensors> jobs;
  Model() {
    for (int layer = 0; layer < kLayers; ++layer)
      layers.push_back({random_values(generator, 6 * 16 * 4, 0.5F),
                        random_values(generator, 6 * 16 * 4, 0.5F),
                        random_values(generator, 6 * 16 * 8, 0.5F)});
    for (const int tokens : {61, 1, 1, 20})
      for (int layer = 0; layer < kLayers; ++layer) jobs.emplace_back(generator, layer, tokens);
  }
  /// Outputs and final contexts.
  std::pair<std::vector<std::vector<float>>, std::vector<UnitContext>> run(Session& session) {
    std::vector<std::vector<float>> outputs;
    for (Tensors& tensors : jobs) {
      std::fill(tensors.o.begin(), tensors.o.end(), -99.0F);
      session.run(tensors.job());
      outputs.push_back(tensors.o);
    }
    std::vector<UnitContext> contexts;
    for (int layer = 0; layer < kLayers; ++layer) contexts.push_back(session.save(layer));
    return {outputs, contexts};
  }
};

TEST(Values, AreTheBitsOfFixedForAllEnginesBlocksAndBuffers) {
  Model model;
  const auto expected = model.run(*make_fixed_backend(fast_machine())->open(kShape, model.layers, kLayers));
  for (const int engines : {1, 4, 5}) {
    for (const double stream_kib : {16.0, 1024.0}) {
      for (const int block : {1, 3, 1 << 20}) {
        Preset preset = fast_machine();
        preset.engine.count = engines;
        preset.engine.normalise_lanes = 2;
        preset.buffers.stream_kib = stream_kib;
        preset.buffers.state_kib = 8;
        preset.memory.bandwidth_bytes_per_s = 50e9;
        const auto backend = make_systemc_backend(preset, {.block_tokens = block});
        const auto session = backend->open(kShape, model.layers, kLayers);
        const auto got = model.run(*session);
        EXPECT_TRUE(got.first == expected.first) << engines << " engines, blocks of " << block;
        EXPECT_TRUE(got.second == expected.second) << engines << " engines, blocks of " << block;
      }
    }
  }
}

TEST(Values, TakeTheTimeOfTimingOnlyJobs) {
  Model model;
  Preset preset = fast_machine();
  preset.engine.state_lanes = 64;
  const auto with_values = make_systemc_backend(preset)->open(kShape, model.layers, kLayers);
  model.run(*with_values);
  const Counters timed = run_jobs(preset, kShape, {61, 61, 1, 1, 1, 1, 20, 20}, kLayers);
  for (const auto& [name, counter] : timed.all())
    EXPECT_EQ(with_values->counters().value(name), counter.value) << name;
}

TEST(Values, SessionsAreIndependentAndTimeGoesOn) {
  Model model;
  const auto backend = make_systemc_backend(fast_machine());
  const auto first = backend->open(kShape, model.layers, kLayers);
  const auto second = backend->open(kShape, model.layers, kLayers);
  for (Tensors& tensors : model.jobs) {
    first->run(tensors.job());
    const std::vector<float> once = tensors.o;
    second->run(tensors.job());
    EXPECT_EQ(tensors.o, once);
  }
  EXPECT_EQ(first->save(1), second->save(1));
  EXPECT_EQ(first->counters().value("unit.cycles"), second->counters().value("unit.cycles"));
}

TEST(Values, ASavedContextGoesOnWithTheSameBitsElsewhere) {
  Model model;
  const auto backend = make_systemc_backend(fast_machine());
  const auto first = backend->open(kShape, model.layers, kLayers);
  first->run(model.jobs[0].job());
  const auto second = make_systemc_backend(fast_machine())->open(kShape, model.layers, kLayers);
  second->restore(0, first->save(0));
  Tensors next(model.generator, 0, 9);
  first->run(next.job());
  const std::vector<float> once = next.o;
  second->run(next.job());
  EXPECT_EQ(next.o, once);
  EXPECT_EQ(first->state(0), second->state(0));
  // What the host restored lies in DRAM and had to be read; what the unit made itself did not.
  EXPECT_GT(second->counters().value("dma.state_read_bytes"), 0);
  EXPECT_EQ(first->counters().value("dma.state_read_bytes"), 0);
}

TEST(Values, ManyPlatformsLiveInOneProcess) {
  const auto one = make_systemc_backend(fast_machine());
  Preset slow = fast_machine();
  slow.engine.state_lanes = 8;
  const auto first = one->open(kShape, {}, 1);
  first->run({.tokens = 10});
  const auto two = make_systemc_backend(slow);  // made after the first one has run
  const auto second = two->open(kShape, {}, 1);
  second->run({.tokens = 10});
  const double cycles = first->counters().value("unit.cycles");
  first->run({.tokens = 10});
  EXPECT_EQ(first->counters().value("unit.cycles"), 2 * cycles);
  EXPECT_GT(second->counters().value("unit.cycles"), 2 * cycles);
}

TEST(Values, ASessionOutlivesItsBackend) {
  auto backend = make_systemc_backend(fast_machine());
  const auto session = backend->open(kShape, {}, 1);
  backend.reset();
  session->run({.tokens = 3});
  EXPECT_EQ(session->counters().value("unit.tokens"), 3);
}

TEST(Timeline, IsRecordedOnDemandAndItsSpansAreTheBusyTime) {
  Preset preset = fast_machine();
  preset.engine.count = 2;
  preset.engine.state_lanes = 64;
  preset.buffers.stream_kib = 4;
  const auto backend = make_systemc_backend(preset);
  const auto session = backend->open(kShape, {}, 1);
  session->run({.tokens = 40});
  EXPECT_TRUE(backend->timeline().empty());
  const auto before = session->counters();
  backend->set_timeline(true);
  session->run({.tokens = 40});
  double dram = 0, state_update = 0;
  for (const TimelineSpan& span : backend->timeline()) {
    EXPECT_GE(span.start_cycle, before.value("unit.cycles"));
    EXPECT_LE(span.start_cycle + span.cycles, session->counters().value("unit.cycles"));
    if (span.unit == "dram") dram += static_cast<double>(span.cycles);
    if (span.unit == "engine0.state_update" || span.unit == "engine1.state_update")
      state_update += static_cast<double>(span.cycles);
  }
  EXPECT_EQ(dram, session->counters().value("dram.busy_cycles") - before.value("dram.busy_cycles"));
  // Head-tokens follow without a gap here, so that a chunk's span is its busy time.
  EXPECT_EQ(state_update, 40 * 6 * 16);
  EXPECT_EQ(backend->timeline_dropped(), 0);
}

TEST(Timeline, IsBounded) {
  Timeline timeline;
  for (std::size_t i = 0; i < Timeline::kMaxSpans + 5; ++i) timeline.record("dram", 0, 1);
  EXPECT_EQ(timeline.spans().size(), Timeline::kMaxSpans);
  EXPECT_EQ(timeline.dropped(), 5);
}

TEST(Values, JobsThatDoNotBelongToTheSessionAreRefused) {
  Model model;
  const auto backend = make_systemc_backend(fast_machine());
  const auto timing = backend->open(kShape, {}, 2);
  const auto valued = backend->open(kShape, model.layers, kLayers);
  EXPECT_EQ(error_of([&] { timing->run(model.jobs[0].job()); }),
            "job: expected no tensors, because the session was opened without weights, got tensors");
  EXPECT_EQ(error_of([&] { valued->run({.tokens = 1}); }),
            "job: expected tensors, because the session was opened with weights, got none");
  EXPECT_EQ(error_of([&] { timing->run({.tokens = 0}); }), "job.tokens: expected at least 1, got 0");
  EXPECT_EQ(error_of([&] { timing->run({.layer = 2, .tokens = 1}); }), "layer: expected 0 to 1, got 2");
  EXPECT_EQ(error_of([&] { timing->state(0); }),
            "session: expected one opened with weights, which has a state, got a timing-only session");
  EXPECT_EQ(error_of([&] { backend->open(kShape, {}, 0); }), "layer_count: expected at least 1, got 0");
  EXPECT_EQ(error_of([&] { make_systemc_backend(fast_machine(), {.block_tokens = 0}); }),
            "block_tokens: expected at least 1, got 0");
  EXPECT_THAT(
      error_of([&] { backend->open({.heads = 3, .kv_heads = 2, .head_dim = 16, .feature_dim = 8}, {}, 1); }),
      HasSubstr("expected"));
  EXPECT_EQ(timing->counters().value("unit.cycles"), 0);
}

}  // namespace
}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The platform with Verilated tiles has the bits and contexts of `fixed`, and every cycle, transfer and event
// that it has with the model of a tile.
#include <gtest/gtest.h>

#include <algorithm>

#include "hostlib/backend/fixed.h"
#include "hostlib/io/error.h"
#include "hostlib/trace/random_vectors.h"
#include "rtl/rtl_backend.h"
#include "sim/platform_tiles.h"
#include "sim/systemc_backend.h"

namespace lawcat {
namespace {

class RtlPlatform : public testing::TestWithParam<std::string> {
 protected:
  const Preset preset_ = load_preset(GetParam());
  std::unique_ptr<SystemcBackend> with_rtl() const {
    return make_systemc_backend(preset_, {.tiles = make_rtl_tiles(preset_)});
  }
};

/// Random vectors in jobs of so many tokens on two layers. Returns the counters of both.
Counters expect_equal(const Preset& preset, Backend& rtl, const UnitShape& shape,
                      const std::vector<int>& jobs) {
  int tokens = 0;
  for (const int job : jobs) tokens += job;
  const UnitVectors x = random_vectors(shape, tokens, GateRegime::spiky, 7);
  const std::vector<UnitWeights> layers(2, x.weights);
  const auto model = make_systemc_backend(preset);
  const auto a = rtl.open(shape, layers, 0), b = model->open(shape, layers, 0);
  std::vector<float> rtl_o(x.q.size()), model_o(x.q.size());
  for (int first = 0, i = 0; i < static_cast<int>(jobs.size());
       first += jobs[static_cast<std::size_t>(i++)]) {
    for (const auto& [session, o] : {std::pair(a.get(), &rtl_o), std::pair(b.get(), &model_o)}) {
      Job job = x.job(first, jobs[static_cast<std::size_t>(i)], *o);
      job.layer = i % 2;
      session->run(job);
    }
  }
  EXPECT_TRUE(rtl_o == model_o);
  for (int layer = 0; layer < 2; ++layer) EXPECT_TRUE(a->save(layer) == b->save(layer));
  const Counters counted = a->counters(), expected = b->counters();
  EXPECT_GT(counted.value("unit.cycles"), 0);
  EXPECT_EQ(counted.all().size(), expected.all().size());
  for (const auto& [name, counter] : expected.all()) EXPECT_EQ(counted.value(name), counter.value) << name;
  return expected;
}

TEST_P(RtlPlatform, HasTheBitsAndEveryCountOfTheModel) {
  const auto rtl = with_rtl();
  expect_equal(preset_, *rtl, {2, 1, 16, 8}, {1, 30, 2});
  // Many chunks; on edge the stages are so fast that memory is in the way.
  const int heads = preset_.engine.count > 1 ? 2 * preset_.engine.count : 4;
  expect_equal(preset_, *rtl, {heads, heads, 64, 1}, {60, 1, 1});
  expect_equal(preset_, *rtl, {3, 3, 21, 5}, {9, 40});
  // A group on several engines, as far as there are any.
  expect_equal(preset_, *rtl, {8, 1, 16, 8}, {5, 12});
}

TEST_P(RtlPlatform, WaitsForMemoryAsTheModelDoes) {
  // Not the preset that was Verilated, but nothing that its tile could know of.
  Preset slow = preset_;
  slow.memory.latency_s *= 10;
  slow.memory.bandwidth_bytes_per_s /= 8;
  slow.buffers.stream_kib = 4;
  const auto rtl = make_systemc_backend(slow, {.tiles = make_rtl_tiles(slow)});
  const Counters counters = expect_equal(slow, *rtl, {4, 4, 32, 1}, {70, 3});
  EXPECT_GT(counters.value("unpack.starve_cycles"), counters.value("unit.engine_cycles") / 4);
  EXPECT_GT(counters.value("pack.stall_cycles"), 0);
}

TEST_P(RtlPlatform, SessionsAndContextsComeAndGo) {
  const UnitShape shape{2, 2, 16, 8};
  const UnitVectors x = random_vectors(shape, 12, GateRegime::plain, 3);
  const std::vector<UnitWeights> layers(1, x.weights);
  const auto rtl = with_rtl();
  const auto fixed = make_fixed_backend(preset_);
  const auto run = [&x](Session& session, int first, int count) {
    std::vector<float> o(x.q.size());
    session.run(x.job(first, count, o));
    return o;
  };
  const auto reference = fixed->open(shape, layers, 0), one = rtl->open(shape, layers, 0);
  EXPECT_TRUE(run(*one, 0, 6) == run(*reference, 0, 6));
  const auto other =
      rtl->open({1, 1, 8, 4}, std::vector{random_vectors({1, 1, 8, 4}, 1, GateRegime::plain, 1).weights}, 0);
  const UnitContext kept = one->save(0);
  EXPECT_TRUE(kept == reference->save(0));
  const auto moved = rtl->open(shape, layers, 0);
  moved->restore(0, kept);
  const std::vector<float> rest = run(*reference, 6, 6);
  EXPECT_TRUE(run(*moved, 6, 6) == rest);
  EXPECT_TRUE(run(*one, 6, 6) == rest);
  EXPECT_EQ(other->state(0), std::vector<double>(8 * 9));
  // A state given as numbers is rounded; to the same ones.
  const std::vector<double> state = one->state(0);
  EXPECT_EQ(state, reference->state(0));
  for (Session* session : {moved.get(), reference.get()}) session->set_state(0, state);
  EXPECT_EQ(moved->state(0), reference->state(0));
  EXPECT_TRUE(run(*moved, 0, 6) == run(*reference, 0, 6));
}

TEST_P(RtlPlatform, ShowsItsPortsOnTheTimeline) {
  const auto rtl = with_rtl();
  rtl->set_timeline(true);
  const UnitShape shape{1, 1, 16, 8};
  const UnitVectors x = random_vectors(shape, 3, GateRegime::plain, 3);
  std::vector<float> o(x.q.size());
  rtl->open(shape, std::vector{x.weights}, 0)->run(x.job(0, 3, o));
  for (const char* unit : {"engine0.unpack", "engine0.pack", "dram"})
    EXPECT_TRUE(std::any_of(rtl->timeline().begin(), rtl->timeline().end(), [unit](const TimelineSpan& span) {
      return span.unit == unit;
    })) << unit;
}

TEST_P(RtlPlatform, RefusesWhatItCannotCompute) {
  EXPECT_THROW(with_rtl()->open({1, 1, 16, 8}, {}, 1), InputError);
  Preset other = load_preset(GetParam(), {"datapath.guard_bits=7"});
  EXPECT_THROW(make_rtl_tiles(other), InputError);
}

INSTANTIATE_TEST_SUITE_P(Presets, RtlPlatform, testing::ValuesIn(rtl_presets()), [](const auto& instance) {
  std::string name = instance.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace lawcat

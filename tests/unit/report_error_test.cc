// SPDX-License-Identifier: Apache-2.0
// Error figures against closed forms; the session that runs every job twice.
#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#include "hostlib/report/comparing_session.h"
#include "hostlib/report/error_meter.h"

namespace lawcat {
namespace {

TEST(ErrorMeter, MatchesClosedForms) {
  ErrorMeter meter;
  meter.add(std::vector<float>{3, 4}, std::vector<float>{3, 4.5});
  EXPECT_EQ(meter.count(), 2);
  EXPECT_DOUBLE_EQ(meter.rel_l2_err(), 0.5 / 5);
  EXPECT_DOUBLE_EQ(meter.sqnr_db(), 20);
  EXPECT_DOUBLE_EQ(meter.max_abs_err(), 0.5);
  EXPECT_DOUBLE_EQ(meter.max_abs_reference(), 4);
  EXPECT_DOUBLE_EQ(meter.cosine(), (9 + 18) / (5 * std::sqrt(9 + 20.25)));
}

TEST(ErrorMeter, PartsAddUpToTheWhole) {
  const std::vector<float> reference = {1, -2, 3, -4};
  const std::vector<float> got = {1.5, -2, 2, -4.25};
  ErrorMeter whole;
  whole.add(reference, got);
  ErrorMeter first;
  first.add(std::span(reference).first(3), std::span(got).first(3));
  ErrorMeter second;
  second.add(std::span(reference).last(1), std::span(got).last(1));
  first.add(second);
  EXPECT_EQ(first.count(), whole.count());
  EXPECT_DOUBLE_EQ(first.sqnr_db(), whole.sqnr_db());
  EXPECT_DOUBLE_EQ(first.cosine(), whole.cosine());
  EXPECT_DOUBLE_EQ(first.max_abs_err(), whole.max_abs_err());
}

TEST(ErrorMeter, EqualArraysHaveInfiniteSqnrAndNoError) {
  ErrorMeter meter;
  meter.add(std::vector<float>{1, 2}, std::vector<float>{1, 2});
  EXPECT_EQ(meter.sqnr_db(), std::numeric_limits<double>::infinity());
  EXPECT_EQ(meter.rel_l2_err(), 0);
  EXPECT_DOUBLE_EQ(meter.cosine(), 1);
}

TEST(ErrorMeter, OneNanMakesEveryFigureOfTheErrorNan) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(),
                  kInf = std::numeric_limits<float>::infinity();
  const auto expect_nan = [](const ErrorMeter& meter) {
    EXPECT_TRUE(std::isnan(meter.sqnr_db()));
    EXPECT_TRUE(std::isnan(meter.rel_l2_err()));
    EXPECT_TRUE(std::isnan(meter.max_abs_err()));
    EXPECT_TRUE(std::isnan(meter.cosine()));
  };
  for (const std::vector<float>& got : {std::vector<float>{kNan, 2, 3}, {1, kNan, 3}, {1, 2, kNan}}) {
    ErrorMeter nan, number;
    nan.add(std::vector<float>{1, 2, 4}, got);
    number.add(std::vector<float>{1, 2}, std::vector<float>{1, 3});
    expect_nan(nan);
    ErrorMeter sum = nan;
    sum.add(number);
    expect_nan(sum);
    number.add(nan);
    expect_nan(number);
  }
  ErrorMeter equal_infinities;
  equal_infinities.add(std::vector<float>{1, kInf}, std::vector<float>{1, kInf});
  expect_nan(equal_infinities);
  ErrorMeter infinite;
  infinite.add(std::vector<float>{1, 2}, std::vector<float>{1, kInf});
  EXPECT_EQ(infinite.sqnr_db(), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(infinite.max_abs_err(), std::numeric_limits<double>::infinity());
}

/// Adds up its inputs: o = q x `gain` + what was seen before.
class Adder : public Session {
 public:
  explicit Adder(float gain) : gain_(gain) {}
  void run(const Job& job) override {
    for (std::size_t i = 0; i < job.o.size(); ++i) job.o[i] = gain_ * job.q[i] + static_cast<float>(seen_);
    seen_ += job.tokens;
  }
  std::vector<double> state(int) const override { return {static_cast<double>(seen_)}; }
  void set_state(int, std::span<const double> state) override { seen_ = static_cast<int>(state[0]); }
  UnitContext save(int) const override { return {{7, seen_ + context_error}}; }
  void restore(int, const UnitContext&) override {}
  Counters counters() const override {
    Counters counters;
    counters.add("adder.tokens", "events", seen_);
    return counters;
  }
  int context_error = 0;

 private:
  float gain_;
  int seen_ = 0;
};

constexpr UnitShape kShape{.heads = 2, .kv_heads = 1, .head_dim = 3, .feature_dim = 1};

class Comparing : public testing::Test {
 protected:
  void open(float gain, float gain_against, bool bit_for_bit) {
    auto against = std::make_unique<Adder>(gain_against);
    against_ = against.get();
    session_ = std::make_unique<ComparingSession>(kShape, 1, std::make_unique<Adder>(gain),
                                                  std::move(against), bit_for_bit, comparison_);
  }
  std::vector<float> run(std::vector<float> q) {
    std::vector<float> o(q.size());
    Job job;
    job.tokens = static_cast<int>(q.size() / 6);
    job.q = q;
    job.o = o;
    session_->run(job);
    return o;
  }
  Adder* against_ = nullptr;
  Comparison comparison_;
  std::unique_ptr<ComparingSession> session_;
};

TEST_F(Comparing, OutputsAndCountersAreTheFirstSessions) {
  open(2, 1, false);
  EXPECT_THAT(run({1, 2, 3, 4, 5, 6}), testing::ElementsAre(2, 4, 6, 8, 10, 12));
  EXPECT_EQ(session_->counters().value("adder.tokens"), 1);
  EXPECT_DOUBLE_EQ(comparison_.layers.at(0).rel_l2_err(), 1);
  EXPECT_EQ(comparison_.first_difference, "");
}

TEST_F(Comparing, NamesTheFirstUnequalOutput) {
  open(1, 1, true);
  run({0, 0, 0, 0, 0, 0});
  against_->set_state(0, std::vector<double>{1});
  run({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(comparison_.first_difference, "");
  against_->set_state(0, std::vector<double>{4});
  run({0, 0, 0, 0, 0, 0});
  EXPECT_EQ(comparison_.first_difference, "layer 0, token 3, head 0, channel 0: expected 4, got 3");
}

TEST_F(Comparing, BitsOfZeroesCount) {
  open(1, -1, true);
  run({1, 1, 1, 1, 0, 1});
  EXPECT_EQ(comparison_.first_difference, "layer 0, token 0, head 0, channel 0: expected -1, got 1");
  comparison_.first_difference.clear();
  open(1, -1, true);
  run({0, 0, 0, 0, 0, 0});  // -1 x 0 + 0 is +0
  EXPECT_EQ(comparison_.first_difference, "");
}

TEST_F(Comparing, UnequalContextsAreFound) {
  open(1, 1, true);
  run({0, 0, 0, 0, 0, 0});
  session_->compare_contexts();
  EXPECT_EQ(comparison_.first_difference, "");
  against_->context_error = 1;
  session_->compare_contexts();
  EXPECT_EQ(comparison_.first_difference,
            "layer 0, saved context after token 0: first unequal word is 1 of 2");
}

TEST_F(Comparing, SetsBothStatesAndRestoresNone) {
  open(1, 1, true);
  session_->set_state(0, std::vector<double>{5});
  EXPECT_EQ(against_->state(0)[0], 5);
  EXPECT_EQ(session_->state(0)[0], 5);
  EXPECT_THROW(session_->restore(0, {}), std::logic_error);
}

}  // namespace
}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The spine with backends that are not what they claim: a wrong bit must reach the report.
#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <memory>

#include "hostlib/backend/fixed.h"
#include "hostlib/io/error.h"
#include "hostlib/run.h"

namespace lawcat {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

/// The fixed backend, but for one output or one word of a context.
class Liar : public Backend {
 public:
  explicit Liar(const Preset& preset) : fixed_(make_fixed_backend(preset)) {}
  std::string_view name() const override { return "liar"; }
  std::unique_ptr<Session> open(const UnitShape& shape, std::span<const UnitWeights> layers,
                                int layer_count) override {
    return std::make_unique<LyingSession>(*this, fixed_->open(shape, layers, layer_count));
  }

  int wrong_layer = -1;          ///< whose output channel 3 of head 1 of the first token is off by one bit
  int wrong_context_layer = -1;  ///< whose saved context is off

 private:
  class LyingSession : public Session {
   public:
    LyingSession(const Liar& liar, std::unique_ptr<Session> session)
        : liar_(liar), session_(std::move(session)) {}
    void run(const Job& job) override {
      session_->run(job);
      float& value = job.o[64 + 3];
      if (job.layer == liar_.wrong_layer) value = std::nextafter(value, 1e9f);
    }
    std::vector<double> state(int layer) const override { return session_->state(layer); }
    void set_state(int layer, std::span<const double> state) override { session_->set_state(layer, state); }
    UnitContext save(int layer) const override {
      UnitContext context = session_->save(layer);
      if (layer == liar_.wrong_context_layer) context.words.at(5) += 1;
      return context;
    }
    void restore(int layer, const UnitContext& context) override { session_->restore(layer, context); }
    Counters counters() const override { return session_->counters(); }

   private:
    const Liar& liar_;
    std::unique_ptr<Session> session_;
  };
  std::unique_ptr<Backend> fixed_;
};

class Run : public testing::Test {
 protected:
  Run() : liar_(request_.preset) {
    request_.trace.passkey->tokens = 128;
    request_.verify_against_fixed = true;
  }
  RunRequest request_{.trace = load_trace(find_trace("passkey1k")),
                      .preset = load_preset("edge"),
                      .commit = "",
                      .progress = {}};
  Liar liar_;
};

TEST_F(Run, AnHonestBackendPasses) {
  const Report report = run(request_, liar_);
  EXPECT_EQ(report.verification.equal, true);
  EXPECT_EQ(report.answer.correct, true);
  EXPECT_TRUE(report.passed());
}

TEST_F(Run, OneWrongBitFailsTheRunAndIsPlaced) {
  liar_.wrong_layer = 2;
  const Report report = run(request_, liar_);
  EXPECT_EQ(report.verification.equal, false);
  EXPECT_THAT(report.verification.detail, StartsWith("layer 2, token 0, head 1, channel 3: expected "));
  EXPECT_FALSE(report.passed());
  EXPECT_THAT(to_text(report), HasSubstr("DIFFER from fixed: layer 2, token 0"));
}

TEST_F(Run, AWrongFinalContextFailsTheRun) {
  liar_.wrong_context_layer = 1;
  const Report report = run(request_, liar_);
  EXPECT_EQ(report.verification.equal, false);
  EXPECT_THAT(report.verification.detail, StartsWith("layer 1, saved context after token "));
  EXPECT_THAT(report.verification.detail, HasSubstr("first unequal word is 5 of "));
}

TEST_F(Run, ProgressCountsThePromptTwice) {
  std::map<std::string, std::int64_t> last;
  request_.progress = [&last](std::string_view what, std::int64_t done, std::int64_t total) {
    EXPECT_LE(done, total);
    last[std::string(what)] = done;
  };
  const Report report = run(request_, liar_);
  EXPECT_EQ(last["prompt"], report.latency.prefill_tokens);
  EXPECT_EQ(last["reference"], report.latency.prefill_tokens);
}

TEST(Evaluate, RefusesAShape) {
  std::unique_ptr<Backend> fixed = make_fixed_backend(load_preset("edge"));
  EXPECT_THAT(
      [&] {
        evaluate({.lengths = {128}, .samples = 1, .depths = {}, .progress = {}}, find_model("llama3.2-1b"),
                 *fixed);
      },
      testing::ThrowsMessage<InputError>(HasSubstr("llama3.2-1b: expected weights, got only a shape")));
}

}  // namespace
}  // namespace lawcat

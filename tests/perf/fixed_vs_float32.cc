// SPDX-License-Identifier: Apache-2.0
// Benchmark: the fixed backend against a float32 implementation of the same steps, run in turn on the same
// recorded inputs: the unit's jobs of a trace's prompt through its model, all layers.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "hostlib/arch/preset.h"
#include "hostlib/backend/fixed.h"
#include "hostlib/backend/reference.h"
#include "hostlib/io/file.h"
#include "hostlib/model/model.h"
#include "hostlib/model/session.h"
#include "hostlib/model/tokenizer.h"
#include "hostlib/trace/passkey.h"
#include "tests/perf/float32_unit.h"

namespace {

using namespace lawcat;
using Clock = std::chrono::steady_clock;

/// Runs the reference and keeps every job's inputs.
class Recorder final : public Session {
 public:
  Recorder(std::unique_ptr<Session> inner, std::size_t layers)
      : q(layers), k(layers), v(layers), gk(layers), inner_(std::move(inner)) {}
  void run(const Job& job) override {
    inner_->run(job);
    const auto layer = static_cast<std::size_t>(job.layer);
    q[layer].insert(q[layer].end(), job.q.begin(), job.q.end());
    k[layer].insert(k[layer].end(), job.k.begin(), job.k.end());
    v[layer].insert(v[layer].end(), job.v.begin(), job.v.end());
    gk[layer].insert(gk[layer].end(), job.gk.begin(), job.gk.end());
  }
  std::vector<double> state(int layer) const override { return inner_->state(layer); }
  void set_state(int layer, std::span<const double> s) override { inner_->set_state(layer, s); }
  UnitContext save(int layer) const override { return inner_->save(layer); }
  void restore(int layer, const UnitContext& c) override { inner_->restore(layer, c); }
  Counters counters() const override { return {}; }

  std::vector<std::vector<float>> q, k, v, gk;  ///< by layer

 private:
  std::unique_ptr<Session> inner_;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  using namespace lawcat;
  const int tokens = argc > 1 ? std::stoi(argv[1]) : 16384;
  const std::string preset_name = argc > 2 ? argv[2] : "edge";
  constexpr int kRepeats = 9;
  const Preset preset = load_preset(preset_name);
  const auto folder = data_root() / "models" / "passkey-tiny";
  const Model model = Model::load(folder);
  const UnitShape shape = model.unit_shape();
  const auto layers = model.unit_weights();

  const std::vector<int> prompt =
      Tokenizer::load(folder).encode(make_passkey({.tokens = tokens, .seed = 1}).text);
  auto recorder = std::make_unique<Recorder>(make_reference_backend()->open(shape, layers, 0), layers.size());
  Recorder& recorded = *recorder;
  ModelSession session(model, std::move(recorder));
  session.forward(prompt, 1);

  const int count = static_cast<int>(prompt.size());
  std::vector<float> o(recorded.q[0].size());
  const auto job = [&](std::size_t layer) {
    return Job{static_cast<int>(layer), count, recorded.q[layer], recorded.k[layer], recorded.v[layer],
               recorded.gk[layer],      o};
  };
  std::vector<double> fixed_s, float_s, ratios;
  double worst = 0;
  for (int repeat = 0; repeat <= kRepeats; ++repeat) {  // the first is the warm-up
    auto fixed = make_fixed_backend(preset)->open(shape, layers, 0);
    std::vector<Float32Unit> units;
    for (const UnitWeights& weights : layers) units.emplace_back(shape, weights);
    auto start = Clock::now();
    for (std::size_t layer = 0; layer < layers.size(); ++layer) fixed->run(job(layer));
    const double a = seconds_since(start);
    const std::vector<float> o_fixed = o;
    start = Clock::now();
    for (std::size_t layer = 0; layer < layers.size(); ++layer) units[layer].run(job(layer));
    const double b = seconds_since(start);
    // Both computed the same function, or the ratio means nothing.
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < o.size(); ++i) {
      error += (o[i] - o_fixed[i]) * (o[i] - o_fixed[i]);
      norm += o[i] * o[i];
    }
    worst = std::max(worst, std::sqrt(error / norm));
    if (repeat == 0) continue;
    fixed_s.push_back(a);
    float_s.push_back(b);
    ratios.push_back(a / b);
  }
  const double head_tokens = static_cast<double>(count) * shape.heads * static_cast<double>(layers.size());
  fmt::print("{} tokens, {} layers of {}, preset {}, {} pairs\n", count, layers.size(),
             folder.filename().string(), preset.name, kRepeats);
  fmt::print("fixed    {:8.1f} ms  {:6.0f} ns per head-token\n", 1e3 * median(fixed_s),
             1e9 * median(fixed_s) / head_tokens);
  fmt::print("float32  {:8.1f} ms  {:6.0f} ns per head-token\n", 1e3 * median(float_s),
             1e9 * median(float_s) / head_tokens);
  fmt::print(
      "ratio fixed / float32: median {:.2f}, min {:.2f}, max {:.2f}; outputs of the last layer differ by "
      "{:.1e}\n",
      median(ratios), *std::min_element(ratios.begin(), ratios.end()),
      *std::max_element(ratios.begin(), ratios.end()), worst);
  return 0;
}

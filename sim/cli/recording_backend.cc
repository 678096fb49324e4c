// SPDX-License-Identifier: Apache-2.0
// See recording_backend.h.
#include "sim/cli/recording_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <system_error>
#include <utility>

#include "hostlib/io/error.h"

namespace lawcat {
namespace {

class RecordingSession final : public Session {
 public:
  RecordingSession(std::unique_ptr<Session> session, int layer, UnitVectors& vectors)
      : session_(std::move(session)), layer_(layer), vectors_(vectors) {}

  void run(const Job& job) override {
    session_->run(job);
    if (job.layer != layer_) return;
    const auto keep = [](std::vector<float>& all, std::span<const float> more) {
      all.insert(all.end(), more.begin(), more.end());
    };
    keep(vectors_.q, job.q);
    keep(vectors_.k, job.k);
    keep(vectors_.v, job.v);
    keep(vectors_.gk, job.gk);
    vectors_.tokens += job.tokens;
  }
  std::vector<double> state(int layer) const override { return session_->state(layer); }
  void set_state(int layer, std::span<const double> state) override { session_->set_state(layer, state); }
  UnitContext save(int layer) const override { return session_->save(layer); }
  void restore(int layer, const UnitContext& context) override { session_->restore(layer, context); }
  Counters counters() const override { return session_->counters(); }

 private:
  std::unique_ptr<Session> session_;
  int layer_;
  UnitVectors& vectors_;
};

}  // namespace

std::unique_ptr<Session> RecordingBackend::open(const UnitShape& shape, std::span<const UnitWeights> layers,
                                                int layer_count) {
  if (static_cast<std::size_t>(layer_) >= layers.size())
    throw InputError("--record-vectors: layer", fmt::format("0 to {}", static_cast<int>(layers.size()) - 1),
                     fmt::format("{}", layer_));
  vectors_ = {.shape = shape,
              .tokens = 0,
              .weights = layers[static_cast<std::size_t>(layer_)],
              .q = {},
              .k = {},
              .v = {},
              .gk = {},
              .state = {}};
  return std::make_unique<RecordingSession>(backend_.open(shape, layers, layer_count), layer_, vectors_);
}

RecordOption parse_record_option(const std::string& text) {
  const std::size_t equals = std::min(text.find('='), text.size());
  RecordOption option;
  const auto [end, error] = std::from_chars(text.data(), text.data() + equals, option.layer);
  if (error != std::errc() || end != text.data() + equals || option.layer < 0 || equals + 1 >= text.size())
    throw InputError("--record-vectors", "LAYER=FILE", text);
  option.file = text.substr(equals + 1);
  return option;
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The unit in float64: see reference.h.
#include "hostlib/backend/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "hostlib/io/error.h"

namespace lawcat {

ReferenceHead::ReferenceHead(const UnitShape& shape, const UnitWeights& weights, int head)
    : d_(static_cast<std::size_t>(shape.head_dim)),
      f_(static_cast<std::size_t>(shape.feature_dim)),
      k_(2 * f_),
      q_taps_(kConvTaps * d_),
      k_taps_(kConvTaps * d_) {
  const std::size_t first = static_cast<std::size_t>(head) * d_;
  for (std::size_t c = 0; c < d_; ++c) {
    for (std::size_t j = 0; j < kConvTaps; ++j) {
      q_taps_[j * d_ + c] = weights.q_conv1d[(first + c) * kConvTaps + j];
      k_taps_[j * d_ + c] = weights.k_conv1d[(first + c) * kConvTaps + j];
    }
  }
  const auto map = weights.feature_map.begin() + static_cast<std::ptrdiff_t>(first * f_);
  feature_.assign(map, map + static_cast<std::ptrdiff_t>(d_ * f_));
  state.assign(k_ * (d_ + 1), 0);
  q_tail.assign((kConvTaps - 1) * d_, 0);
  k_tail.assign((kConvTaps - 1) * d_, 0);
  conv_q_.resize(d_);
  conv_k_.resize(d_);
  z_q_.resize(f_);
  z_k_.resize(f_);
  phi_q_.resize(k_);
  phi_k_.resize(k_);
  gate_.resize(k_);
  u_.resize(d_ + 1);
  row_.resize(d_ + 1);
}

void ReferenceHead::convolve(std::span<const double> taps, std::vector<double>& tail,
                             std::span<const float> input, std::span<double> output) const {
  for (std::size_t c = 0; c < d_; ++c)
    output[c] = taps[c] * tail[c] + taps[d_ + c] * tail[d_ + c] + taps[2 * d_ + c] * tail[2 * d_ + c] +
                taps[3 * d_ + c] * static_cast<double>(input[c]);
  std::copy(tail.begin() + static_cast<std::ptrdiff_t>(d_), tail.end(), tail.begin());
  std::copy(input.begin(), input.end(), tail.end() - static_cast<std::ptrdiff_t>(d_));
}

void ReferenceHead::probabilities(std::span<const double> input, std::span<double> z,
                                  std::span<double> phi) const {
  std::fill(z.begin(), z.end(), 0.0);
  for (std::size_t c = 0; c < d_; ++c)
    for (std::size_t i = 0; i < f_; ++i) z[i] += input[c] * feature_[c * f_ + i];
  const auto [low, high] = std::minmax_element(z.begin(), z.end());
  double up = 0, down = 0;
  for (std::size_t i = 0; i < f_; ++i) {
    up += phi[i] = std::exp(z[i] - *high);
    down += phi[f_ + i] = std::exp(*low - z[i]);
  }
  for (std::size_t i = 0; i < f_; ++i) {
    phi[i] = std::max(phi[i] / up, 1e-12);
    phi[f_ + i] = std::max(phi[f_ + i] / down, 1e-12);
  }
}

void ReferenceHead::step(std::span<const float> q, std::span<const float> k, std::span<const float> v,
                         std::span<const float> gk, std::span<double> o, HeadTrace* trace) {
  convolve(q_taps_, q_tail, q, conv_q_);
  convolve(k_taps_, k_tail, k, conv_k_);
  probabilities(conv_q_, z_q_, phi_q_);
  probabilities(conv_k_, z_k_, phi_k_);
  for (std::size_t r = 0; r < k_; ++r) {
    const double x = gk[r];
    const double softplus = x >= 0 ? std::log1p(std::exp(-x)) : std::log1p(std::exp(x)) - x;
    gate_[r] = std::exp(-softplus / 16);
  }
  for (std::size_t c = 0; c < d_; ++c) row_[c] = v[c];
  row_[d_] = 1;
  std::fill(u_.begin(), u_.end(), 0.0);
  for (std::size_t r = 0; r < k_; ++r) {
    double* const s = state.data() + r * (d_ + 1);
    const double a = gate_[r], phi_k = phi_k_[r], phi_q = phi_q_[r];
    for (std::size_t c = 0; c <= d_; ++c) {
      s[c] = a * s[c] + phi_k * row_[c];
      u_[c] += phi_q * s[c];
    }
  }
  const double inverse = 1 / (u_[d_] + 1e-10);
  for (std::size_t c = 0; c < d_; ++c) o[c] = u_[c] * inverse;

  if (trace == nullptr) return;
  trace->at(Point::query).assign(q.begin(), q.end());
  trace->at(Point::key).assign(k.begin(), k.end());
  trace->at(Point::value).assign(v.begin(), v.end());
  trace->at(Point::gate_logit).assign(gk.begin(), gk.end());
  trace->at(Point::conv_query) = conv_q_;
  trace->at(Point::conv_key) = conv_k_;
  trace->at(Point::feature_query) = z_q_;
  trace->at(Point::feature_key) = z_k_;
  trace->at(Point::probability_query) = phi_q_;
  trace->at(Point::probability_key) = phi_k_;
  trace->at(Point::gate) = gate_;
  auto& norm = trace->at(Point::normaliser);
  auto& rows = trace->at(Point::state);
  norm.clear();
  rows.clear();
  for (std::size_t r = 0; r < k_; ++r) {
    rows.insert(rows.end(), state.begin() + static_cast<std::ptrdiff_t>(r * (d_ + 1)),
                state.begin() + static_cast<std::ptrdiff_t>(r * (d_ + 1) + d_));
    norm.push_back(state[r * (d_ + 1) + d_]);
  }
  trace->at(Point::denominator) = {u_[d_]};
  trace->at(Point::numerator).assign(u_.begin(), u_.end() - 1);
  trace->at(Point::output).assign(o.begin(), o.end());
}

namespace {

class ReferenceSession final : public Session {
 public:
  ReferenceSession(const UnitShape& shape, std::span<const UnitWeights> layers) : shape_(shape) {
    for (const UnitWeights& weights : layers) {
      validate(shape, weights);
      auto& heads = layers_.emplace_back();
      for (int h = 0; h < shape.heads; ++h) heads.emplace_back(shape, weights, h);
    }
  }

  void run(const Job& job) override {
    validate(shape_, job);
    if (job.timing_only())
      throw InputError("backend reference", "a job with values",
                       "a timing-only job (it has no notion of time)");
    auto& heads = layer(job.layer);
    const auto d = static_cast<std::size_t>(shape_.head_dim);
    const auto k = static_cast<std::size_t>(shape_.key_features());
#pragma omp parallel for schedule(dynamic)
    for (int h = 0; h < shape_.heads; ++h) {
      std::vector<double> o(d);
      const int kv = h / shape_.group();
      for (int t = 0; t < job.tokens; ++t) {
        const std::size_t q_at = (static_cast<std::size_t>(t) * shape_.heads + h) * d;
        const std::size_t kv_at = static_cast<std::size_t>(t) * shape_.kv_heads + kv;
        heads[static_cast<std::size_t>(h)].step(job.q.subspan(q_at, d), job.k.subspan(kv_at * d, d),
                                                job.v.subspan(kv_at * d, d), job.gk.subspan(kv_at * k, k), o);
        for (std::size_t c = 0; c < d; ++c) job.o[q_at + c] = static_cast<float>(o[c]);
      }
    }
  }

  std::vector<double> state(int l) const override {
    std::vector<double> all;
    for (const ReferenceHead& head : layer(l)) all.insert(all.end(), head.state.begin(), head.state.end());
    return all;
  }

  void set_state(int l, std::span<const double> state) override {
    const std::size_t size = static_cast<std::size_t>(shape_.key_features()) * (shape_.head_dim + 1);
    if (state.size() != size * shape_.heads)
      throw InputError("initial state", fmt::format("{} values", size * shape_.heads),
                       fmt::format("{}", state.size()));
    auto& heads = layer(l);
    for (std::size_t h = 0; h < heads.size(); ++h) {
      const auto from = state.subspan(h * size, size);
      heads[h].state.assign(from.begin(), from.end());
      std::fill(heads[h].q_tail.begin(), heads[h].q_tail.end(), 0.0);
      std::fill(heads[h].k_tail.begin(), heads[h].k_tail.end(), 0.0);
    }
  }

  UnitContext save(int l) const override {
    UnitContext context;
    for (const ReferenceHead& head : layer(l))
      for (const auto* part : {&head.state, &head.q_tail, &head.k_tail})
        for (const double x : *part) context.words.push_back(std::bit_cast<std::int64_t>(x));
    return context;
  }

  void restore(int l, const UnitContext& context) override {
    const std::size_t d = static_cast<std::size_t>(shape_.head_dim);
    const std::size_t words =
        (static_cast<std::size_t>(shape_.key_features()) * (d + 1) + 2 * (kConvTaps - 1) * d) * shape_.heads;
    if (context.words.size() != words)
      throw InputError("saved context of backend reference", fmt::format("{} words", words),
                       fmt::format("{}", context.words.size()));
    std::size_t at = 0;
    for (ReferenceHead& head : layer(l))
      for (auto* part : {&head.state, &head.q_tail, &head.k_tail})
        for (double& x : *part) x = std::bit_cast<double>(context.words[at++]);
  }

  Counters counters() const override {
    return {};
  }

 private:
  std::vector<ReferenceHead>& layer(int l) {
    return const_cast<std::vector<ReferenceHead>&>(std::as_const(*this).layer(l));
  }
  const std::vector<ReferenceHead>& layer(int l) const {
    if (l < 0 || static_cast<std::size_t>(l) >= layers_.size())
      throw InputError("job: layer", fmt::format("0 to {}", static_cast<int>(layers_.size()) - 1),
                       fmt::format("{}", l));
    return layers_[static_cast<std::size_t>(l)];
  }

  UnitShape shape_;
  std::vector<std::vector<ReferenceHead>> layers_;
};

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
  std::unique_ptr<Session> open(const UnitShape& shape, std::span<const UnitWeights> layers, int) override {
    validate(shape);
    if (layers.empty())
      throw InputError("backend reference", "weights of at least one layer", "a timing-only session");
    return std::make_unique<ReferenceSession>(shape, layers);
  }
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend() {
  return std::make_unique<ReferenceBackend>();
}

}  // namespace lawcat

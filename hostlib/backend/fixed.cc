// SPDX-License-Identifier: Apache-2.0
// The bit-true backend: heads and layers around the datapath, in its plain or its SIMD form.
#include "hostlib/backend/fixed.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "hostlib/backend/datapath.h"
#include "hostlib/backend/fixed_simd.h"
#include "hostlib/io/error.h"

namespace lawcat {
namespace {

/// Tokens whose shared part (gates, quantised k and v) is prepared before the heads of a group run over them.
constexpr int kTokensPerBlock = 64;

/// One head in the plain form.
struct PlainHead {
  PlainHead(const DatapathRules& rules, const UnitShape& shape, HeadWeights head_weights)
      : weights(std::move(head_weights)), state(rules.formats, shape) {}

  void run(const DatapathRules& rules, const UnitShape& shape, const Job& job, std::uint32_t head, int first,
           std::span<const GroupToken> tokens, Saturations& saturations) {
    const auto d = static_cast<std::size_t>(shape.head_dim);
    std::vector<std::int32_t> query(d);
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      const std::size_t at = ((static_cast<std::size_t>(first) + t) * shape.heads + head) * d;
      for (std::size_t c = 0; c < d; ++c)
        query[c] = quantise(job.q[at + c], rules.formats.query_key,
                            saturations[static_cast<std::size_t>(Point::query)]);
      step_head(rules, shape, weights, head, query, tokens[t], state, job.o.subspan(at, d), saturations);
    }
  }

  HeadWeights weights;
  HeadState state;
};

}  // namespace

struct FixedUnit::Parts {
  Parts(const Datapath& datapath, const UnitShape& unit_shape) : rules(datapath), shape(unit_shape) {}

  DatapathRules rules;
  UnitShape shape;
  bool simd = false;
  std::vector<std::vector<PlainHead>> plain;      ///< [layer][head], empty in the SIMD form
  std::vector<std::vector<SimdHead>> simd_heads;  ///< [layer][head], empty in the plain form
  mutable std::mutex mutex;
  Saturations saturations{};

  void check_layer(int layer) const {
    const std::size_t layers = std::max(plain.size(), simd_heads.size());
    if (layer < 0 || static_cast<std::size_t>(layer) >= layers)
      throw InputError("job: layer", fmt::format("0 to {}", static_cast<int>(layers) - 1),
                       fmt::format("{}", layer));
  }
  HeadState head_state(int layer, int head) const {
    const auto l = static_cast<std::size_t>(layer), h = static_cast<std::size_t>(head);
    return simd ? simd_heads[l][h].state(rules, shape) : plain[l][h].state;
  }
  void set_head_state(int layer, int head, const HeadState& state) {
    const auto l = static_cast<std::size_t>(layer), h = static_cast<std::size_t>(head);
    if (simd) {
      simd_heads[l][h].set_state(state);
    } else {
      plain[l][h].state = state;
    }
  }
};

FixedUnit::FixedUnit(const Preset& preset, const UnitShape& shape, std::span<const UnitWeights> layers,
                     FixedForm form)
    : parts_(std::make_unique<Parts>(preset.datapath, shape)) {
  validate(shape);
  const auto require = [&](const char* field, int value, int most) {
    if (value > most)
      throw InputError(fmt::format("preset {}: unit shape {}", preset.name, field),
                       fmt::format("at most {}", most), fmt::format("{}", value));
  };
  require("head_dim", shape.head_dim, preset.engine.max_head_dim);
  require("feature_dim", shape.feature_dim, preset.engine.max_feature_dim);
  if (layers.empty()) throw InputError("backend fixed", "weights of at least one layer", "none");
  Parts& parts = *parts_;
  parts.simd = form == FixedForm::automatic && has_simd_form(preset.datapath) && simd_fits(shape);
  for (const UnitWeights& weights : layers) {
    validate(shape, weights);
    if (parts.simd) {
      parts.simd_heads.emplace_back();
    } else {
      parts.plain.emplace_back();
    }
    for (int h = 0; h < shape.heads; ++h) {
      HeadWeights head(parts.rules, shape, weights, h, parts.saturations);
      if (parts.simd) {
        parts.simd_heads.back().emplace_back(parts.rules, shape, head, static_cast<std::uint32_t>(h));
      } else {
        parts.plain.back().emplace_back(parts.rules, shape, std::move(head));
      }
    }
  }
}

FixedUnit::~FixedUnit() = default;

void FixedUnit::run(const Job& job, int first_token, int count, int first_head, int head_count) {
  check_layer(job.layer);
  Parts& parts = *parts_;
  const UnitShape& shape = parts.shape;
  const auto layer = static_cast<std::size_t>(job.layer);
  Saturations saturations{};
  const int end = first_head + head_count;
  std::vector<GroupToken> tokens;
  SimdGroupBlock block;
  for (int head = first_head; head < end;) {
    const int kv = head / shape.group();
    const int group_end = std::min(end, (kv + 1) * shape.group());
    // Shared inputs are counted once, by whoever runs the group's first head.
    Saturations ignored{};
    Saturations& shared = head == kv * shape.group() ? saturations : ignored;
    for (int done = 0; done < count; done += kTokensPerBlock) {
      const int now = std::min(kTokensPerBlock, count - done);
      const int first = first_token + done;
      if (parts.simd) {
        block.prepare(parts.rules, shape, job, first, now, kv, shared);
        for (int h = head; h < group_end; ++h)
          parts.simd_heads[layer][static_cast<std::size_t>(h)].run(parts.rules, shape, job, first, block,
                                                                   saturations);
      } else {
        tokens.resize(static_cast<std::size_t>(now));
        for (int t = 0; t < now; ++t)
          quantise_group_token(parts.rules, shape, job, first + t, kv, tokens[static_cast<std::size_t>(t)],
                               shared);
        for (int h = head; h < group_end; ++h)
          parts.plain[layer][static_cast<std::size_t>(h)].run(
              parts.rules, shape, job, static_cast<std::uint32_t>(h), first, tokens, saturations);
      }
    }
    head = group_end;
  }
  const std::lock_guard lock(parts.mutex);
  for (std::size_t i = 0; i < saturations.size(); ++i) parts.saturations[i] += saturations[i];
}

void FixedUnit::check_layer(int layer) const {
  parts_->check_layer(layer);
}

std::vector<double> FixedUnit::state(int layer) const {
  parts_->check_layer(layer);
  const UnitShape& shape = parts_->shape;
  std::vector<double> all;
  for (int h = 0; h < shape.heads; ++h) {
    const HeadState head = parts_->head_state(layer, h);
    for (int r = 0; r < shape.key_features(); ++r)
      for (int c = 0; c <= shape.head_dim; ++c)
        all.push_back(head.real(parts_->rules.formats, r, c, shape.head_dim));
  }
  return all;
}

void FixedUnit::set_state(int layer, std::span<const double> state) {
  Parts& parts = *parts_;
  parts.check_layer(layer);
  const std::size_t size = static_cast<std::size_t>(parts.shape.key_features()) * (parts.shape.head_dim + 1);
  if (state.size() != size * parts.shape.heads)
    throw InputError("initial state", fmt::format("{} values", size * parts.shape.heads),
                     fmt::format("{}", state.size()));
  for (int h = 0; h < parts.shape.heads; ++h) {
    HeadState head(parts.rules.formats, parts.shape);
    head.assign(parts.rules.formats, parts.shape, state.subspan(static_cast<std::size_t>(h) * size, size),
                parts.saturations);
    parts.set_head_state(layer, h, head);
  }
}

// Layout of a saved context, head after head: words, exponents, normaliser words, normaliser exponents,
// q tail, k tail, token count.
UnitContext FixedUnit::save(int layer) const {
  parts_->check_layer(layer);
  UnitContext context;
  auto& out = context.words;
  for (int h = 0; h < parts_->shape.heads; ++h) {
    const HeadState head = parts_->head_state(layer, h);
    out.insert(out.end(), head.words.begin(), head.words.end());
    out.insert(out.end(), head.exponents.begin(), head.exponents.end());
    out.insert(out.end(), head.norm_words.begin(), head.norm_words.end());
    out.insert(out.end(), head.norm_exponents.begin(), head.norm_exponents.end());
    out.insert(out.end(), head.q_tail.begin(), head.q_tail.end());
    out.insert(out.end(), head.k_tail.begin(), head.k_tail.end());
    out.push_back(head.tokens);
  }
  return context;
}

void FixedUnit::restore(int layer, const UnitContext& context) {
  Parts& parts = *parts_;
  parts.check_layer(layer);
  HeadState head(parts.rules.formats, parts.shape);
  const std::size_t words = head.words.size() + head.exponents.size() + head.norm_words.size() +
                            head.norm_exponents.size() + head.q_tail.size() + head.k_tail.size() + 1;
  if (context.words.size() != words * parts.shape.heads)
    throw InputError("saved context of backend fixed", fmt::format("{} words", words * parts.shape.heads),
                     fmt::format("{}", context.words.size()));
  auto from = context.words.begin();
  const auto take = [&from](auto& to) {
    for (auto& x : to) x = static_cast<std::remove_reference_t<decltype(x)>>(*from++);
  };
  for (int h = 0; h < parts.shape.heads; ++h) {
    take(head.words);
    take(head.exponents);
    take(head.norm_words);
    take(head.norm_exponents);
    take(head.q_tail);
    take(head.k_tail);
    head.tokens = static_cast<std::uint32_t>(*from++);
    parts.set_head_state(layer, h, head);
  }
}

int heads_of_a_thread(const UnitShape& shape) {
  // In a parallel region, such as one over samples, a loop inside has one thread.
  const int threads = omp_in_parallel() ? 1 : omp_get_max_threads();
  return shape.kv_heads >= threads ? shape.group() : 1;
}

Counters FixedUnit::counters() const {
  const std::lock_guard lock(parts_->mutex);
  Counters counters;
  for (int p = 0; p < kPointCount; ++p)
    counters.add(fmt::format("fixed.saturations.{}", to_string(static_cast<Point>(p))), "events",
                 static_cast<double>(parts_->saturations[static_cast<std::size_t>(p)]));
  return counters;
}

namespace {

class FixedSession final : public Session {
 public:
  FixedSession(const Preset& preset, const UnitShape& shape, std::span<const UnitWeights> layers)
      : shape_(shape), unit_(preset, shape, layers) {}

  void run(const Job& job) override {
    validate(shape_, job);
    if (job.timing_only())
      throw InputError("backend fixed", "a job with values", "a timing-only job (it has no notion of time)");
    // Nothing may throw inside the parallel region.
    unit_.check_layer(job.layer);
    const int heads = heads_of_a_thread(shape_);
#pragma omp parallel for schedule(dynamic)
    for (int first = 0; first < shape_.heads; first += heads) unit_.run(job, 0, job.tokens, first, heads);
  }
  std::vector<double> state(int layer) const override {
    return unit_.state(layer);
  }
  void set_state(int layer, std::span<const double> state) override {
    unit_.set_state(layer, state);
  }
  UnitContext save(int layer) const override {
    return unit_.save(layer);
  }
  void restore(int layer, const UnitContext& context) override {
    unit_.restore(layer, context);
  }
  Counters counters() const override {
    return unit_.counters();
  }

 private:
  UnitShape shape_;
  FixedUnit unit_;
};

class FixedBackend final : public Backend {
 public:
  explicit FixedBackend(const Preset& preset) : preset_(preset) {}
  std::string_view name() const override { return "fixed"; }
  std::unique_ptr<Session> open(const UnitShape& shape, std::span<const UnitWeights> layers, int) override {
    return std::make_unique<FixedSession>(preset_, shape, layers);
  }

 private:
  Preset preset_;
};

}  // namespace

std::unique_ptr<Backend> make_fixed_backend(const Preset& preset) {
  return std::make_unique<FixedBackend>(preset);
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The decorator that runs each job twice.
#include "hostlib/report/comparing_session.h"

#include <fmt/format.h>

#include <bit>
#include <cstdint>
#include <stdexcept>

namespace lawcat {

ComparingSession::ComparingSession(const UnitShape& shape, int layer_count, std::unique_ptr<Session> session,
                                   std::unique_ptr<Session> against, bool bit_for_bit, Comparison& comparison)
    : shape_(shape),
      session_(std::move(session)),
      against_(std::move(against)),
      bit_for_bit_(bit_for_bit),
      comparison_(&comparison),
      tokens_done_(static_cast<std::size_t>(layer_count)) {
  comparison.layers.resize(static_cast<std::size_t>(layer_count));
}

void ComparingSession::run(const Job& job) {
  session_->run(job);
  expected_.resize(job.o.size());
  Job same = job;
  same.o = expected_;
  against_->run(same);

  const std::size_t layer = static_cast<std::size_t>(job.layer);
  comparison_->layers[layer].add(expected_, job.o);
  if (bit_for_bit_ && comparison_->first_difference.empty()) {
    for (std::size_t i = 0; i < expected_.size(); ++i) {
      if (std::bit_cast<std::uint32_t>(expected_[i]) == std::bit_cast<std::uint32_t>(job.o[i])) continue;
      const std::size_t d = static_cast<std::size_t>(shape_.head_dim);
      const std::size_t h = static_cast<std::size_t>(shape_.heads);
      comparison_->first_difference =
          fmt::format("layer {}, token {}, head {}, channel {}: expected {}, got {}", layer,
                      tokens_done_[layer] + static_cast<std::int64_t>(i / (h * d)), i / d % h, i % d,
                      expected_[i], job.o[i]);
      break;
    }
  }
  tokens_done_[layer] += job.tokens;
}

void ComparingSession::set_state(int layer, std::span<const double> state) {
  session_->set_state(layer, state);
  against_->set_state(layer, state);
}

void ComparingSession::restore(int, const UnitContext&) {
  throw std::logic_error("a comparing session has no context to restore");
}

void ComparingSession::compare_contexts() {
  for (std::size_t layer = 0; layer < tokens_done_.size() && comparison_->first_difference.empty(); ++layer) {
    const UnitContext expected = against_->save(static_cast<int>(layer));
    const UnitContext got = session_->save(static_cast<int>(layer));
    if (expected == got) continue;
    std::size_t word = 0;
    while (word < expected.words.size() && word < got.words.size() && expected.words[word] == got.words[word])
      ++word;
    comparison_->first_difference =
        fmt::format("layer {}, saved context after token {}: first unequal word is {} of {}", layer,
                    tokens_done_[layer] - 1, word, expected.words.size());
  }
}

}  // namespace lawcat

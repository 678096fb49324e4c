// SPDX-License-Identifier: Apache-2.0
// Choosing tokens.
#include "hostlib/model/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "hostlib/io/error.h"

namespace lawcat {

void validate(const Sampling& sampling) {
  if (!(sampling.temperature >= 0) || !std::isfinite(sampling.temperature))
    throw InputError("temperature", "a number from 0", fmt::format("{}", sampling.temperature));
  if (sampling.top_k < 0) throw InputError("top_k", "an integer from 0", fmt::format("{}", sampling.top_k));
  if (!(sampling.top_p > 0) || !(sampling.top_p <= 1))
    throw InputError("top_p", "a number above 0, at most 1", fmt::format("{}", sampling.top_p));
}

int choose_token(std::span<const float> logits, const Sampling& sampling, std::mt19937_64& generator) {
  const auto best = std::max_element(logits.begin(), logits.end());
  if (sampling.temperature == 0) return static_cast<int>(best - logits.begin());

  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  if (sampling.top_k > 0) order.resize(std::min(order.size(), static_cast<std::size_t>(sampling.top_k)));
  std::vector<double> weights;
  for (const int id : order)
    weights.push_back(std::exp((static_cast<double>(logits[id]) - *best) / sampling.temperature));

  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double kept = 0;
  std::size_t count = 0;
  while (count < weights.size() && kept < sampling.top_p * total) kept += weights[count++];
  // 53 bits of the generator: the library's distributions differ between implementations.
  double draw = static_cast<double>(generator() >> 11) * 0x1p-53 * kept;
  std::size_t choice = 0;
  while (choice + 1 < count && draw >= weights[choice]) draw -= weights[choice++];
  return order[choice];
}

std::vector<int> generate(ModelRunner& session, std::span<const int> prompt, int count,
                          const Sampling& sampling, std::optional<int> eos) {
  validate(sampling);
  if (prompt.empty()) throw InputError("prompt", "at least one token", "none");
  std::mt19937_64 generator(sampling.seed);
  std::vector<int> tokens;
  std::vector<float> logits = session.forward(prompt, count > 0 ? 1 : 0);
  while (std::ssize(tokens) < count) {
    tokens.push_back(choose_token(logits, sampling, generator));
    if (eos && tokens.back() == *eos) break;
    if (std::ssize(tokens) < count) logits = session.forward(std::span(tokens).last(1), 1);
  }
  return tokens;
}

}  // namespace lawcat

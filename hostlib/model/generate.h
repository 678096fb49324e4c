// SPDX-License-Identifier: Apache-2.0
// Choosing tokens: greedy, or sampled with temperature, top-k and top-p from a seeded generator.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "hostlib/model/runner.h"

namespace lawcat {

struct Sampling {
  double temperature = 0;  ///< 0: greedy, the lowest id among equals
  int top_k = 0;           ///< keep the k most likely; 0: all
  double top_p = 1;        ///< keep the fewest most likely tokens whose probabilities reach p
  std::uint64_t seed = 0;
};

/// Throws InputError on fields out of range.
void validate(const Sampling& sampling);

/// One token from logits [vocab].
int choose_token(std::span<const float> logits, const Sampling& sampling, std::mt19937_64& generator);

/// Feeds `prompt`, then chooses up to `count` tokens, each but the last fed back. Stops after `eos`, which is
/// then the last element. The same seed gives the same tokens. Throws InputError on an empty prompt.
std::vector<int> generate(ModelRunner& session, std::span<const int> prompt, int count,
                          const Sampling& sampling = {}, std::optional<int> eos = {});

}  // namespace lawcat

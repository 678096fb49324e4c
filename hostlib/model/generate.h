// SPDX-License-Identifier: Apache-2.0
// Choosing tokens, the likeliest each time.
#pragma once

#include <span>
#include <vector>

#include "hostlib/model/runner.h"

namespace lawcat {

/// The token with the largest of `logits` [vocab]; of equals the lowest id.
int likeliest(std::span<const float> logits);

/// Feeds `prompt`, then chooses up to `count` tokens, each the likeliest, each but the last fed back. Stops
/// after any of `ends`, which is then the last element. Throws InputError on an empty prompt, and as
/// ModelRunner::forward().
std::vector<int> generate(ModelRunner& session, std::span<const int> prompt, int count,
                          std::span<const int> ends = {});

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Choosing tokens.
#include "hostlib/model/generate.h"

#include <algorithm>

#include "hostlib/io/error.h"

namespace lawcat {

int likeliest(std::span<const float> logits) {
  return static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

std::vector<int> generate(ModelRunner& session, std::span<const int> prompt, int count,
                          std::span<const int> ends) {
  if (prompt.empty()) throw InputError("prompt", "at least one token", "none");
  std::vector<int> tokens;
  std::vector<float> logits = session.forward(prompt, count > 0 ? 1 : 0);
  while (std::ssize(tokens) < count) {
    tokens.push_back(likeliest(logits));
    if (std::find(ends.begin(), ends.end(), tokens.back()) != ends.end()) break;
    if (std::ssize(tokens) < count) logits = session.forward(std::span(tokens).last(1), 1);
  }
  return tokens;
}

}  // namespace lawcat

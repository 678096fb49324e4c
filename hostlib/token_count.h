// SPDX-License-Identifier: Apache-2.0
// What the tasks' generators ask of a tokenizer.
#pragma once

#include "hostlib/model/tokenizer.h"
#include "hostlib/trace/haystack.h"

namespace lawcat {

/// Counts with `tokenizer`, which must outlive the result.
inline CountTokens count_with(const Tokenizer& tokenizer) {
  return [&tokenizer](std::string_view text) { return static_cast<int>(tokenizer.encode(text).size()); };
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Generated tasks behind one interface: what a model is asked, what it should answer, and whether it did.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostlib/trace/haystack.h"

namespace lawcat {

/// One prompt of a task, fully determined by these fields, the task's name and split, and the tokenizer.
struct TaskSpec {
  /// Room for begin token, prompt and TaskPrompt::answer_tokens, in the model's tokens (passkey: words, see
  /// PasskeySpec). 0, BABILong only: the facts without any of the book, as many tokens as they take.
  int tokens = 1024;
  std::uint64_t seed = 0;
  std::uint64_t index = 0;  ///< which prompt of this seed and length
  /// Share of the haystack before the needle (BABILong: before all facts), 0..1; drawn if not given.
  std::optional<double> depth = std::nullopt;
  double noise = 0;     ///< passkey only
  int distractors = 0;  ///< passkey only
};

struct TaskPrompt {
  std::string text;        ///< without begin token and answer
  std::string answer;      ///< what is looked for in a model's output
  std::string completion;  ///< the output to train on, behind `text` as it is
  /// Share of the sentences, facts included, that stand before the needle; BABILong: before the fact that
  /// decides the answer.
  double depth = 0;
  int answer_tokens = 0;  ///< most tokens to let a model answer in
  bool repeats = false;   ///< the length asked for more text than the haystack's split has
};

class Task {
 public:
  virtual ~Task() = default;
  /// The answer's probability for one who knows what answers look like, but not the prompt.
  virtual double chance() const = 0;
  /// Whether a prompt has one needle with a depth of its own; BABILong's facts are spread unless told.
  virtual bool has_needle() const { return true; }
  /// Whether a model may end its answer with its end token; a passkey always takes five tokens.
  virtual bool ends() const { return true; }
  /// Throws InputError when the length has no room for the question, or fields are out of range.
  virtual TaskPrompt make(const TaskSpec& spec) const = 0;
  /// `output`: a model's answer as text.
  virtual bool score(const TaskPrompt& prompt, std::string_view output) const = 0;
};

/// passkey; RULER's (arXiv 2404.06654) niah_single_1 (noise sentences, number), niah_single_2 (essays,
/// number), niah_single_3 (essays, uuid); BABILong's (arXiv 2406.10149) QA2 and QA3 in a book.
const std::vector<std::string>& task_names();

/// Texts come from tasks/words.json and haystack/{essays,book}.txt of `folder`. Throws InputError for an
/// unknown name, a missing or malformed file.
std::unique_ptr<const Task> make_task(const std::string& name, const CountTokens& count, Split split,
                                      const std::filesystem::path& folder);
/// From the shipped `traces`.
std::unique_ptr<const Task> make_task(const std::string& name, const CountTokens& count,
                                      Split split = Split::test);

}  // namespace lawcat

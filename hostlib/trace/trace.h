// SPDX-License-Identifier: Apache-2.0
// The workload file: which model reads which prompt and answers how many tokens, on which preset.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hostlib/trace/passkey.h"
#include "hostlib/trace/task.h"

namespace lawcat {

/// A trace as written in its JSON file (`lawcat-trace/1`):
///   schema, name, model, phases {decode_tokens}, preset    required
///   description                                            optional, text
///   gpu_reference                                          optional, file beside the trace
///   task    one of {generator: "passkey", tokens, seed, index?, depth?, noise?, distractors?},
///           {generator: another of task_names(), tokens, seed, index?, depth?}, {text, expected?},
///           {text_file, expected?}, {tokens_file, expected?}. Without it the trace is timing only and phases
///           also holds prefill_tokens.
struct Trace {
  std::string name;
  std::string description;
  std::string model;  ///< folder with weights, or a shape
  std::string preset;
  int decode_tokens = 0;
  std::optional<std::filesystem::path> gpu_reference;  ///< resolved beside the trace; need not exist

  std::optional<PasskeySpec> passkey;
  struct Generated {
    std::string task;  ///< one of task_names() but passkey, on its test split
    TaskSpec spec;
  };
  std::optional<Generated> generated;
  std::optional<std::string> text;                   ///< prompt without the begin token
  std::optional<std::filesystem::path> tokens_file;  ///< prompt as token ids
  std::optional<std::string> expected;               ///< answer, where the task states one
  std::optional<int> prefill_tokens;                 ///< exactly in timing-only traces

  std::filesystem::path file;
  std::string sha256;  ///< of the file

  bool timing_only() const { return prefill_tokens.has_value(); }
};

/// Reads a trace. Throws InputError for unknown, missing or mistyped keys and values out of range.
Trace load_trace(const std::filesystem::path& file);

/// `name_or_path` as it is, then in traces/ of the shipped data; `.json` may be left out. Throws InputError
/// naming every place that was looked at.
std::filesystem::path find_trace(const std::string& name_or_path);

/// Tensor `tokens` [T] of integers in [0, vocab_size) from a safetensors file. Throws InputError.
std::vector<int> read_tokens(const std::filesystem::path& file, int vocab_size);

}  // namespace lawcat

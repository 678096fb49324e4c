// SPDX-License-Identifier: Apache-2.0
// Options that several commands share, and the commands themselves.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "hostlib/arch/preset.h"

namespace lawcat {

/// Exit codes: 0 done, 1 a mismatch or a wrong answer, 2 bad usage or bad input.
inline constexpr int kDone = 0;
inline constexpr int kMismatch = 1;
inline constexpr int kBadInput = 2;

/// Checks of values that CLI11's own let through: not a number, and what an integer of 64 bits cannot hold.
CLI::Validator finite_number(double min, double max);
CLI::Validator seed_number();

struct CommonOptions {
  std::string backend;
  std::string preset;             ///< empty: the trace's, or edge
  std::vector<std::string> sets;  ///< key.path=value
  std::string host;
  bool quiet = false;

  /// `with_host`: the command runs whole models, so --host says where.
  void add_to(CLI::App& app, const std::string& default_backend, bool with_host = true);
  Preset load(const std::string& preset_if_none_given) const;
};

/// Commit that the program was built from, "-dirty" behind it where its sources differed; "unknown" where
/// neither git nor LAWCAT_COMMIT told. Defined by scripts/cmake/Commit.cmake.
const char* commit();

// Each registers its options on `app`; the callback stores the exit code in `code`. Input errors are thrown.
void add_trace_command(CLI::App& app, int& code);
void add_eval_command(CLI::App& app, int& code);
void add_prompts_command(CLI::App& app, int& code);
void add_unit_command(CLI::App& app, int& code);
void add_logits_command(CLI::App& app, int& code);
void add_calibrate_command(CLI::App& app, int& code);
void add_gpu_command(CLI::App& app, int& code);
void add_list_command(CLI::App& app, int& code);

}  // namespace lawcat

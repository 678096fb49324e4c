// SPDX-License-Identifier: Apache-2.0
// Progress on a terminal, and output folders that vanish when nothing was written.
#pragma once

#include <filesystem>
#include <vector>

#include "hostlib/run.h"

namespace lawcat {

/// One line on stderr, rewritten in place; empty (no progress) when `quiet` or stderr is no terminal.
Progress terminal_progress(bool quiet);
/// Removes that line.
void clear_progress();

/// A folder that can be written to, made if missing. Folders that it made go away again unless keep() is
/// called. Throws InputError when nothing can be written there.
class OutputFolder {
 public:
  explicit OutputFolder(std::filesystem::path folder);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }
  void keep() { made_.clear(); }

 private:
  std::filesystem::path folder_;
  std::vector<std::filesystem::path> made_;  ///< innermost first
};

}  // namespace lawcat

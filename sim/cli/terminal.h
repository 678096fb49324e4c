// SPDX-License-Identifier: Apache-2.0
// Progress on a terminal, and outputs of which nothing is left when nothing was written.
#pragma once

#include <filesystem>
#include <optional>
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
  void remove_made() const;

  std::filesystem::path folder_;
  std::vector<std::filesystem::path> made_;  ///< innermost first
};

/// A file that can be written, at the end of a long run, in its OutputFolder; keep() as there. Throws
/// InputError when it cannot: no such folder can be, no permission, a folder of that name.
class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path file);

  const std::filesystem::path& path() const { return file_; }
  void keep() {
    if (folder_) folder_->keep();
  }

 private:
  std::filesystem::path file_;
  std::optional<OutputFolder> folder_;  ///< none for a device
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Terminal output of long commands.
#include "sim/cli/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <system_error>

#include "hostlib/io/file.h"

namespace lawcat {
namespace {

bool line_is_shown = false;

}  // namespace

Progress terminal_progress(bool quiet) {
  if (quiet || !::isatty(STDERR_FILENO)) return {};
  using Clock = std::chrono::steady_clock;
  return [last = Clock::time_point()](std::string_view what, std::int64_t done, std::int64_t total) mutable {
    const Clock::time_point now = Clock::now();
    if (done < total && now - last < std::chrono::milliseconds(100)) return;
    last = now;
    constexpr std::int64_t kWidth = 40;
    const std::int64_t filled = total > 0 ? kWidth * done / total : kWidth;
    fmt::print(stderr, "\r\033[K{:<10} [{}{}] {} / {}", what,
               std::string(static_cast<std::size_t>(filled), '#'),
               std::string(static_cast<std::size_t>(kWidth - filled), ' '), done, total);
    std::fflush(stderr);
    line_is_shown = true;
  };
}

void clear_progress() {
  if (line_is_shown) std::fputs("\r\033[K", stderr);  // also where stderr is full: no exception
  line_is_shown = false;
}

OutputFolder::OutputFolder(std::filesystem::path folder) : folder_(std::move(folder)) {
  std::error_code unreadable;  // left to require_writable_folder() to report
  for (std::filesystem::path part = folder_; !part.empty() && !std::filesystem::exists(part, unreadable);
       part = part.parent_path())
    made_.push_back(part);
  try {
    require_writable_folder(folder_);
  } catch (...) {
    remove_made();
    throw;
  }
}

OutputFolder::~OutputFolder() {
  remove_made();
}

void OutputFolder::remove_made() const {
  std::error_code ignored;  // a folder that someone else has used meanwhile stays
  for (const std::filesystem::path& folder : made_) std::filesystem::remove(folder, ignored);
}

OutputFile::OutputFile(std::filesystem::path file) : file_(std::move(file)) {
  std::error_code unreadable;
  // Into a device is written as it is, whatever may be written beside it.
  if (!std::filesystem::is_other(file_, unreadable) && !std::filesystem::is_character_file(file_, unreadable))
    folder_.emplace(file_.has_parent_path() ? file_.parent_path() : std::filesystem::path("."));
  const AtomicFile probe(file_);
}

}  // namespace lawcat

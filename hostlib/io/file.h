// SPDX-License-Identifier: Apache-2.0
// Files in and out: memory-mapped reading, and writing that appears whole or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace lawcat {

/// Whether something of this name can be seen. What cannot be looked at counts as not there.
bool is_there(const std::filesystem::path& path);

/// Where the shipped data lies (presets, traces, models): $LAWCAT_DATA if set, else where the build found it.
std::filesystem::path data_root();

/// Whole file as text. Throws InputError when missing, a folder, or unreadable.
std::string read_file(const std::filesystem::path& file);

/// Value of `key` in a file of "key : value" lines, as those that the system describes itself in; empty when
/// there is no such line or file.
std::string field_of(const std::filesystem::path& file, std::string_view key);

/// A file mapped read-only; pages come in as they are touched.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& file);
  ~MappedFile();
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Output that replaces `file` only in commit(): written to a temporary file beside it, flushed to the disk,
/// renamed. Destroyed without commit(), it leaves nothing. Creates missing parent folders. A symbolic link is
/// followed; a device or pipe (/dev/stdout) is written in place. Every failure (no permission, disk full)
/// throws InputError naming the file and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path file);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit();

 private:
  std::filesystem::path file_;
  std::filesystem::path temporary_;  ///< empty when written in place
  int descriptor_ = -1;
};

/// Throws InputError unless a file could be created in `folder` (made if missing): asked before a long run,
/// not after it.
void require_writable_folder(const std::filesystem::path& folder);

/// SHA-256, 64 hex digits.
std::string sha256(std::string_view bytes);

}  // namespace lawcat

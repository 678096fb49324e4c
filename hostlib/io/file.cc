// SPDX-License-Identifier: Apache-2.0
// Files in and out, on POSIX calls: their errno is the reason that the user reads.
#include "hostlib/io/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/io/interrupt.h"

namespace lawcat {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void fail(const fs::path& file, const char* what, int error) {
  throw InputError(fmt::format("{}: cannot {}: {}", file.string(), what, std::strerror(error)));
}

/// Closes on every way out.
struct Descriptor {
  int value;
  ~Descriptor() { ::close(value); }
};

void make_folder(const fs::path& folder) {
  std::error_code error;
  if (!folder.empty()) fs::create_directories(folder, error);
  if (error) fail(folder, "make the folder", error.value());
}

fs::path temporary_beside(const fs::path& file) {
  static std::atomic<unsigned> count{0};
  return file.parent_path() / fmt::format(".{}.{}.{}.tmp", file.filename().string(), ::getpid(), count++);
}

}  // namespace

fs::path data_root() {
  const char* root = std::getenv("LAWCAT_DATA");
  return root && *root ? fs::path(root) : fs::path(LAWCAT_SOURCE_ROOT);
}

bool is_there(const fs::path& path) {
  std::error_code unreadable;
  return fs::exists(path, unreadable);
}

std::string read_file(const fs::path& file) {
  const Descriptor descriptor{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
  if (descriptor.value < 0 && errno == EINTR) check_interrupt();
  if (descriptor.value < 0) fail(file, "open for reading", errno);
  std::string text;
  constexpr std::size_t kChunk = 1 << 16;
  for (std::size_t size = 0;;) {
    text.resize(size + kChunk);
    const ssize_t got = ::read(descriptor.value, text.data() + size, kChunk);
    if (got < 0 && errno == EINTR) {
      check_interrupt();
      continue;
    }
    if (got < 0) fail(file, "read", errno);
    size += static_cast<std::size_t>(got);
    if (got == 0) {
      text.resize(size);
      return text;
    }
  }
}

std::string field_of(const std::filesystem::path& file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t value = line.find_first_not_of(" \t", line.find(':') + 1);
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

MappedFile::MappedFile(const fs::path& file) {
  const Descriptor descriptor{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
  if (descriptor.value < 0) fail(file, "open for reading", errno);
  struct stat status {};
  if (::fstat(descriptor.value, &status) != 0) fail(file, "read", errno);
  if (!S_ISREG(status.st_mode)) throw InputError(file.string(), "a regular file", "something else");
  if (status.st_size == 0) return;
  const auto size = static_cast<std::size_t>(status.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.value, 0);
  if (address == MAP_FAILED) fail(file, "map into memory", errno);
  data_ = static_cast<const std::byte*>(address);
  size_ = size;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

AtomicFile::AtomicFile(fs::path file) : file_(std::move(file)) {
  std::error_code error;
  const fs::file_status status = fs::status(file_, error);
  if (fs::is_directory(status)) fail(file_, "open for writing", EISDIR);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    descriptor_ = ::open(file_.c_str(), O_WRONLY | O_CLOEXEC);
  } else {
    // To where links lead, also if nothing is there yet.
    for (int links = 0; links < 40 && fs::is_symlink(fs::symlink_status(file_, error)); ++links)
      file_ = file_.parent_path() / fs::read_symlink(file_, error);
    make_folder(file_.parent_path());
    temporary_ = temporary_beside(file_);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  }
  if (descriptor_ < 0) fail(file_, "open for writing", errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(descriptor_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail(file_, "write", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void AtomicFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text)));
}

void AtomicFile::commit() {
  if (!temporary_.empty()) {
    if (::fsync(descriptor_) != 0) fail(file_, "write", errno);
    if (::rename(temporary_.c_str(), file_.c_str()) != 0) fail(file_, "replace", errno);
  }
  ::close(std::exchange(descriptor_, -1));
}

void require_writable_folder(const fs::path& folder) {
  make_folder(folder);
  const fs::path probe = temporary_beside(folder / "probe");
  const int descriptor = ::open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) fail(folder, "write into the folder", errno);
  ::close(descriptor);
  ::unlink(probe.c_str());
}

}  // namespace lawcat

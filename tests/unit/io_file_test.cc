// SPDX-License-Identifier: Apache-2.0
// Files in and out: whole or not at all, and every failure in words.
#include "hostlib/io/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "hostlib/io/interrupt.h"
#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

namespace fs = std::filesystem;
using test::expect_input_error;
using test::TemporaryFolder;

std::ptrdiff_t entries(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

TEST(DataRoot, IsTheSourceTreeUnlessTheEnvironmentSaysOtherwise) {
  ::unsetenv("LAWCAT_DATA");
  EXPECT_TRUE(fs::exists(data_root() / "hostlib/io/file.h"));
  ::setenv("LAWCAT_DATA", "/elsewhere", 1);
  EXPECT_EQ(data_root(), "/elsewhere");
  ::unsetenv("LAWCAT_DATA");
}

TEST(ReadFile, ReturnsEveryByte) {
  const TemporaryFolder folder;
  const std::string bytes = std::string(200000, 'x') + '\0' + "end";
  EXPECT_EQ(read_file(folder.add("file", bytes)), bytes);
}

TEST(ReadFile, RefusesAMissingFileAndAFolder) {
  const TemporaryFolder folder;
  expect_input_error([&] { read_file(folder / "missing"); }, "missing", "No such file");
  expect_input_error([&] { read_file(folder.path()); }, folder.path().string(), "directory");
}

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const TemporaryFolder folder;
  MappedFile mapped(folder.add("file", "abc"));
  const MappedFile moved = std::move(mapped);
  ASSERT_EQ(moved.bytes().size(), 3u);
  EXPECT_EQ(static_cast<char>(moved.bytes()[2]), 'c');
  EXPECT_TRUE(MappedFile(folder.add("empty", "")).bytes().empty());
}

TEST(MappedFile, RefusesAMissingFileAndAFolder) {
  const TemporaryFolder folder;
  expect_input_error([&] { MappedFile mapped(folder / "missing"); }, "missing", "No such file");
  expect_input_error([&] { MappedFile mapped(folder.path()); }, "a regular file");
}

TEST(AtomicFile, AppearsAtCommitAndMakesItsFolder) {
  const TemporaryFolder folder;
  const fs::path file = folder / "a/b/report.json";
  AtomicFile out(file);
  out.write("{}");
  EXPECT_FALSE(fs::exists(file));
  out.commit();
  EXPECT_EQ(read_file(file), "{}");
  EXPECT_EQ(entries(file.parent_path()), 1);
}

TEST(AtomicFile, LeavesTheOldFileAndNothingElseWithoutCommit) {
  const TemporaryFolder folder;
  const fs::path file = folder.add("report.json", "old");
  { AtomicFile(file).write("new"); }
  EXPECT_EQ(read_file(file), "old");
  EXPECT_EQ(entries(folder.path()), 1);
}

TEST(AtomicFile, FollowsASymbolicLink) {
  const TemporaryFolder folder;
  const fs::path file = folder.add("target", "old");
  fs::create_symlink(file, folder / "link");
  AtomicFile out(folder / "link");
  out.write("new");
  out.commit();
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(read_file(file), "new");
}

TEST(AtomicFile, FollowsALinkToNothingYet) {
  const TemporaryFolder folder;
  fs::create_symlink("new", folder / "relative");
  fs::create_symlink(folder / "relative", folder / "link");
  AtomicFile out(folder / "link");
  out.write("text");
  out.commit();
  EXPECT_TRUE(fs::is_symlink(folder / "link") && fs::is_symlink(folder / "relative"));
  EXPECT_EQ(read_file(folder / "new"), "text");
}

TEST(AtomicFile, ReportsAFullDevice) {
  expect_input_error([] { AtomicFile("/dev/full").write("x"); }, "/dev/full", "No space left");
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST(AtomicFile, LeavesNothingWhenTheDiskRefusesMore) {
  const TemporaryFolder folder;
  ::signal(SIGXFSZ, SIG_IGN);
  struct rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const struct rlimit small = {4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_input_error(
      [&] {
        AtomicFile out(folder / "big");
        out.write(std::string(8192, 'x'));
        out.commit();
      },
      "big: cannot write", "File too large");
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(entries(folder.path()), 0);
}

TEST(AtomicFile, RefusesAFolderAndAFileInPlaceOfAFolder) {
  const TemporaryFolder folder;
  expect_input_error([&] { AtomicFile out(folder.path()); }, folder.path().string(), "directory");
  folder.add("file", "");
  expect_input_error([&] { AtomicFile out(folder / "file/report.json"); }, "file", "Not a directory");
}

TEST(RequireWritableFolder, MakesTheFolderAndLeavesItEmpty) {
  const TemporaryFolder folder;
  require_writable_folder(folder / "a/b");
  EXPECT_EQ(entries(folder / "a/b"), 0);
}

TEST(RequireWritableFolder, RefusesAFolderThatCannotBeWritten) {
  // Not even the superuser creates files under /proc.
  expect_input_error([] { require_writable_folder("/proc"); }, "/proc: cannot write");
  expect_input_error([] { require_writable_folder("/proc/new"); }, "/proc/new: cannot make");
  expect_input_error([] { AtomicFile out("/proc/report.json"); }, "/proc/report.json: cannot open");
}

// Vectors of FIPS 180-4 / NIST CAVP.
TEST(Sha256, MatchesThePublishedVectors) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Interrupt, BecomesAnInputErrorAtTheNextCheck) {
  const auto interrupted = [](int signal) {
    catch_interrupts();
    check_interrupt();
    ::raise(signal);
    try {
      check_interrupt();
    } catch (const InputError& error) {
      std::fputs(error.what(), stderr);
      std::exit(2);
    }
  };
  EXPECT_EXIT(interrupted(SIGINT), testing::ExitedWithCode(2), "interrupted by SIGINT");
  EXPECT_EXIT(interrupted(SIGTERM), testing::ExitedWithCode(2), "interrupted by SIGTERM");
}

TEST(Interrupt, EndsTheProcessTheSecondTime) {
  EXPECT_EXIT(
      {
        catch_interrupts();
        ::raise(SIGINT);
        ::raise(SIGINT);
      },
      testing::KilledBySignal(SIGINT), "");
}

}  // namespace
}  // namespace lawcat

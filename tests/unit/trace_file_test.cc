// SPDX-License-Identifier: Apache-2.0
// Trace files: the forms they take, and one sentence for each way of being wrong.
#include <gmock/gmock.h>

#include <cstring>

#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "hostlib/io/safetensors.h"
#include "hostlib/trace/trace.h"
#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class TraceFile : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& text, const std::string& name = "t.json") const {
    return folder_.add(name, text);
  }

  test::TemporaryFolder folder_;
};

std::string with(const std::string& rest) {
  return R"({"schema": "lawcat-trace/1", "name": "n", "model": "m", "preset": "edge")" + rest + "}";
}

TEST_F(TraceFile, ReadsAPasskeyTask) {
  const Trace trace = load_trace(write(with(
      R"(, "phases": {"decode_tokens": 5}, "gpu_reference": "gpu/x.json",
         "task": {"generator": "passkey", "tokens": 2048, "seed": 3, "depth": 0.25, "distractors": 4})")));
  EXPECT_EQ(trace.passkey->tokens, 2048);
  EXPECT_EQ(trace.passkey->seed, 3u);
  EXPECT_EQ(trace.passkey->depth, 0.25);
  EXPECT_EQ(trace.passkey->distractors, 4);
  EXPECT_EQ(trace.decode_tokens, 5);
  EXPECT_FALSE(trace.timing_only());
  EXPECT_EQ(trace.gpu_reference, folder_ / "gpu/x.json");
  EXPECT_EQ(trace.sha256.size(), 64u);
}

TEST_F(TraceFile, ReadsAnotherGeneratedTask) {
  const Trace trace = load_trace(write(with(
      R"(, "phases": {"decode_tokens": 9},
         "task": {"generator": "babilong-qa3", "tokens": 900, "seed": 3, "index": 2, "depth": 0.5})")));
  ASSERT_TRUE(trace.generated);
  EXPECT_EQ(trace.generated->task, "babilong-qa3");
  EXPECT_EQ(trace.generated->spec.tokens, 900);
  EXPECT_EQ(trace.generated->spec.seed, 3u);
  EXPECT_EQ(trace.generated->spec.index, 2u);
  EXPECT_EQ(trace.generated->spec.depth, 0.5);
  EXPECT_FALSE(trace.passkey);
}

TEST_F(TraceFile, WithoutATaskIsTimingOnly) {
  const Trace trace = load_trace(write(with(R"(, "phases": {"prefill_tokens": 100, "decode_tokens": 0})")));
  EXPECT_TRUE(trace.timing_only());
  EXPECT_EQ(trace.prefill_tokens, 100);
}

TEST_F(TraceFile, ReadsTextBesideItself) {
  write("one two", "prompt.txt");
  const Trace trace = load_trace(write(
      with(R"(, "phases": {"decode_tokens": 1}, "task": {"text_file": "prompt.txt", "expected": "3"})")));
  EXPECT_EQ(trace.text, "one two");
  EXPECT_EQ(trace.expected, "3");
}

TEST_F(TraceFile, EveryShippedTraceIsValidAndBearsItsFilesName) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(data_root() / "traces"))
    if (entry.path().extension() == ".json") {
      EXPECT_EQ(load_trace(entry.path()).name, entry.path().stem());
      ++found;
    }
  EXPECT_GE(found, 8);
}

TEST_F(TraceFile, BadFilesAreRefusedWithPlaceAndExpectation) {
  const auto message = [this](const std::string& text, const std::string& part) {
    const std::filesystem::path file = write(text);
    EXPECT_THAT([&] { load_trace(file); }, ThrowsMessage<InputError>(HasSubstr(part))) << text;
  };
  const std::string phases = R"(, "phases": {"decode_tokens": 5})";
  message("{", "not valid JSON");
  message(R"({"schema": "lawcat-trace/2"})", "schema: expected lawcat-trace/1, got lawcat-trace/2");
  message(R"({"schema": "lawcat-trace/1", "name": "a/b"})", "name: expected a name that can be a folder's");
  message(with(R"(, "phases": {"prefill_tokens": 0, "decode_tokens": 0})"),
          "phases.prefill_tokens: expected");
  message(with(phases), "phases.prefill_tokens: expected this key");
  message(with(phases + R"(, "task": {}, "speed": 1)"), "task.generator: expected exactly one of");
  message(with(phases + R"(, "task": {"text": "a", "text_file": "b"})"), "got 2 of them");
  message(with(phases + R"(, "task": {"text": "a"}, "speed": 1)"), "speed: expected one of the keys");
  message(with(phases + R"(, "task": {"text_file": "absent.txt"})"), "absent.txt: cannot open");
  message(
      with(phases + R"(, "task": {"generator": "riddle"})"),
      "task.generator: expected one of passkey, s-niah-1, s-niah-2, s-niah-3, babilong-qa2, babilong-qa3, "
      "got riddle");
  message(with(phases + R"(, "task": {"generator": "passkey", "tokens": 10, "seed": 1})"),
          "task.tokens: expected");
  message(with(phases + R"(, "task": {"generator": "passkey", "tokens": 100, "seed": 1, "depth": 2})"),
          "task.depth: expected a number from 0 to 1, got 2");
  message(with(phases + R"(, "task": {"generator": "passkey", "tokens": 100, "seed": 1, "distractors": 4})"),
          "task.distractors: expected");
  message(with(phases + R"(, "task": {"generator": "s-niah-1", "tokens": 100, "seed": 1, "noise": 0.5})"),
          "task.noise: expected one of the keys");
  message(with(R"(, "phases": {"decode_tokens": 5, "prefill_tokens": 9}, "task": {"text": "a"})"),
          "phases.prefill_tokens: expected one of the keys decode_tokens");
}

TEST_F(TraceFile, BareNamesAreFoundAmongTheShippedOnes) {
  EXPECT_EQ(find_trace("passkey1k"), data_root() / "traces" / "passkey1k.json");
  EXPECT_EQ(find_trace("passkey1k.json"), data_root() / "traces" / "passkey1k.json");
  EXPECT_EQ(find_trace(write("{}").string()), folder_ / "t.json");
  EXPECT_THAT([] { find_trace("absent"); }, ThrowsMessage<InputError>(HasSubstr("traces/absent.json")));
}

TEST_F(TraceFile, TokensAreHeldToTheVocabulary) {
  const auto file = [this](const std::vector<std::int64_t>& tokens, std::vector<std::int64_t> shape) {
    write_safetensors(folder_ / "t.safetensors",
                      {{"tokens", DType::i64, std::move(shape), std::as_bytes(std::span(tokens))}});
    return folder_ / "t.safetensors";
  };
  EXPECT_EQ(read_tokens(file({1, 0, 9}, {3}), 10), (std::vector<int>{1, 0, 9}));
  file({1, 10, 9}, {3});
  EXPECT_THAT([this] { read_tokens(folder_ / "t.safetensors", 10); },
              ThrowsMessage<InputError>(HasSubstr("tokens[1]: expected a token id from 0 to 9, got 10")));
  file({1, 1}, {1, 2});
  EXPECT_THAT([this] { read_tokens(folder_ / "t.safetensors", 10); },
              ThrowsMessage<InputError>(HasSubstr("expected shape [T]")));
}

}  // namespace
}  // namespace lawcat

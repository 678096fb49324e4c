// SPDX-License-Identifier: Apache-2.0
// Safetensors: what is written is read back, and no malformed file gets past opening.
#include "hostlib/io/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using test::expect_input_error;
using test::TemporaryFolder;

std::string file_of(const std::string& header, const std::string& data) {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

/// The sentence for a file with this header and `bytes` bytes of data contains all of `parts`.
template <typename... Parts>
void expect_refused(const std::string& header, std::size_t bytes, const Parts&... parts) {
  const TemporaryFolder folder;
  const auto file = folder.add("x.safetensors", file_of(header, std::string(bytes, '\0')));
  expect_input_error([&] { SafeTensors::open(file); }, "x.safetensors", parts...);
}

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

TEST(SafeTensors, ReadsBackWhatWasWritten) {
  const TemporaryFolder folder;
  const std::vector<std::uint8_t> u8 = {1, 255, 3};
  const std::vector<float> f32 = {1.5f, -2.0f, 0.0f, 3.25f, 1e-40f, -0.0f};
  const std::vector<std::int64_t> i64 = {-1, 1LL << 40};
  write_safetensors(folder / "x.safetensors",
                    {{"u8", DType::u8, {3}, bytes_of(u8)},
                     {"f32", DType::f32, {2, 3}, bytes_of(f32)},
                     {"i64", DType::i64, {2}, bytes_of(i64)},
                     {"none", DType::f32, {0, 4}, {}}},
                    {{"made_by", "test"}});
  const SafeTensors file = SafeTensors::open(folder / "x.safetensors");
  EXPECT_EQ(file.all().size(), 4u);
  EXPECT_EQ(file.at("f32", {2, 3}).to_floats(), f32);
  EXPECT_EQ(file.at("i64").to_ints(), i64);
  EXPECT_EQ(file.at("u8").to_ints(), (std::vector<std::int64_t>{1, 255, 3}));
  EXPECT_EQ(file.at("none").element_count(), 0);
}

TEST(SafeTensors, ConvertsEveryFloatingTypeExactly) {
  const TemporaryFolder folder;
  const std::vector<std::uint16_t> bf16 = {0x3f80, 0xc000, 0x0001};
  const std::vector<std::uint16_t> f16 = {0x3c00, 0xc000, 0x0001, 0x83ff, 0x7bff, 0x0400, 0x8000};
  const std::vector<double> f64 = {0.1};
  const std::vector<std::int16_t> i16 = {-32768};
  write_safetensors(folder / "x.safetensors", {{"bf16", DType::bf16, {3}, bytes_of(bf16)},
                                               {"f16", DType::f16, {7}, bytes_of(f16)},
                                               {"f64", DType::f64, {1}, bytes_of(f64)},
                                               {"i16", DType::i16, {1}, bytes_of(i16)}});
  const SafeTensors file = SafeTensors::open(folder / "x.safetensors");
  EXPECT_EQ(file.at("bf16").to_floats(), (std::vector<float>{1.0f, -2.0f, std::ldexp(1.0f, -133)}));
  EXPECT_EQ(file.at("f16").to_floats(),
            (std::vector<float>{1.0f, -2.0f, std::ldexp(1.0f, -24), -1023 * std::ldexp(1.0f, -24), 65504.0f,
                                std::ldexp(1.0f, -14), -0.0f}));
  EXPECT_EQ(file.at("f64").to_floats(), (std::vector<float>{0.1f}));
  EXPECT_EQ(file.at("i16").to_floats(), (std::vector<float>{-32768.0f}));
}

TEST(SafeTensors, RefusesNaNAndInfinityWhereTheyAre) {
  const TemporaryFolder folder;
  const std::vector<float> nan = {1, std::numeric_limits<float>::quiet_NaN()};
  const std::vector<std::uint16_t> inf = {0, 0, 0x7c00};
  write_safetensors(folder / "x.safetensors",
                    {{"nan", DType::f32, {2}, bytes_of(nan)}, {"inf", DType::f16, {3}, bytes_of(inf)}});
  const SafeTensors file = SafeTensors::open(folder / "x.safetensors");
  expect_input_error([&] { file.at("nan").to_floats(); }, "x.safetensors: tensor nan", "nan at element 1");
  expect_input_error([&] { file.at("inf").to_floats(); }, "inf at element 2");
}

TEST(SafeTensors, RefusesTheWrongKindOfNumber) {
  const TemporaryFolder folder;
  const std::vector<std::int64_t> i64 = {1};
  const std::vector<float> f32 = {1};
  const std::vector<std::uint8_t> flag = {1};
  write_safetensors(folder / "x.safetensors", {{"i64", DType::i64, {1}, bytes_of(i64)},
                                               {"f32", DType::f32, {1}, bytes_of(f32)},
                                               {"flag", DType::boolean, {1}, bytes_of(flag)}});
  const SafeTensors file = SafeTensors::open(folder / "x.safetensors");
  expect_input_error([&] { file.at("i64").to_floats(); }, "tensor i64", "got I64");
  expect_input_error([&] { file.at("flag").to_floats(); }, "got BOOL");
  expect_input_error([&] { file.at("f32").to_ints(); }, "an integer type, got F32");
}

TEST(SafeTensors, RefusesAMissingTensorAndAWrongShape) {
  const TemporaryFolder folder;
  const std::vector<float> f32 = {1, 2};
  write_safetensors(folder / "x.safetensors", {{"a", DType::f32, {2}, bytes_of(f32)}});
  const SafeTensors file = SafeTensors::open(folder / "x.safetensors");
  EXPECT_TRUE(file.has("a"));
  EXPECT_FALSE(file.has("b"));
  expect_input_error([&] { file.at("b"); }, "x.safetensors", "a tensor b");
  expect_input_error([&] { file.at("a", {1, 2}); }, "tensor a", "shape [1, 2], got [2]");
}

TEST(SafeTensors, RefusesATruncatedFile) {
  const TemporaryFolder folder;
  const std::string whole =
      file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", std::string(8, '\0'));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto file = folder.add("x.safetensors", whole.substr(0, size));
    EXPECT_THROW(SafeTensors::open(file), InputError) << size << " bytes";
  }
  EXPECT_NO_THROW(SafeTensors::open(folder.add("x.safetensors", whole)));
}

TEST(SafeTensors, RefusesAHeaderLongerThanTheFile) {
  const TemporaryFolder folder;
  const auto file = folder.add("x.safetensors", std::string(8, '\xff') + "{}");
  expect_input_error([&] { SafeTensors::open(file); }, "at most 2 bytes", "18446744073709551615");
}

TEST(SafeTensors, RefusesABadHeader) {
  expect_refused("{nonsense", 0, "header: not valid JSON", "line 1");
  expect_refused("[]", 0, "header: expected a JSON object");
  expect_refused(R"({"a": 1})", 0, "tensor a: expected an object");
  expect_refused(R"({"__metadata__": {"format": 1}})", 0, "__metadata__.format: expected a string, got 1");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1]}})", 4, "tensor a.data_offsets");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "tensor a.x");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                 R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                 8, "\"a\" a second time");
}

TEST(SafeTensors, RefusesAnUnknownType) {
  expect_refused(R"({"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}})", 4, "tensor a.dtype", "BF16",
                 "got F7");
}

TEST(SafeTensors, RefusesANegativeOrOverflowingShape) {
  expect_refused(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "tensor a.shape[0]",
                 "got -1");
  expect_refused(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4,
                 "tensor a.shape", "fits in memory", "[4294967296, 4294967296]");
}

TEST(SafeTensors, RefusesAWrongByteLength) {
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
                 "8 bytes for F32 [2], got 4 bytes");
}

TEST(SafeTensors, RefusesOffsetsOutsideTheFile) {
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "begin <= end <= 4",
                 "[0, 8]");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "[4, 0]");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "[0]");
}

TEST(SafeTensors, RefusesOverlapsGapsAndALongTail) {
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  expect_refused("{" + a + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, "tensor b",
                 "ends, at 8, got 4");
  expect_refused("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})", 16, "at 8, got 12");
  expect_refused("{" + a + "}", 12, "8 bytes of tensor data, got 12");
}

TEST(SafeTensors, RefusesAFolderWithoutWeights) {
  const TemporaryFolder folder;
  expect_input_error([&] { SafeTensors::open(folder.path()); }, "model.safetensors.index.json", "neither");
}

class ShardedSafeTensors : public testing::Test {
 protected:
  void SetUp() override {
    const std::vector<float> one = {1};
    const std::vector<float> two = {2};
    write_safetensors(folder_ / "s1.safetensors", {{"a", DType::f32, {1}, bytes_of(one)}});
    write_safetensors(folder_ / "s2.safetensors", {{"b", DType::f32, {1}, bytes_of(two)}});
  }
  void add_index(const std::string& weight_map) const {
    folder_.add("model.safetensors.index.json",
                R"({"metadata":{"total_size":8},"weight_map":)" + weight_map + "}");
  }
  TemporaryFolder folder_;
};

TEST_F(ShardedSafeTensors, ReadAsOne) {
  add_index(R"({"a":"s1.safetensors","b":"s2.safetensors"})");
  const SafeTensors file = SafeTensors::open(folder_.path());
  EXPECT_EQ(file.at("a").to_floats()[0], 1.0f);
  EXPECT_EQ(file.at("b").to_floats()[0], 2.0f);
}

TEST_F(ShardedSafeTensors, RefuseAMissingShard) {
  add_index(R"({"a":"s1.safetensors","b":"s3.safetensors"})");
  expect_input_error([&] { SafeTensors::open(folder_.path()); }, "index.json", "b",
                     "s3.safetensors, which is missing");
}

TEST_F(ShardedSafeTensors, RefuseATensorThatItsShardLacks) {
  add_index(R"({"a":"s2.safetensors"})");
  expect_input_error([&] { SafeTensors::open(folder_.path()); }, "weight_map.a", "s2.safetensors");
}

TEST_F(ShardedSafeTensors, RefuseAShardOutsideTheFolderAndAnIndexWithoutAMap) {
  add_index(R"({"a":"../s1.safetensors"})");
  expect_input_error([&] { SafeTensors::open(folder_.path()); }, "same folder");
  folder_.add("model.safetensors.index.json", "{}");
  expect_input_error([&] { SafeTensors::open(folder_.path()); }, "weight_map");
}

TEST(WriteSafeTensors, RefusesWrongLengthsAndRepeatedNamesAndLeavesNothing) {
  const TemporaryFolder folder;
  const std::vector<float> f32 = {1, 2};
  const auto file = folder / "x.safetensors";
  expect_input_error(
      [&] {
        write_safetensors(file, {{"a", DType::f32, {3}, bytes_of(f32)}});
      },
      "tensor a", "12 bytes, got 8 bytes");
  expect_input_error(
      [&] {
        write_safetensors(file,
                          {{"a", DType::f32, {2}, bytes_of(f32)}, {"a", DType::f32, {2}, bytes_of(f32)}});
      },
      "tensor a", "a second time");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace lawcat

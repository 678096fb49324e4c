// SPDX-License-Identifier: Apache-2.0
// Vectors: what is written is read, shapes are deduced and checked, random ones keep their promise.
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "hostlib/io/error.h"
#include "hostlib/io/safetensors.h"
#include "hostlib/trace/random_vectors.h"
#include "hostlib/trace/vectors.h"
#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr UnitShape kShape{.heads = 4, .kv_heads = 2, .head_dim = 6, .feature_dim = 3};

class Vectors : public testing::Test {
 protected:
  test::TemporaryFolder folder_;
  std::filesystem::path file_ = folder_ / "x.safetensors";
};

TEST_F(Vectors, RoundTripKeepsEveryBit) {
  UnitVectors in = random_vectors(kShape, 5, GateRegime::spiky, 3);
  in.state.assign(4 * 6 * 7, 0.25f);
  write_vectors(file_, in);
  const UnitVectors out = read_vectors(file_);
  EXPECT_EQ(out.shape, in.shape);
  EXPECT_EQ(out.tokens, 5);
  EXPECT_EQ(out.q, in.q);
  EXPECT_EQ(out.k, in.k);
  EXPECT_EQ(out.v, in.v);
  EXPECT_EQ(out.gk, in.gk);
  EXPECT_EQ(out.state, in.state);
  EXPECT_EQ(out.weights.q_conv1d, in.weights.q_conv1d);
  EXPECT_EQ(out.weights.k_conv1d, in.weights.k_conv1d);
  EXPECT_EQ(out.weights.feature_map, in.weights.feature_map);
}

TEST_F(Vectors, Bfloat16ValuesAreStoredInHalfTheRoomWithTheSameHash) {
  UnitVectors vectors = random_vectors(kShape, 50, GateRegime::plain, 3);
  write_vectors(file_, vectors);
  const auto wide = std::filesystem::file_size(file_);
  vectors.round_to_bf16();
  const std::string hash = vectors.sha256();
  write_vectors(file_, vectors);
  EXPECT_LT(std::filesystem::file_size(file_), 0.6 * static_cast<double>(wide));
  const UnitVectors read = read_vectors(file_);
  EXPECT_EQ(read.q, vectors.q);
  EXPECT_EQ(read.sha256(), hash);
  UnitVectors other = read;
  other.gk.back() = -other.gk.back();
  EXPECT_NE(other.sha256(), hash);
}

TEST(Bfloat16, RoundsToNearestTiesToEven) {
  UnitVectors vectors;
  vectors.q = {1.0f, 1.00390625f, 1.01171875f, 1.004f, -3.14159265f};
  vectors.round_to_bf16();
  EXPECT_EQ(vectors.q, (std::vector<float>{1.0f, 1.0f, 1.015625f, 1.0078125f, -3.140625f}));
}

TEST(Bfloat16, RefusesWhatItCannotHold) {
  UnitVectors vectors;
  vectors.v = {1, -3.4028234e38f};
  test::expect_input_error([&] { vectors.round_to_bf16(); },
                           "unit vectors v[1]: expected a number that bfloat16");
}

class Captures : public testing::Test {
 protected:
  Captures() {
    vectors_ = random_vectors(kShape, 2, GateRegime::plain, 1);
    result_ = {std::vector<float>(2 * 4 * 6, 1.5f), std::vector<float>(4 * 6 * 7, -2.f)};
    write_vectors(vectors_file_, vectors_);
  }
  test::TemporaryFolder folder_;
  std::filesystem::path vectors_file_ = folder_ / "a.vectors.safetensors";
  std::filesystem::path capture_file_ = folder_ / "a.gpu.safetensors";
  UnitVectors vectors_;
  UnitResult result_;
};

TEST_F(Captures, TheOneBesideItsVectorsIsFoundWithItsProvenance) {
  write_result(capture_file_, vectors_, result_, {{"device", "a GPU"}});
  const Capture capture = find_gpu_capture(vectors_, vectors_file_);
  EXPECT_EQ(capture.file, capture_file_);
  EXPECT_EQ(capture.result.o, result_.o);
  EXPECT_EQ(capture.provenance.at("device"), "a GPU");
}

TEST_F(Captures, OfOtherVectorsIsRefused) {
  UnitVectors other = vectors_;
  other.v[3] += 1;
  write_result(capture_file_, other, result_);
  test::expect_input_error([&] { find_gpu_capture(vectors_, vectors_file_); }, "a.gpu.safetensors: expected",
                           "got that for others (" + other.sha256());
}

TEST_F(Captures, ThatDoesNotSayOfWhatIsRefused) {
  write_safetensors(capture_file_, {});
  test::expect_input_error([&] { find_gpu_capture(vectors_, vectors_file_); }, "no word of which vectors");
}

TEST_F(Captures, NoneIsSaidWithTheHash) {
  test::expect_input_error([&] { find_gpu_capture(vectors_, vectors_file_); }, "--against gpu",
                           vectors_.sha256(), "got none");
  test::expect_input_error([] { find_vectors("no such vectors"); }, "--vectors no such vectors", "neither");
}

TEST_F(Vectors, ResultRoundTripIsHeldToTheShape) {
  const UnitVectors vectors = random_vectors(kShape, 2, GateRegime::plain, 1);
  const UnitResult result{std::vector<float>(2 * 4 * 6, 1.5f), std::vector<float>(4 * 6 * 7, -2.f)};
  write_result(file_, vectors, result);
  EXPECT_EQ(read_result(file_, vectors).o, result.o);
  EXPECT_EQ(read_result(file_, vectors).state, result.state);
  const UnitVectors longer = random_vectors(kShape, 3, GateRegime::plain, 1);
  EXPECT_THAT([&] { read_result(file_, longer); }, ThrowsMessage<InputError>(HasSubstr("tensor o")));
}

TEST_F(Vectors, JobsCutTheTokensOut) {
  const UnitVectors vectors = random_vectors(kShape, 5, GateRegime::plain, 1);
  std::vector<float> o(5 * 24);
  const Job job = vectors.job(2, 3, o);
  EXPECT_EQ(job.tokens, 3);
  EXPECT_EQ(job.q.data(), vectors.q.data() + 2 * 24);
  EXPECT_EQ(job.k.data(), vectors.k.data() + 2 * 12);
  EXPECT_EQ(job.gk.data(), vectors.gk.data() + 2 * 12);
  EXPECT_EQ(job.o.data(), o.data() + 2 * 24);
  validate(kShape, job);
}

TEST_F(Vectors, MistakesNameTheTensor) {
  const UnitVectors good = random_vectors(kShape, 2, GateRegime::plain, 1);
  const auto message = [this](const auto& change, const std::string& tensor, const std::string& part) {
    UnitVectors bad = random_vectors(kShape, 2, GateRegime::plain, 1);
    change(bad);
    std::vector<TensorOut> tensors;
    write_vectors(file_, bad);
    EXPECT_THAT([this] { read_vectors(file_); },
                ThrowsMessage<InputError>(testing::AllOf(HasSubstr(tensor), HasSubstr(part))));
  };
  message([](UnitVectors& v) { v.q[7] = std::numeric_limits<float>::quiet_NaN(); }, "tensor q", "nan");
  message([](UnitVectors& v) { v.gk[3] = std::numeric_limits<float>::infinity(); }, "tensor gk", "inf");

  const auto write = [&](const std::string& name, const std::vector<std::int64_t>& shape) {
    // Every tensor right but one.
    std::vector<TensorOut> tensors = {
        {"q", DType::f32, {2, 4, 6}, {}},          {"k", DType::f32, {2, 2, 6}, {}},
        {"v", DType::f32, {2, 2, 6}, {}},          {"gk", DType::f32, {2, 2, 6}, {}},
        {"q_conv1d", DType::f32, {24, 4}, {}},     {"k_conv1d", DType::f32, {24, 4}, {}},
        {"feature_map", DType::f32, {4, 6, 3}, {}}};
    static const std::vector<float> zeros(1000);
    bool known = false;
    for (TensorOut& tensor : tensors) {
      if (tensor.name == name) {
        tensor.shape = shape;
        known = true;
      }
    }
    if (!known) tensors.push_back({name, DType::f32, shape, {}});
    std::erase_if(tensors, [](const TensorOut& tensor) { return tensor.shape.empty(); });
    for (TensorOut& tensor : tensors) {
      std::size_t elements = 1;
      for (const std::int64_t n : tensor.shape) elements *= static_cast<std::size_t>(n);
      tensor.bytes = std::as_bytes(std::span(zeros)).first(4 * elements);
    }
    write_safetensors(file_, tensors);
  };
  const auto refused = [&](const std::string& name, const std::vector<std::int64_t>& shape,
                           const std::string& part) {
    write(name, shape);
    EXPECT_THAT([this] { read_vectors(file_); },
                ThrowsMessage<InputError>(testing::AllOf(HasSubstr(name), HasSubstr(part))))
        << name;
  };
  write("q", {2, 4, 6});
  EXPECT_EQ(read_vectors(file_).shape, kShape);
  refused("q", {2, 24}, "expected shape [T, H, D], got shape [2, 24]");
  refused("k", {2, 3, 6}, "expected a number of heads that divides q's 4, got 3");
  refused("k", {1, 2, 6}, "[2, 2, 6]");
  refused("v", {2, 2, 5}, "[2, 2, 6]");
  refused("gk", {2, 2, 5}, "[2, 2, 6]");
  refused("q_conv1d", {24, 3}, "[24, 4]");
  refused("k_conv1d", {20, 4}, "[24, 4]");
  refused("feature_map", {4, 5, 3}, "[4, 6, 3]");
  refused("state", {4, 6, 6}, "[4, 6, 7]");
  refused("gates", {1}, "only the tensors");
  refused("v", {}, "v");
}

TEST(RandomVectors, GateLogitsFollowTheRegime) {
  const auto moments = [](GateRegime regime) {
    const std::vector<float> gk = random_vectors(kShape, 500, regime, 1).gk;
    double sum = 0;
    double squares = 0;
    for (const float x : gk) {
      sum += x;
      squares += x * x;
    }
    const double mean = sum / static_cast<double>(gk.size());
    return std::pair(mean, std::sqrt(squares / static_cast<double>(gk.size()) - mean * mean));
  };
  EXPECT_THAT(moments(parse_gate_regime("plain")),
              testing::Pair(testing::DoubleNear(0, 0.2), testing::DoubleNear(2, 0.1)));
  EXPECT_THAT(moments(parse_gate_regime("long")),
              testing::Pair(testing::DoubleNear(9, 0.2), testing::DoubleNear(2, 0.1)));
  EXPECT_THAT(moments(parse_gate_regime("spiky")),
              testing::Pair(testing::DoubleNear(0, 0.4), testing::DoubleNear(8, 0.3)));
  EXPECT_THAT([] { parse_gate_regime("wild"); },
              ThrowsMessage<InputError>("gate regime: expected plain, long or spiky, got wild"));
}

TEST(RandomVectors, AreSeededAndValid) {
  const UnitVectors a = random_vectors(kShape, 4, GateRegime::plain, 1);
  EXPECT_EQ(a.q, random_vectors(kShape, 4, GateRegime::plain, 1).q);
  EXPECT_NE(a.q, random_vectors(kShape, 4, GateRegime::plain, 2).q);
  validate(kShape, a.weights);
  EXPECT_THROW(random_vectors(kShape, 0, GateRegime::plain, 1), InputError);
}

}  // namespace
}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The CUDA form of the dense work and of softmax attention against hostlib/ops, on operands that bf16 holds
// exactly. Bounds: 5e-5 where the result is fp32 (the order of sums, and tensor cores cut off bits as they
// add), 4e-3 where it is rounded to bf16 (half a unit in the last of 8 bits is 2e-3), 8e-3 where operands in
// between are rounded too.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <span>

#include "hostlib/ops/dense.h"
#include "hostlib/ops/rope.h"
#include "hostlib/ops/softmax_attention.h"
#include "kernels/dense/dense.h"
#include "kernels/dense/gate_up.h"
#include "kernels/dense/matmul.h"
#include "kernels/softmax/softmax_attention.h"
#include "tests/support/cuda_test.h"

namespace lawcat {
namespace {

using cuda::check;
using cuda::DeviceBuffer;
using test::distance;
using test::download;
using test::poisoned;
using test::random_bf16;
using test::to_bf16;
using test::to_floats;
using test::upload;
using Bf16 = __nv_bfloat16;

constexpr double kFp32Bound = 5e-5;
constexpr double kBf16Bound = 4e-3;
constexpr double kTwiceRoundedBound = 8e-3;

std::size_t size(std::int64_t count) {
  return static_cast<std::size_t>(count);
}

/// [rows, columns] as the first columns of rows of `stride`, the others NaN.
std::vector<float> widen(const std::vector<float>& x, int rows, int columns, int stride) {
  std::vector<float> wide(size(std::int64_t{rows} * stride), NAN);
  for (int row = 0; row < rows; ++row)
    std::copy_n(x.begin() + row * columns, columns, wide.begin() + row * stride);
  return wide;
}

std::vector<float> narrow(const std::vector<float>& wide, int rows, int columns, int stride) {
  std::vector<float> x;
  for (int row = 0; row < rows; ++row)
    x.insert(x.end(), wide.begin() + row * stride, wide.begin() + row * stride + columns);
  return x;
}

class Dense : public test::CudaTest {};

class MatmulShapes : public test::CudaTest, public testing::WithParamInterface<std::array<int, 3>> {
 protected:
  const int tokens_ = GetParam()[0], in_ = GetParam()[1], out_ = GetParam()[2];
  const int x_stride_ = in_ + 24, y_stride_ = out_ + 8;
  const std::vector<float> x_ = random_bf16(size(tokens_ * in_), 1);
  const std::vector<float> w_ = random_bf16(size(out_ * in_), 2);
  std::vector<float> expected() const {
    std::vector<float> y(size(tokens_ * out_));
    matmul(x_, w_, tokens_, y);
    return y;
  }
};

TEST_P(MatmulShapes, EqualsTheHostsInBothTypesAndAddsAndLeavesOtherColumnsAlone) {
  const DeviceBuffer x = upload(to_bf16(widen(x_, tokens_, in_, x_stride_)));
  const DeviceBuffer w = upload(to_bf16(w_));
  const cuda::Stream stream;
  cuda::Matmul matmul_on_gpu;
  cuda::MatmulCall call{.x = x.as<Bf16>(),
                        .x_stride = x_stride_,
                        .w = w.as<Bf16>(),
                        .y_stride = y_stride_,
                        .tokens = tokens_,
                        .in = in_,
                        .out = out_};
  const std::size_t count = size(tokens_ * y_stride_);
  const std::vector<float> product = expected();

  const DeviceBuffer rounded = poisoned<Bf16>(count);
  call.y = rounded.data();
  matmul_on_gpu(call, stream.get());
  const auto in_bf16 = to_floats(download<Bf16>(rounded.data(), count));
  EXPECT_LT(distance(narrow(in_bf16, tokens_, out_, y_stride_), product), kBf16Bound);
  for (int row = 0; row < tokens_; ++row)
    EXPECT_TRUE(std::isnan(in_bf16[size(row * y_stride_ + out_)])) << row;

  const DeviceBuffer sums = poisoned<float>(count);
  call.y = sums.data();
  call.y_is_fp32 = true;
  matmul_on_gpu(call, stream.get());
  const auto once = narrow(download<float>(sums.data(), count), tokens_, out_, y_stride_);
  EXPECT_LT(distance(once, product), kFp32Bound);

  call.accumulate = true;
  matmul_on_gpu(call, stream.get());
  const auto twice = narrow(download<float>(sums.data(), count), tokens_, out_, y_stride_);
  std::vector<float> doubled = product;
  for (float& value : doubled) value *= 2;
  EXPECT_LT(distance(twice, doubled), kFp32Bound);

  call.accumulate = false;
  matmul_on_gpu(call, stream.get());
  EXPECT_EQ(narrow(download<float>(sums.data(), count), tokens_, out_, y_stride_), once)
      << "same call, same bits";
}

INSTANTIATE_TEST_SUITE_P(OddSizes, MatmulShapes,
                         testing::Values(std::array{1, 128, 384}, std::array{1, 2048, 200},
                                         std::array{2, 16, 8}, std::array{3, 64, 136},
                                         std::array{37, 72, 1000}, std::array{129, 704, 256},
                                         std::array{300, 256, 72}),
                         [](const auto& p) {
                           return fmt::format("{}x{}x{}", p.param[0], p.param[1], p.param[2]);
                         });

TEST_F(Dense, ALargeProductsChosenAlgorithmIsRightAndGivesTheSameBitsInEveryObject) {
  constexpr int kTokens = 1024, kIn = 4096, kOut = 4096, kCompared = 16;  // enough operations to choose
  const auto x = random_bf16(size(kTokens * kIn), 1), w = random_bf16(size(kOut * kIn), 2);
  std::vector<float> expected(size(kCompared * kOut));
  matmul(std::span(x).first(size(kCompared * kIn)), w, kCompared, expected);
  const DeviceBuffer dx = upload(to_bf16(x)), dw = upload(to_bf16(w));
  std::array<std::vector<float>, 2> results;
  for (auto& result : results) {
    const DeviceBuffer y = poisoned<float>(size(kTokens * kOut));
    cuda::Matmul matmul_on_gpu;
    const cuda::Stream stream;
    matmul_on_gpu({.x = dx.as<Bf16>(),
                   .x_stride = kIn,
                   .w = dw.as<Bf16>(),
                   .y = y.data(),
                   .y_stride = kOut,
                   .tokens = kTokens,
                   .in = kIn,
                   .out = kOut,
                   .y_is_fp32 = true},
                  stream.get());
    stream.wait();
    result = download<float>(y.data(), size(kTokens * kOut));
  }
  EXPECT_EQ(results[0], results[1]);
  results[0].resize(expected.size());
  EXPECT_LT(distance(results[0], expected), kFp32Bound);
}

class GateUpShapes : public test::CudaTest, public testing::WithParamInterface<std::array<int, 3>> {};

TEST_P(GateUpShapes, GateUpEqualsTheHostsProductsAndSwigluAndWritesNothingElse) {
  const auto [rows, in, channels] = GetParam();
  const int x_stride = in + 24;
  constexpr int kBehind = 4096;
  const auto x = random_bf16(size(rows * in), 1), w = random_bf16(size(2 * channels * in), 2);
  std::vector<float> gate(size(rows * channels)), up(gate.size());
  matmul(x, std::span(w).first(size(channels * in)), rows, gate);
  matmul(x, std::span(w).last(size(channels * in)), rows, up);
  const float largest = std::ranges::max(gate);
  swiglu(gate, up);

  const DeviceBuffer dx = upload(to_bf16(widen(x, rows, in, x_stride))), dw = upload(to_bf16(w));
  const cuda::Stream stream;
  std::array<std::vector<Bf16>, 2> results;
  for (auto& result : results) {
    const DeviceBuffer h = poisoned<Bf16>(gate.size() + kBehind);
    check(cuda::gate_up({.x = dx.as<Bf16>(),
                         .x_stride = x_stride,
                         .w = dw.as<Bf16>(),
                         .h = h.as<Bf16>(),
                         .rows = rows,
                         .in = in,
                         .channels = channels},
                        stream.get()),
          "gate_up");
    stream.wait();
    result = download<Bf16>(h.data(), gate.size() + kBehind);
  }
  auto values = to_floats(results[0]);
  EXPECT_TRUE(std::all_of(values.begin() + static_cast<std::ptrdiff_t>(gate.size()), values.end(),
                          [](float value) { return std::isnan(value); }));
  EXPECT_EQ(std::memcmp(results[0].data(), results[1].data(), results[0].size() * sizeof(Bf16)), 0)
      << "same call, same bits";
  values.resize(gate.size());
  EXPECT_LT(distance(values, gate), kBf16Bound) << "gates up to " << largest;
}

INSTANTIATE_TEST_SUITE_P(OddSizes, GateUpShapes,
                         testing::Values(std::array{1, 8, 8}, std::array{77, 72, 136},
                                         std::array{129, 200, 264}, std::array{300, 2048, 104},
                                         std::array{640, 136, 1000}, std::array{2100, 64, 2744},
                                         // Several tiles a cluster, each of more steps than it has stages.
                                         std::array{2100, 520, 2744}),
                         [](const auto& p) {
                           return fmt::format("{}x{}x{}", p.param[0], p.param[1], p.param[2]);
                         });

// Of a size at which a model takes it: the same as the products and SwiGLU that it stands for.
TEST_F(Dense, GateUpWhereItIsProfitableEqualsProductsAndSwiglu) {
  constexpr int kRows = 2048, kIn = 2048, kChannels = 8192;
  const DeviceBuffer x = upload(to_bf16(random_bf16(size(kRows * kIn), 1))),
                     w = upload(to_bf16(random_bf16(std::size_t{2} * kChannels * kIn, 2, 0.02F))),
                     h = poisoned<Bf16>(std::size_t{kRows} * kChannels),
                     both = poisoned<Bf16>(std::size_t{2} * kRows * kChannels),
                     expected = poisoned<Bf16>(std::size_t{kRows} * kChannels);
  const cuda::GateUpCall call{.x = x.as<Bf16>(),
                              .x_stride = kIn,
                              .w = w.as<Bf16>(),
                              .h = h.as<Bf16>(),
                              .rows = kRows,
                              .in = kIn,
                              .channels = kChannels};
  ASSERT_TRUE(cuda::is_profitable(call));
  const cuda::Stream stream;
  check(cuda::gate_up(call, stream.get()), "gate_up");
  cuda::Matmul product;
  product({.x = x.as<Bf16>(),
           .x_stride = kIn,
           .w = w.as<Bf16>(),
           .y = both.data(),
           .y_stride = 2 * kChannels,
           .tokens = kRows,
           .in = kIn,
           .out = 2 * kChannels},
          stream.get());
  check(cuda::swiglu(both.as<Bf16>(), kRows, kChannels, expected.as<Bf16>(), stream.get()), "swiglu");
  stream.wait();
  const auto values = [](const DeviceBuffer& from) {
    return to_floats(download<Bf16>(from.data(), std::size_t{kRows} * kChannels));
  };
  // The products' bf16 results are rounded once more on the way to SwiGLU.
  EXPECT_LT(distance(values(h), values(expected)), 2 * kBf16Bound);
}

TEST_F(Dense, GateUpRefusesWhatTheCopyEngineCannotRead) {
  const DeviceBuffer memory(4096);
  cuda::GateUpCall call{.x = memory.as<Bf16>(),
                        .x_stride = 16,
                        .w = memory.as<Bf16>(),
                        .h = memory.as<Bf16>(),
                        .rows = 1,
                        .in = 16,
                        .channels = 16};
  EXPECT_TRUE(cuda::is_supported(call));
  EXPECT_FALSE(cuda::is_profitable(call)) << "few rows";
  call.x_stride = 20;
  EXPECT_EQ(cuda::gate_up(call, nullptr), cudaErrorInvalidValue) << "rows begin at 8 bytes";
  call.x_stride = 16;
  call.w = memory.as<Bf16>() + 4;
  EXPECT_EQ(cuda::gate_up(call, nullptr), cudaErrorInvalidValue) << "weights begin at 8 bytes";
}

TEST_F(Dense, NormEqualsTheHostsForNarrowAndWideRowsAndZeros) {
  for (const int channels : {8, 64, 264, 4096, 16392}) {
    constexpr int kRows = 5;
    auto x = random_bf16(size(kRows * channels), 1, 3);
    std::fill_n(x.begin() + channels, channels, 0.0f);
    const auto weight = random_bf16(size(channels), 2);
    std::vector<float> expected(x.size());
    rms_norm(x, weight, 1e-5f, expected);
    const DeviceBuffer dx = upload(x), dw = upload(weight), y = poisoned<Bf16>(x.size());
    check(cuda::rms_norm(dx.as<float>(), dw.as<float>(), 1e-5f, kRows, channels, y.as<Bf16>(), nullptr),
          "norm");
    EXPECT_LT(distance(to_floats(download<Bf16>(y.data(), x.size())), expected), kBf16Bound) << channels;
  }
}

TEST_F(Dense, SwigluEqualsTheHostsAlsoFarFromZero) {
  for (const int channels : {8, 72, 2056}) {
    constexpr int kRows = 7;
    auto both = random_bf16(size(kRows * 2 * channels), 1, 10);
    both[0] = -200;
    both[1] = 200;
    std::vector<float> gate, up;
    for (int row = 0; row < kRows; ++row) {
      const auto begin = both.begin() + row * 2 * channels;
      gate.insert(gate.end(), begin, begin + channels);
      up.insert(up.end(), begin + channels, begin + 2 * channels);
    }
    swiglu(gate, up);
    const DeviceBuffer d = upload(to_bf16(both)), y = poisoned<Bf16>(gate.size());
    check(cuda::swiglu(d.as<Bf16>(), kRows, channels, y.as<Bf16>(), nullptr), "swiglu");
    EXPECT_LT(distance(to_floats(download<Bf16>(y.data(), gate.size())), gate), kBf16Bound) << channels;
  }
}

TEST_F(Dense, EmbeddingCopiesTheRowsOfTheIds) {
  constexpr int kChannels = 72;
  const auto table = random_bf16(11 * kChannels, 1);
  const std::vector<int> ids = {10, 0, 3, 3};
  const DeviceBuffer dt = upload(to_bf16(table)), di = upload(ids),
                     x = poisoned<float>(ids.size() * kChannels);
  check(cuda::embed(di.as<int>(), static_cast<int>(ids.size()), dt.as<Bf16>(), kChannels, x.as<float>(),
                    nullptr),
        "embed");
  std::vector<float> expected;
  for (const int id : ids)
    expected.insert(expected.end(), table.begin() + id * kChannels, table.begin() + (id + 1) * kChannels);
  EXPECT_EQ(download<float>(x.data(), expected.size()), expected);
}

TEST_F(Dense, ConversionsKeepColumnsAndAddTheBias) {
  constexpr int kRows = 3, kChannels = 40, kStride = 64;
  const auto x = random_bf16(kRows * kChannels, 1);
  const auto bias = random_bf16(kChannels, 2);
  const DeviceBuffer wide = upload(to_bf16(widen(x, kRows, kChannels, kStride))), b = upload(bias);
  const DeviceBuffer y = poisoned<float>(x.size()), back = poisoned<Bf16>(kRows * kStride);
  check(cuda::to_fp32(wide.as<Bf16>(), kStride, kRows, kChannels, b.as<float>(), y.as<float>(), kChannels,
                      nullptr),
        "to fp32");
  std::vector<float> expected = x;
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += bias[i % kChannels];
  EXPECT_EQ(download<float>(y.data(), x.size()), expected);
  check(cuda::to_bf16(y.as<float>(), kChannels, kRows, kChannels, back.as<Bf16>(), kStride, nullptr),
        "to bf16");
  const auto got = to_floats(download<Bf16>(back.data(), kRows * kStride));
  EXPECT_EQ(narrow(got, kRows, kChannels, kStride), to_floats(to_bf16(expected)));
  EXPECT_TRUE(std::isnan(got[kChannels]));
}

TEST_F(Dense, ArgmaxTakesTheFirstOfEqualsInRowsOfAnyLength) {
  for (const int vocab : {1, 31, 257, 5000, 128256}) {
    std::vector<float> logits = random_bf16(size(3 * vocab), 1);
    logits[size(vocab - 1)] = 100;  // row 0: the last
    logits[size(vocab)] = 100;      // row 1: the first, and again
    logits[size(2 * vocab - 1)] = 100;
    const DeviceBuffer d = upload(logits), ids = poisoned<int>(3);
    check(cuda::argmax(d.as<float>(), 3, vocab, ids.as<int>(), nullptr), "argmax");
    const auto row = logits.begin() + 2 * vocab;
    EXPECT_EQ(download<int>(ids.data(), 3),
              (std::vector<int>{vocab - 1, 0, static_cast<int>(std::max_element(row, row + vocab) - row)}))
        << vocab;
  }
}

TEST_F(Dense, SeededValuesRepeatAndHaveTheDeviationAskedFor) {
  constexpr std::size_t kCount = 1000003;
  const DeviceBuffer a = poisoned<Bf16>(kCount), b = poisoned<Bf16>(kCount);
  check(cuda::fill_uniform(a.as<Bf16>(), kCount, 0.5f, 7, nullptr), "fill");
  check(cuda::fill_uniform(b.as<Bf16>(), kCount, 0.5f, 7, nullptr), "fill");
  const auto x = to_floats(download<Bf16>(a.data(), kCount));
  EXPECT_EQ(x, to_floats(download<Bf16>(b.data(), kCount)));
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / kCount;
  double square = 0;
  for (const float value : x) square += std::pow(value - mean, 2);
  EXPECT_NEAR(mean, 0, 3e-3);
  EXPECT_NEAR(std::sqrt(square / kCount), 0.5, 3e-3);
  check(cuda::fill_uniform(b.as<Bf16>(), kCount, 0.5f, 8, nullptr), "fill");
  EXPECT_NE(x, to_floats(download<Bf16>(b.data(), kCount)));
}

/// A prompt through softmax attention on the host and on the GPU, from projected q, k and v.
struct SoftmaxCase {
  int heads, kv_heads, head_dim;
  std::optional<int> window;
};

class Softmax : public test::CudaTest, public testing::WithParamInterface<SoftmaxCase> {
 protected:
  static constexpr int kTokens = 150;
  const SoftmaxCase c_ = GetParam();
  const int q_width_ = c_.heads * c_.head_dim, kv_width_ = c_.kv_heads * c_.head_dim;
  const int stride_ = q_width_ + 2 * kv_width_ + 8;
  const std::vector<float> q_ = random_bf16(size(kTokens * q_width_), 1),
                           k_ = random_bf16(size(kTokens * kv_width_), 2),
                           v_ = random_bf16(size(kTokens * kv_width_), 3);
  const Rope rope_{c_.head_dim, 10000, std::nullopt};

  std::vector<float> expected() const {
    std::vector<float> q = q_, k = k_, o(q_.size());
    rope_.apply(q, kTokens, 0);
    rope_.apply(k, kTokens, 0);
    SoftmaxAttention(c_.heads, c_.kv_heads, c_.head_dim, c_.window).run(q, k, v_, o);
    return o;
  }
};

TEST_P(Softmax, EqualsTheHostsAtOnceInBlocksAndTokenByToken) {
  std::vector<float> rows;
  for (int t = 0; t < kTokens; ++t) {
    const auto append = [&](const std::vector<float>& x, int width) {
      rows.insert(rows.end(), x.begin() + t * width, x.begin() + (t + 1) * width);
    };
    append(q_, q_width_);
    append(k_, kv_width_);
    append(v_, kv_width_);
    rows.insert(rows.end(), 8, NAN);
  }
  ASSERT_EQ(cuda::why_no_softmax(c_.heads, c_.kv_heads, c_.head_dim), "");
  const DeviceBuffer frequencies = upload(rope_.frequencies());
  const int half = c_.head_dim / 2;
  // Two sequences with the same tokens; the second one's cache begins somewhere else.
  constexpr int kCapacity = 160, kSequences = 2;
  const DeviceBuffer workspace(cuda::softmax_workspace_bytes(kSequences, c_.heads, c_.kv_heads, c_.head_dim));
  for (const int block : {kTokens, 64, 1}) {
    const DeviceBuffer keys = poisoned<Bf16>(size(kSequences * kCapacity * kv_width_)),
                       values = poisoned<Bf16>(size(kSequences * kCapacity * kv_width_));
    const DeviceBuffer turns = poisoned<float2>(size(kSequences * block * half));
    const std::size_t count = size(kSequences * kTokens * q_width_);
    const DeviceBuffer qkv = poisoned<Bf16>(size(kSequences * block * stride_)),
                       o = poisoned<Bf16>(size(kSequences * block * q_width_));
    std::vector<float> got(count, NAN);
    for (int first = 0; first < kTokens; first += block) {
      const int tokens = std::min(block, kTokens - first);
      const DeviceBuffer positions = upload(std::vector<int>{first, first});
      const auto part = to_bf16(std::span(rows).subspan(size(first * stride_), size(tokens * stride_)));
      for (int s = 0; s < kSequences; ++s)
        check(cudaMemcpy(qkv.as<Bf16>() + s * tokens * stride_, part.data(), part.size() * sizeof(Bf16),
                         cudaMemcpyHostToDevice),
              "block");
      check(cudaDeviceSynchronize(), "block");
      check(cuda::rope_table(frequencies.as<double>(), half, positions.as<int>(), tokens, kSequences * tokens,
                             turns.as<float2>(), nullptr),
            "table");
      check(cuda::rope({.qkv = qkv.as<Bf16>(),
                        .stride = stride_,
                        .table = turns.as<float2>(),
                        .positions = positions.as<int>(),
                        .tokens = tokens,
                        .rows = kSequences * tokens,
                        .heads = c_.heads,
                        .kv_heads = c_.kv_heads,
                        .head_dim = c_.head_dim,
                        .keys = keys.as<Bf16>(),
                        .values = values.as<Bf16>(),
                        .capacity = kCapacity},
                       nullptr),
            "rope");
      const cuda::SoftmaxCall call{.q = qkv.as<Bf16>(),
                                   .q_stride = stride_,
                                   .keys = keys.as<Bf16>(),
                                   .values = values.as<Bf16>(),
                                   .capacity = kCapacity,
                                   .positions = positions.as<int>(),
                                   .o = o.as<Bf16>(),
                                   .o_stride = q_width_,
                                   .sequences = kSequences,
                                   .tokens = tokens,
                                   .heads = c_.heads,
                                   .kv_heads = c_.kv_heads,
                                   .head_dim = c_.head_dim,
                                   .window = c_.window.value_or(0)};
      check(tokens == 1 ? cuda::softmax_decode(call, workspace.as<float>(), nullptr)
                        : cuda::softmax_prefill(call, nullptr),
            "attention");
      const auto out = to_floats(download<Bf16>(o.data(), size(kSequences * tokens * q_width_)));
      for (int s = 0; s < kSequences; ++s)
        std::copy_n(out.begin() + s * tokens * q_width_, tokens * q_width_,
                    got.begin() + (s * kTokens + first) * q_width_);
    }
    const std::span all(got);
    EXPECT_LT(distance(all.first(count / 2), expected()), kTwiceRoundedBound) << "blocks of " << block;
    EXPECT_TRUE(std::equal(got.begin(), got.begin() + got.size() / 2, got.begin() + got.size() / 2))
        << "sequences";
  }
}

INSTANTIATE_TEST_SUITE_P(Geometries, Softmax,
                         testing::Values(SoftmaxCase{4, 2, 16, {}}, SoftmaxCase{4, 2, 16, 24},
                                         SoftmaxCase{2, 2, 32, {}}, SoftmaxCase{8, 2, 64, {}},
                                         SoftmaxCase{8, 1, 128, {}}, SoftmaxCase{4, 1, 128, 33}),
                         [](const auto& p) {
                           return fmt::format("H{}of{}D{}W{}", p.param.heads, p.param.kv_heads,
                                              p.param.head_dim, p.param.window.value_or(0));
                         });

TEST(SoftmaxGeometry, IsRefusedInASentence) {
  EXPECT_NE(cuda::why_no_softmax(4, 2, 80).find("not 80"), std::string::npos);
  EXPECT_NE(cuda::why_no_softmax(64, 2, 64).find("not 32"), std::string::npos);
}

}  // namespace
}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The dense work in float32 against the same formulas written plainly in double precision.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstdlib>
#include <new>
#include <numbers>
#include <random>
#include <vector>

#include "hostlib/ops/dense.h"
#include "hostlib/ops/rope.h"
#include "hostlib/ops/softmax_attention.h"

/// Bytes that this program was given since it began.
std::size_t given_bytes = 0;

// Not inline: GCC would see malloc() and free() meet new and delete.
[[gnu::noinline]] void* operator new(std::size_t size) {
#pragma omp atomic
  given_bytes += size;
  if (void* const memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace lawcat {
namespace {

std::vector<float> random_floats(std::size_t count, unsigned seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

/// Relative L2 distance of got from expected.
double distance(std::span<const float> got, const std::vector<double>& expected) {
  EXPECT_EQ(got.size(), expected.size());
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += (got[i] - expected[i]) * (got[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference / norm);
}

std::vector<double> naive_matmul(const std::vector<float>& x, const std::vector<float>& w, int tokens, int in,
                                 int out) {
  std::vector<double> y(static_cast<std::size_t>(tokens * out));
  for (int t = 0; t < tokens; ++t)
    for (int o = 0; o < out; ++o)
      for (int i = 0; i < in; ++i) y[t * out + o] += static_cast<double>(x[t * in + i]) * w[o * in + i];
  return y;
}

TEST(Matmul, EqualsTheDoubleFormForOneTokenAndForOddSizes) {
  for (const auto [tokens, in, out] :
       {std::array{1, 128, 384}, {1, 257, 2050}, {2, 16, 3}, {300, 67, 1100}, {129, 704, 256}}) {
    const auto x = random_floats(static_cast<std::size_t>(tokens * in), 1);
    const auto w = random_floats(static_cast<std::size_t>(out * in), 2);
    std::vector<float> y(static_cast<std::size_t>(tokens * out), NAN);
    matmul(x, w, tokens, y);
    EXPECT_LT(distance(y, naive_matmul(x, w, tokens, in, out)), 1e-6) << tokens << ' ' << in << ' ' << out;
  }
}

TEST(Matmul, IsTheSameToTheLastBitForAnyNumberOfThreads) {
  const auto x = random_floats(300 * 704, 1);
  const auto w = random_floats(1100 * 704, 2);
  std::vector<float> one(300 * 1100), three(one.size());
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  matmul(x, w, 300, one);
  omp_set_num_threads(3);
  matmul(x, w, 300, three);
  omp_set_num_threads(threads);
  EXPECT_EQ(one, three);
}

TEST(RmsNorm, EqualsTheDoubleForm) {
  const auto x = random_floats(7 * 130, 1, 3);
  const auto weight = random_floats(130, 2);
  std::vector<float> y(x.size());
  rms_norm(x, weight, 1e-5f, y);
  std::vector<double> expected(x.size());
  for (std::size_t t = 0; t < 7; ++t) {
    double square = 0;
    for (std::size_t c = 0; c < 130; ++c) square += static_cast<double>(x[t * 130 + c]) * x[t * 130 + c];
    for (std::size_t c = 0; c < 130; ++c)
      expected[t * 130 + c] = x[t * 130 + c] / std::sqrt(square / 130 + 1e-5) * weight[c];
  }
  EXPECT_LT(distance(y, expected), 1e-6);
}

TEST(RmsNorm, UsesEpsilonOnARowOfZeros) {
  const std::vector<float> x(8, 0), weight(8, 1);
  std::vector<float> y(8, NAN);
  rms_norm(x, weight, 1e-5f, y);
  EXPECT_EQ(y, x);
}

TEST(Swiglu, EqualsTheDoubleFormAlsoFarFromZero) {
  auto gate = random_floats(10000, 1, 10);
  gate[0] = -200;
  gate[1] = 200;
  const auto up = random_floats(gate.size(), 2);
  std::vector<double> expected;
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const double g = gate[i];
    expected.push_back(g / (1 + std::exp(-g)) * up[i]);
  }
  swiglu(gate, up);
  EXPECT_LT(distance(gate, expected), 1e-6);
}

TEST(Add, AddsElementwise) {
  std::vector<float> x = {1, 2, 3};
  add(x, std::vector<float>{10, 20, 30});
  EXPECT_EQ(x, (std::vector<float>{11, 22, 33}));
}

TEST(Rope, TurnsPairsHalfAHeadApartByPositionTimesFrequency) {
  constexpr int kTokens = 20, kHeads = 2, kDim = 16, kPosition = 20000;
  const auto x = random_floats(kTokens * kHeads * kDim, 1);
  auto y = x;
  Rope(kDim, 10000, std::nullopt).apply(y, kTokens, kPosition);
  std::vector<double> expected(x.size());
  for (int t = 0; t < kTokens; ++t)
    for (int h = 0; h < kHeads; ++h)
      for (int i = 0; i < kDim / 2; ++i) {
        const int at = (t * kHeads + h) * kDim + i;
        const double angle = (kPosition + t) * std::pow(10000.0, -2.0 * i / kDim);
        expected[at] = x[at] * std::cos(angle) - x[at + kDim / 2] * std::sin(angle);
        expected[at + kDim / 2] = x[at + kDim / 2] * std::cos(angle) + x[at] * std::sin(angle);
      }
  EXPECT_LT(distance(y, expected), 1e-6);
}

TEST(Rope, Llama3ScalingKeepsFastSlowsSlowAndJoinsBetween) {
  const RopeScaling scaling{
      .factor = 32, .low_freq_factor = 1, .high_freq_factor = 4, .original_max_position_embeddings = 8192};
  const Rope plain(64, 500000, std::nullopt);
  const Rope scaled(64, 500000, scaling);
  int between = 0;
  for (int i = 0; i < 32; ++i) {
    const double frequency = plain.frequencies()[i];
    const double wavelength = 2 * std::numbers::pi / frequency;
    double expected = frequency;
    if (wavelength > 8192 / 1.0) {
      expected = frequency / 32;
    } else if (wavelength > 8192 / 4.0) {
      const double smooth = (8192 / wavelength - 1) / (4 - 1);
      expected = (1 - smooth) * frequency / 32 + smooth * frequency;
      ++between;
    }
    EXPECT_NEAR(scaled.frequencies()[i] / expected, 1, 1e-12) << i;
  }
  EXPECT_GT(between, 0);
}

struct AttentionCase {
  int tokens, heads, kv_heads, dim;
  std::optional<int> window;
};

std::vector<double> naive_attention(const AttentionCase& c, const std::vector<float>& q,
                                    const std::vector<float>& k, const std::vector<float>& v) {
  std::vector<double> o(q.size());
  for (int h = 0; h < c.heads; ++h) {
    const int kv = h / (c.heads / c.kv_heads);
    for (int t = 0; t < c.tokens; ++t) {
      const int begin = c.window ? std::max(0, t - *c.window + 1) : 0;
      std::vector<double> weights;
      double maximum = -1e300;
      for (int s = begin; s <= t; ++s) {
        double dot = 0;
        for (int d = 0; d < c.dim; ++d)
          dot += static_cast<double>(q[(t * c.heads + h) * c.dim + d]) * k[(s * c.kv_heads + kv) * c.dim + d];
        weights.push_back(dot / std::sqrt(static_cast<double>(c.dim)));
        maximum = std::max(maximum, weights.back());
      }
      double total = 0;
      for (double& weight : weights) total += weight = std::exp(weight - maximum);
      for (int s = begin; s <= t; ++s)
        for (int d = 0; d < c.dim; ++d)
          o[(t * c.heads + h) * c.dim + d] +=
              weights[s - begin] / total * v[(s * c.kv_heads + kv) * c.dim + d];
    }
  }
  return o;
}

/// Output of feeding the tokens in pieces of `piece`.
std::vector<float> in_pieces(const AttentionCase& c, const std::vector<float>& q, const std::vector<float>& k,
                             const std::vector<float>& v, int piece) {
  SoftmaxAttention attention(c.heads, c.kv_heads, c.dim, c.window);
  std::vector<float> o(q.size(), NAN);
  const auto q_row = static_cast<std::size_t>(c.heads * c.dim);
  const auto kv_row = static_cast<std::size_t>(c.kv_heads * c.dim);
  for (int t = 0; t < c.tokens; t += piece) {
    const auto from = static_cast<std::size_t>(t);
    const auto count = static_cast<std::size_t>(std::min(piece, c.tokens - t));
    attention.run(std::span(q).subspan(from * q_row, count * q_row),
                  std::span(k).subspan(from * kv_row, count * kv_row),
                  std::span(v).subspan(from * kv_row, count * kv_row),
                  std::span(o).subspan(from * q_row, count * q_row));
  }
  return o;
}

class SoftmaxAttentionTest : public testing::TestWithParam<AttentionCase> {};

TEST_P(SoftmaxAttentionTest, EqualsTheDoubleFormHoweverTheTokensAreCut) {
  const AttentionCase c = GetParam();
  const auto q = random_floats(static_cast<std::size_t>(c.tokens * c.heads * c.dim), 1, 2);
  const auto k = random_floats(static_cast<std::size_t>(c.tokens * c.kv_heads * c.dim), 2, 2);
  const auto v = random_floats(k.size(), 3);
  const auto expected = naive_attention(c, q, k, v);
  for (const int piece : {c.tokens, 100, 7, 1})
    EXPECT_LT(distance(in_pieces(c, q, k, v, piece), expected), 2e-6) << "pieces of " << piece;
}

INSTANTIATE_TEST_SUITE_P(Shapes, SoftmaxAttentionTest,
                         testing::Values(AttentionCase{1, 1, 1, 2, std::nullopt},
                                         AttentionCase{700, 4, 2, 16, std::nullopt},
                                         AttentionCase{330, 6, 1, 8, std::nullopt},
                                         AttentionCase{600, 2, 2, 8, 1}, AttentionCase{600, 4, 2, 16, 24},
                                         AttentionCase{600, 2, 1, 8, 300},
                                         AttentionCase{200, 2, 1, 8, 1000}));

TEST(SoftmaxAttention, MovesItsCacheSeldomAsTokensFollowAPromptOneByOne) {
  constexpr std::size_t kPrompt = 100, kTokens = 1000, kRow = 8;
  SoftmaxAttention attention(1, 1, kRow, std::nullopt);
  std::vector<float> prompt(kPrompt * kRow), token(kRow), prompt_o(prompt), token_o(token);
  const std::size_t before = given_bytes;
  attention.reserve(kPrompt);
  attention.run(prompt, prompt, prompt, prompt_o);
  for (std::size_t t = 0; t < kTokens; ++t) {
    attention.reserve(1);
    attention.run(token, token, token, token_o);
  }
  // Caches that grow by half of themselves are three times the last one in all; a move a token would be 550.
  EXPECT_LT(given_bytes - before, 2 * sizeof(float) * kRow * 4 * (kPrompt + kTokens));
}

}  // namespace
}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Dense work around the unit: Eigen's kernels on tiles of fixed size, one OpenMP loop over the tiles.
#include "hostlib/ops/dense.h"

#define EIGEN_DONT_PARALLELIZE  // the tiles are what is shared out
#include <Eigen/Core>
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace lawcat {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstMatrix = Eigen::Map<const Matrix>;
using ConstVector = Eigen::Map<const Eigen::VectorXf>;
using Vector = Eigen::Map<Eigen::VectorXf>;

constexpr std::int64_t kTokenTile = 128;         // rows of x that share one packing of the weights
constexpr std::int64_t kOutTile = 1024;          // rows of w per tile
constexpr std::int64_t kParallelFrom = 1 << 18;  // multiplications that are worth waking threads for

}  // namespace

void matmul(std::span<const float> x, std::span<const float> w, int tokens, std::span<float> y) {
  const std::int64_t in = std::ssize(x) / tokens;
  const std::int64_t out = std::ssize(y) / tokens;
  assert(std::ssize(x) == tokens * in && std::ssize(y) == tokens * out && std::ssize(w) == out * in);

  // A single token is bound by reading the weights: short tiles so that every thread has some.
  const std::int64_t token_tile = std::min<std::int64_t>(kTokenTile, tokens);
  const std::int64_t out_tile = std::min<std::int64_t>(tokens > 1 ? kOutTile : 64, out);
  const std::int64_t token_tiles = (tokens + token_tile - 1) / token_tile;
  const std::int64_t out_tiles = (out + out_tile - 1) / out_tile;
#pragma omp parallel for schedule(dynamic) if (tokens * in * out > kParallelFrom)
  for (std::int64_t tile = 0; tile < token_tiles * out_tiles; ++tile) {
    const std::int64_t t = tile / out_tiles * token_tile;
    const std::int64_t o = tile % out_tiles * out_tile;
    const std::int64_t rows = std::min(token_tile, tokens - t);
    const std::int64_t columns = std::min(out_tile, out - o);
    const ConstMatrix weights(w.data() + o * in, columns, in);
    if (rows == 1) {
      Vector(y.data() + t * out + o, columns).noalias() = weights * ConstVector(x.data() + t * in, in);
      continue;
    }
    Eigen::Map<Matrix, 0, Eigen::OuterStride<>> result(y.data() + t * out + o, rows, columns,
                                                       Eigen::OuterStride<>(out));
    result.noalias() = ConstMatrix(x.data() + t * in, rows, in) * weights.transpose();
  }
}

void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon, std::span<float> y) {
  const std::int64_t channels = std::ssize(weight);
  const std::int64_t tokens = std::ssize(x) / channels;
  assert(std::ssize(x) == tokens * channels && x.size() == y.size());
  const Eigen::Map<const Eigen::ArrayXf> scale(weight.data(), channels);
#pragma omp parallel for if (std::ssize(x) > kParallelFrom)
  for (std::int64_t t = 0; t < tokens; ++t) {
    const Eigen::Map<const Eigen::ArrayXf> row(x.data() + t * channels, channels);
    const float mean_square = row.square().sum() / static_cast<float>(channels);
    Eigen::Map<Eigen::ArrayXf>(y.data() + t * channels, channels) =
        row * (1.0f / std::sqrt(mean_square + epsilon)) * scale;
  }
}

void swiglu(std::span<float> gate, std::span<const float> up) {
  assert(gate.size() == up.size());
  constexpr std::int64_t kTile = 4096;
#pragma omp parallel for if (std::ssize(gate) > kParallelFrom)
  for (std::int64_t i = 0; i < std::ssize(gate); i += kTile) {
    const std::int64_t count = std::min(kTile, std::ssize(gate) - i);
    Eigen::Map<Eigen::ArrayXf> g(gate.data() + i, count);
    g = g / (1.0f + (-g).exp()) * Eigen::Map<const Eigen::ArrayXf>(up.data() + i, count);
  }
}

void add(std::span<float> x, std::span<const float> y) {
  assert(x.size() == y.size());
  Vector(x.data(), std::ssize(x)) += ConstVector(y.data(), std::ssize(y));
}

}  // namespace lawcat

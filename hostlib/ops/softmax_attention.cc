// SPDX-License-Identifier: Apache-2.0
// Causal softmax attention by blocks of queries and keys with a running maximum, parallel over heads and
// query blocks.
#include "hostlib/ops/softmax_attention.h"

#define EIGEN_DONT_PARALLELIZE  // one block per thread
#include <Eigen/Core>
#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace lawcat {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Rows = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>;

constexpr std::int64_t kQueryBlock = 64;
constexpr std::int64_t kKeyBlock = 256;

}  // namespace

SoftmaxAttention::SoftmaxAttention(int heads, int kv_heads, int head_dim, std::optional<int> window)
    : heads_(heads), kv_heads_(kv_heads), head_dim_(head_dim), window_(window) {}

void SoftmaxAttention::reserve(std::int64_t tokens) {
  if (window_) tokens = std::min<std::int64_t>(tokens, *window_);
  const std::size_t size = keys_.size() + static_cast<std::size_t>(tokens * kv_heads_ * head_dim_);
  if (size <= keys_.capacity()) return;
  // A cache that is full already grows by a share of itself: what is moved stays linear in what is kept.
  const std::size_t room = std::max(size, keys_.capacity() + keys_.capacity() / 2);
  keys_.reserve(room);
  values_.reserve(room);
}

void SoftmaxAttention::run(std::span<const float> q, std::span<const float> k, std::span<const float> v,
                           std::span<float> o) {
  const std::int64_t kv_row = std::int64_t{kv_heads_} * head_dim_;
  const std::int64_t queries = std::ssize(k) / kv_row;
  assert(k.size() == v.size() && q.size() == o.size() && std::ssize(q) == queries * heads_ * head_dim_);
  // Tokens that have left the window are dropped once they are as many as the window, to move data rarely.
  if (const std::int64_t old = std::ssize(keys_) / kv_row; window_ && old >= 2 * std::int64_t{*window_}) {
    keys_.erase(keys_.begin(), keys_.end() - *window_ * kv_row);
    values_.erase(values_.begin(), values_.end() - *window_ * kv_row);
  }
  keys_.insert(keys_.end(), k.begin(), k.end());
  values_.insert(values_.end(), v.begin(), v.end());

  const std::int64_t blocks = (queries + kQueryBlock - 1) / kQueryBlock;
#pragma omp parallel for schedule(dynamic) if (heads_ * std::ssize(keys_) > 1 << 16)
  for (std::int64_t task = 0; task < heads_ * blocks; ++task) {
    const std::int64_t query = (blocks - 1 - task / heads_) * kQueryBlock;  // the longest first
    attend(q.data(), o.data(), static_cast<int>(task % heads_), query, std::min(kQueryBlock, queries - query),
           queries);
  }
}

void SoftmaxAttention::attend(const float* q, float* o, int head, std::int64_t query, std::int64_t count,
                              std::int64_t queries) const {
  const std::int64_t kv_row = std::int64_t{kv_heads_} * head_dim_;
  const std::int64_t q_row = std::int64_t{heads_} * head_dim_;
  const std::int64_t kv_head = head / (heads_ / kv_heads_);
  const std::int64_t first =
      std::ssize(keys_) / kv_row - queries + query;  // place of the first query in the cache
  const std::int64_t window = window_ ? *window_ : std::numeric_limits<std::int32_t>::max();

  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim_));
  const Matrix block_q =
      Rows(q + query * q_row + head * head_dim_, count, head_dim_, Eigen::OuterStride<>(q_row)) * scale;
  Matrix sum = Matrix::Zero(count, head_dim_);
  Eigen::ArrayXf maximum = Eigen::ArrayXf::Constant(count, -std::numeric_limits<float>::infinity());
  Eigen::ArrayXf total = Eigen::ArrayXf::Zero(count);
  Matrix score;
  for (std::int64_t key = std::max<std::int64_t>(0, first - window + 1); key < first + count;
       key += kKeyBlock) {
    const std::int64_t keys = std::min(kKeyBlock, first + count - key);
    const std::int64_t offset = key * kv_row + kv_head * head_dim_;
    const Rows block_k(keys_.data() + offset, keys, head_dim_, Eigen::OuterStride<>(kv_row));
    const Rows block_v(values_.data() + offset, keys, head_dim_, Eigen::OuterStride<>(kv_row));
    if (count == 1) {  // decode: Eigen's matrix-vector kernel only takes types that say so
      score.resize(1, keys);
      score.row(0).transpose().noalias() = block_k * block_q.row(0).transpose();
    } else {
      score.noalias() = block_q * block_k.transpose();
    }
    for (std::int64_t i = 0; i < count; ++i) {
      // Keys [begin, end) of this block are seen by query i.
      const std::int64_t end = std::clamp<std::int64_t>(first + i + 1 - key, 0, keys);
      const std::int64_t begin = std::clamp<std::int64_t>(first + i + 1 - window - key, 0, end);
      auto row = score.row(i).array();
      row.head(begin) = 0;
      row.tail(keys - end) = 0;
      if (begin == end) continue;
      auto seen = row.segment(begin, end - begin);
      const float new_maximum = std::max(maximum[i], seen.maxCoeff());
      const float shrink = std::exp(maximum[i] - new_maximum);
      seen = (seen - new_maximum).exp();
      sum.row(i) *= shrink;
      total[i] = total[i] * shrink + seen.sum();
      maximum[i] = new_maximum;
    }
    sum.noalias() += score * block_v;
  }
  for (std::int64_t i = 0; i < count; ++i)
    Eigen::Map<Eigen::VectorXf>(o + (query + i) * q_row + head * head_dim_, head_dim_) =
        sum.row(i) / total[i];
}

}  // namespace lawcat

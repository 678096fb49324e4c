// SPDX-License-Identifier: Apache-2.0
// The unit in float32: see float32_unit.h. Compiled with fast-math so that the compiler vectorises exp and
// sums.
#include "tests/perf/float32_unit.h"

#include <algorithm>
#include <cmath>

namespace lawcat {
namespace {

constexpr int kTokens = 64;

/// D and F are constants so that rows stay in registers, as a tuned kernel would have it.
template <int D, int F>
void run_head(const UnitShape& shape, const Job& job, int head, std::span<const float> q_taps,
              std::span<const float> k_taps, std::span<const float> feature, float* __restrict state,
              float* __restrict norm, float* __restrict q_tail, float* __restrict k_tail, const float* gates,
              int first, int count) {
  constexpr int K = 2 * F;
  const int kv = head / shape.group();
  const auto convolve = [](const float* taps, float* tail, const float* in, float* out) {
    for (int c = 0; c < D; ++c)
      out[c] = taps[c] * tail[c] + taps[D + c] * tail[D + c] + taps[2 * D + c] * tail[2 * D + c] +
               taps[3 * D + c] * in[c];
    std::copy(tail + D, tail + 3 * D, tail);
    std::copy(in, in + D, tail + 2 * D);
  };
  const auto softmaxes = [](const float* z, float* phi) {
    float high = z[0], low = z[0];
    for (int i = 1; i < F; ++i) {
      high = std::max(high, z[i]);
      low = std::min(low, z[i]);
    }
    float up = 0, down = 0;
    for (int i = 0; i < F; ++i) {
      up += phi[i] = std::exp(z[i] - high);
      down += phi[F + i] = std::exp(low - z[i]);
    }
    const float up_inverse = 1 / up, down_inverse = 1 / down;
    for (int i = 0; i < F; ++i) {
      phi[i] = std::max(phi[i] * up_inverse, 1e-12F);
      phi[F + i] = std::max(phi[F + i] * down_inverse, 1e-12F);
    }
  };
  alignas(64) float conv_q[D], conv_k[D], z_q[F], z_k[F], phi_q[K], phi_k[K], u[D];
  for (int t = 0; t < count; ++t) {
    const std::size_t token = static_cast<std::size_t>(first + t);
    const float* const q = job.q.data() + (token * shape.heads + head) * D;
    const float* const k = job.k.data() + (token * shape.kv_heads + kv) * D;
    const float* const v = job.v.data() + (token * shape.kv_heads + kv) * D;
    float* const o = job.o.data() + (token * shape.heads + head) * D;
    convolve(q_taps.data(), q_tail, q, conv_q);
    convolve(k_taps.data(), k_tail, k, conv_k);
    std::fill(z_q, z_q + F, 0.0F);
    std::fill(z_k, z_k + F, 0.0F);
    for (int c = 0; c < D; ++c) {
      for (int i = 0; i < F; ++i) {
        z_q[i] += conv_q[c] * feature[static_cast<std::size_t>(c * F + i)];
        z_k[i] += conv_k[c] * feature[static_cast<std::size_t>(c * F + i)];
      }
    }
    softmaxes(z_q, phi_q);
    softmaxes(z_k, phi_k);
    const float* const a = gates + t * K;
    std::fill(u, u + D, 0.0F);
    float denominator = 1e-10F;
    for (int r = 0; r < K; ++r) {
      norm[r] = a[r] * norm[r] + phi_k[r];
      denominator += phi_q[r] * norm[r];
    }
    for (int r = 0; r < K; ++r) {
      float* const row = state + r * D;
      for (int c = 0; c < D; ++c) {
        row[c] = a[r] * row[c] + phi_k[r] * v[c];
        u[c] += phi_q[r] * row[c];
      }
    }
    const float inverse = 1 / denominator;
    for (int c = 0; c < D; ++c) o[c] = u[c] * inverse;
  }
}

}  // namespace

Float32Unit::Float32Unit(const UnitShape& shape, const UnitWeights& weights) : shape_(shape) {
  const auto d = static_cast<std::size_t>(shape.head_dim), f = static_cast<std::size_t>(shape.feature_dim);
  for (std::size_t h = 0; h < static_cast<std::size_t>(shape.heads); ++h) {
    Head& head = heads_.emplace_back();
    head.q_taps.resize(4 * d);
    head.k_taps.resize(4 * d);
    for (std::size_t c = 0; c < d; ++c) {
      for (std::size_t j = 0; j < 4; ++j) {
        head.q_taps[j * d + c] = weights.q_conv1d[(h * d + c) * 4 + j];
        head.k_taps[j * d + c] = weights.k_conv1d[(h * d + c) * 4 + j];
      }
    }
    const float* const map = weights.feature_map.data() + h * d * f;
    head.feature.assign(map, map + d * f);
    head.state.assign(2 * f * d, 0);
    head.norm.assign(2 * f, 0);
    head.q_tail.assign(3 * d, 0);
    head.k_tail.assign(3 * d, 0);
  }
}

void Float32Unit::run(const Job& job) {
  const int k = shape_.key_features();
#pragma omp parallel for schedule(dynamic)
  for (int kv = 0; kv < shape_.kv_heads; ++kv) {
    std::vector<float> gates(static_cast<std::size_t>(kTokens * k));
    for (int first = 0; first < job.tokens; first += kTokens) {
      const int count = std::min(kTokens, job.tokens - first);
      for (int t = 0; t < count; ++t) {
        const float* const gk =
            job.gk.data() + (static_cast<std::size_t>(first + t) * shape_.kv_heads + kv) * k;
        for (int r = 0; r < k; ++r) {  // sigmoid(x)^(1/16) without overflow
          const float softplus = std::max(-gk[r], 0.0F) + std::log1p(std::exp(-std::abs(gk[r])));
          gates[static_cast<std::size_t>(t * k + r)] = std::exp(softplus * -0.0625F);
        }
      }
      for (int g = 0; g < shape_.group(); ++g) {
        const int h = kv * shape_.group() + g;
        Head& head = heads_[static_cast<std::size_t>(h)];
        const auto call = [&]<int D, int F>() {
          run_head<D, F>(shape_, job, h, head.q_taps, head.k_taps, head.feature, head.state.data(),
                         head.norm.data(), head.q_tail.data(), head.k_tail.data(), gates.data(), first,
                         count);
        };
        if (shape_.head_dim == 128) {
          call.operator()<128, 64>();
        } else {
          call.operator()<64, 32>();
        }
      }
    }
  }
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// What tests of the CUDA kernels share: a fixture that skips where no GPU is, tensors to and from it,
// distances.
#pragma once

#include <cuda_bf16.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <span>
#include <vector>

#include "kernels/device.h"

namespace lawcat::test {

class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::device_problem().empty()) GTEST_SKIP() << cuda::device_problem();
  }
};

/// Relative L2 distance of got from expected; an element that is not a number makes it one neither.
inline double distance(std::span<const float> got, std::span<const float> expected) {
  EXPECT_EQ(got.size(), expected.size());
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - expected[i], 2);
    norm += std::pow(expected[i], 2);
  }
  return std::sqrt(difference / norm);
}

/// Normal values that bf16 holds exactly.
inline std::vector<float> random_bf16(std::size_t count, unsigned seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = __bfloat162float(__float2bfloat16_rn(normal(generator)));
  return values;
}

inline std::vector<__nv_bfloat16> to_bf16(std::span<const float> values) {
  std::vector<__nv_bfloat16> result;
  for (const float value : values) result.push_back(__float2bfloat16_rn(value));
  return result;
}

inline std::vector<float> to_floats(std::span<const __nv_bfloat16> values) {
  std::vector<float> result;
  for (const __nv_bfloat16 value : values) result.push_back(__bfloat162float(value));
  return result;
}

template <class T>
cuda::DeviceBuffer upload(const std::vector<T>& values) {
  cuda::DeviceBuffer buffer(values.size() * sizeof(T));
  cuda::check(cudaMemcpy(buffer.data(), values.data(), buffer.bytes(), cudaMemcpyHostToDevice), "upload");
  cuda::check(cudaDeviceSynchronize(), "upload");
  return buffer;
}

/// Memory in which every element is NaN (or -1) until something is written.
template <class T>
cuda::DeviceBuffer poisoned(std::size_t count) {
  cuda::DeviceBuffer buffer(count * sizeof(T));
  cuda::check(cudaMemset(buffer.data(), 0xff, buffer.bytes()), "poison");
  cuda::check(cudaDeviceSynchronize(), "poison");
  return buffer;
}

/// Waits for all work.
template <class T>
std::vector<T> download(const void* from, std::size_t count) {
  std::vector<T> values(count);
  cuda::check(cudaDeviceSynchronize(), "download");
  cuda::check(cudaMemcpy(values.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost), "download");
  return values;
}

}  // namespace lawcat::test

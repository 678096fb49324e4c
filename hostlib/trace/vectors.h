// SPDX-License-Identifier: Apache-2.0
// Vectors: the bare unit's inputs and outputs as a safetensors file.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "hostlib/backend/job.h"

namespace lawcat {

/// Inputs of one layer's unit over T tokens, row-major float32.
struct UnitVectors {
  UnitShape shape;
  int tokens = 0;  ///< T
  UnitWeights weights;
  std::vector<float> q;      ///< [T, H, D]
  std::vector<float> k;      ///< [T, Hkv, D]
  std::vector<float> v;      ///< [T, Hkv, D]
  std::vector<float> gk;     ///< [T, Hkv, K]
  std::vector<float> state;  ///< [H, K, D+1] at the start, or empty for zero

  /// The job of `count` tokens from `first` on, writing to `o` [T, H, D] at the same place.
  Job job(int first, int count, std::span<float> o) const;
};

/// What the unit made of them.
struct UnitResult {
  std::vector<float> o;      ///< [T, H, D]
  std::vector<float> state;  ///< [H, K, D+1] after the last token
};

/// Deduces the shape from `q`, `k` and `feature_map` and holds every other tensor to it. Throws InputError
/// naming file, tensor, expected and found shape; also for unknown tensors and non-finite values.
UnitVectors read_vectors(const std::filesystem::path& file);
void write_vectors(const std::filesystem::path& file, const UnitVectors& vectors);

/// `o` and `state` of a result file, held to the shape of `vectors`. Throws InputError likewise.
UnitResult read_result(const std::filesystem::path& file, const UnitVectors& vectors);
void write_result(const std::filesystem::path& file, const UnitVectors& vectors, const UnitResult& result);

}  // namespace lawcat

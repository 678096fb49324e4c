// SPDX-License-Identifier: Apache-2.0
// Vectors: the bare unit's inputs and outputs as a safetensors file.
#pragma once

#include <filesystem>
#include <map>
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

  /// SHA-256 of shape and values: the same for the same question, however a file stores it.
  std::string sha256() const;
  /// Rounds every value to bfloat16, to the nearest, ties to even: what a GPU's kernels read.
  void round_to_bf16();
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
/// As bfloat16 if every value of every tensor is one, else as float32.
void write_vectors(const std::filesystem::path& file, const UnitVectors& vectors);
/// An existing path as it stands, else traces/expected/NAME.vectors.safetensors of the shipped data. Throws
/// InputError.
std::filesystem::path find_vectors(const std::string& name_or_path);

/// `o` and `state` of a result file, held to the shape of `vectors`. Throws InputError likewise.
UnitResult read_result(const std::filesystem::path& file, const UnitVectors& vectors);
/// `provenance` (backend, device, commit, ...) goes into the file's metadata beside vectors_sha256, which
/// tells what question this answers.
void write_result(const std::filesystem::path& file, const UnitVectors& vectors, const UnitResult& result,
                  std::map<std::string, std::string> provenance = {});

/// A result that was computed elsewhere on these vectors.
struct Capture {
  std::filesystem::path file;
  std::map<std::string, std::string> provenance;
  UnitResult result;
};
/// The GPU's result for `vectors`: FILE.gpu.safetensors beside the `vectors_file` FILE.vectors.safetensors,
/// which must be of these vectors, else whichever file in traces/expected is. Throws InputError when there is
/// none, or when the one beside the vectors answers another question.
Capture find_gpu_capture(const UnitVectors& vectors, const std::filesystem::path& vectors_file);

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The safetensors format: memory-mapped, fully validated reading; atomic writing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hostlib/io/file.h"

namespace lawcat {

enum class DType { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean };

/// A tensor as it lies in the file.
struct TensorView {
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
  std::string place;  ///< "FILE: tensor NAME", for sentences

  std::int64_t element_count() const;
  /// Converts any floating type (and integers up to 32 bits) to float. Throws InputError at the first NaN or
  /// infinity (with its index), and when the dtype is not numeric.
  std::vector<float> to_floats() const;
  /// Integer types only. Throws InputError otherwise.
  std::vector<std::int64_t> to_ints() const;
};

/// One file, or several behind a `model.safetensors.index.json`. Opening validates: header length and JSON,
/// dtype names, shapes (no negative, no overflow), offsets inside the file, byte length = shape x dtype,
/// neither overlaps nor gaps, shards of an index present and holding what the index says.
class SafeTensors {
 public:
  /// `path`: a .safetensors file, or a folder with model.safetensors or model.safetensors.index.json.
  static SafeTensors open(const std::filesystem::path& path);

  bool has(const std::string& name) const;
  /// Throws InputError when missing.
  const TensorView& at(const std::string& name) const;
  /// As at(), and throws InputError unless the shape is `shape`.
  const TensorView& at(const std::string& name, const std::vector<std::int64_t>& shape) const;
  const std::map<std::string, TensorView>& all() const { return tensors_; }
  /// `__metadata__` of a single file; empty when it has none, and for a folder.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  std::vector<std::shared_ptr<MappedFile>> files_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
  std::string place_;
};

/// A tensor to be written.
struct TensorOut {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Writes atomically (AtomicFile). `metadata` becomes `__metadata__`.
void write_safetensors(const std::filesystem::path& file, const std::vector<TensorOut>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace lawcat

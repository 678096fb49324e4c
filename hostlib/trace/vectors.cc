// SPDX-License-Identifier: Apache-2.0
// Reading and writing of vectors; the shape is what the tensors say.
#include "hostlib/trace/vectors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <set>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "hostlib/io/safetensors.h"

namespace lawcat {
namespace {

using Shape = std::vector<std::int64_t>;

void only_known(const SafeTensors& file, const std::filesystem::path& path,
                const std::set<std::string>& known) {
  for (const auto& [name, tensor] : file.all())
    if (!known.contains(name))
      throw InputError(path.string(), fmt::format("only the tensors {}", fmt::join(known, ", ")), name);
}

std::int64_t extent(const TensorView& tensor, std::size_t rank, std::size_t axis, const char* meaning) {
  if (tensor.shape.size() != rank)
    throw InputError(tensor.place, meaning, fmt::format("shape [{}]", fmt::join(tensor.shape, ", ")));
  const std::int64_t value = tensor.shape[axis];
  if (value < 1 || value > (1 << 24))
    throw InputError(tensor.place, "dimensions from 1 to 2^24",
                     fmt::format("shape [{}]", fmt::join(tensor.shape, ", ")));
  return value;
}

std::span<const std::byte> bytes_of(const std::vector<float>& values) {
  return std::as_bytes(std::span(values));
}

constexpr std::string_view kVectorsSuffix = ".vectors.safetensors";
constexpr std::string_view kGpuSuffix = ".gpu.safetensors";

float rounded_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000);
}

/// Every tensor of the vectors, in the order of the file.
template <typename Vectors>
auto tensors_of(Vectors& v) {
  return std::array{std::pair("q", &v.q),
                    std::pair("k", &v.k),
                    std::pair("v", &v.v),
                    std::pair("gk", &v.gk),
                    std::pair("q_conv1d", &v.weights.q_conv1d),
                    std::pair("k_conv1d", &v.weights.k_conv1d),
                    std::pair("feature_map", &v.weights.feature_map),
                    std::pair("state", &v.state)};
}

Shape shape_of(std::string_view name, const UnitVectors& v) {
  const auto [h, hkv, d, f] = v.shape;
  if (name == "q") return {v.tokens, h, d};
  if (name == "k" || name == "v") return {v.tokens, hkv, d};
  if (name == "gk") return {v.tokens, hkv, 2 * f};
  if (name == "feature_map") return {h, d, f};
  if (name == "state") return {h, 2 * f, d + 1};
  return {h * d, kConvTaps};
}

/// Empty when the file does not say.
std::string question_of(const SafeTensors& file) {
  const auto found = file.metadata().find("vectors_sha256");
  return found == file.metadata().end() ? "" : found->second;
}

}  // namespace

Job UnitVectors::job(int first, int count, std::span<float> o) const {
  const auto part = [&](const auto& values, int per_token) {
    return std::span(values).subspan(static_cast<std::size_t>(first) * static_cast<std::size_t>(per_token),
                                     static_cast<std::size_t>(count) * static_cast<std::size_t>(per_token));
  };
  return {.layer = 0,
          .tokens = count,
          .q = part(q, shape.heads * shape.head_dim),
          .k = part(k, shape.kv_heads * shape.head_dim),
          .v = part(v, shape.kv_heads * shape.head_dim),
          .gk = part(gk, shape.kv_heads * shape.key_features()),
          .o = part(o, shape.heads * shape.head_dim)};
}

UnitVectors read_vectors(const std::filesystem::path& path) {
  const SafeTensors file = SafeTensors::open(path);
  only_known(file, path, {"q", "k", "v", "gk", "q_conv1d", "k_conv1d", "feature_map", "state"});

  UnitVectors vectors;
  const TensorView& q = file.at("q");
  const std::int64_t t = extent(q, 3, 0, "shape [T, H, D]");
  const std::int64_t h = extent(q, 3, 1, "shape [T, H, D]");
  const std::int64_t d = extent(q, 3, 2, "shape [T, H, D]");
  const std::int64_t hkv = extent(file.at("k"), 3, 1, "shape [T, Hkv, D]");
  const std::int64_t f = extent(file.at("feature_map"), 3, 2, "shape [H, D, F]");
  if (h % hkv != 0)
    throw InputError(file.at("k").place, fmt::format("a number of heads that divides q's {}", h),
                     std::to_string(hkv));
  vectors.tokens = static_cast<int>(t);
  vectors.shape = {.heads = static_cast<int>(h),
                   .kv_heads = static_cast<int>(hkv),
                   .head_dim = static_cast<int>(d),
                   .feature_dim = static_cast<int>(f)};
  validate(vectors.shape);
  vectors.q = q.to_floats();
  vectors.k = file.at("k", Shape{t, hkv, d}).to_floats();
  vectors.v = file.at("v", Shape{t, hkv, d}).to_floats();
  vectors.gk = file.at("gk", Shape{t, hkv, 2 * f}).to_floats();
  vectors.weights.q_conv1d = file.at("q_conv1d", Shape{h * d, kConvTaps}).to_floats();
  vectors.weights.k_conv1d = file.at("k_conv1d", Shape{h * d, kConvTaps}).to_floats();
  vectors.weights.feature_map = file.at("feature_map", Shape{h, d, f}).to_floats();
  if (file.has("state")) vectors.state = file.at("state", Shape{h, 2 * f, d + 1}).to_floats();
  return vectors;
}

void write_vectors(const std::filesystem::path& file, const UnitVectors& vectors) {
  const auto all = tensors_of(vectors);
  const bool fits = std::all_of(all.begin(), all.end(), [](const auto& tensor) {
    return std::all_of(tensor.second->begin(), tensor.second->end(),
                       [](float x) { return x == rounded_to_bf16(x); });
  });
  std::vector<TensorOut> tensors;
  std::array<std::vector<std::uint16_t>, all.size()> halves;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto& [name, values] = all[i];
    if (values->empty()) continue;
    TensorOut tensor{name, DType::f32, shape_of(name, vectors), bytes_of(*values)};
    if (fits) {
      for (const float x : *values)
        halves[i].push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16));
      tensor.dtype = DType::bf16;
      tensor.bytes = std::as_bytes(std::span(halves[i]));
    }
    tensors.push_back(std::move(tensor));
  }
  write_safetensors(file, tensors);
}

std::string UnitVectors::sha256() const {
  std::string bytes =
      fmt::format("{} {} {} {} {}\n", tokens, shape.heads, shape.kv_heads, shape.head_dim, shape.feature_dim);
  for (const auto& [name, values] : tensors_of(*this)) {
    const std::span<const std::byte> raw = bytes_of(*values);
    bytes += fmt::format("{} {}\n", name, values->size());
    bytes.append(reinterpret_cast<const char*>(raw.data()), raw.size());
  }
  return lawcat::sha256(bytes);
}

void UnitVectors::round_to_bf16() {
  for (const auto& [name, values] : tensors_of(*this))
    for (float& value : *values) {
      const float rounded = rounded_to_bf16(value);
      if (std::isinf(rounded) && !std::isinf(value))
        throw InputError(fmt::format("unit vectors {}[{}]", name, &value - values->data()),
                         "a number that bfloat16 can hold", fmt::format("{}", value));
      value = rounded;
    }
}

std::filesystem::path find_vectors(const std::string& name_or_path) {
  if (is_there(name_or_path)) return name_or_path;
  std::filesystem::path shipped =
      data_root() / "traces" / "expected" / (name_or_path + std::string(kVectorsSuffix));
  if (is_there(shipped)) return shipped;
  throw InputError("--vectors " + name_or_path, "a file of this name, or " + shipped.string(), "neither");
}

Capture find_gpu_capture(const UnitVectors& vectors, const std::filesystem::path& vectors_file) {
  const std::string hash = vectors.sha256();
  const auto open = [&vectors](const std::filesystem::path& path) {
    return Capture{path, SafeTensors::open(path).metadata(), read_result(path, vectors)};
  };
  std::string beside = vectors_file.string();
  if (beside.ends_with(kVectorsSuffix)) {
    beside.replace(beside.size() - kVectorsSuffix.size(), kVectorsSuffix.size(), kGpuSuffix);
    if (is_there(beside)) {
      const std::string question = question_of(SafeTensors::open(beside));
      if (question != hash)
        throw InputError(
            beside, "the GPU's result for these vectors (sha256 " + hash + ")",
            question.empty() ? "no word of which vectors it is for" : "that for others (" + question + ")");
      return open(beside);
    }
  }
  const std::filesystem::path folder = data_root() / "traces" / "expected";
  std::error_code none;  // a missing folder has no entries
  for (const auto& entry : std::filesystem::directory_iterator(folder, none))
    if (entry.path().string().ends_with(kGpuSuffix) && question_of(SafeTensors::open(entry.path())) == hash)
      return open(entry.path());
  throw InputError(
      "--against gpu",
      "a GPU's result for these vectors (sha256 " + hash + ") beside them or in " + folder.string(), "none");
}

UnitResult read_result(const std::filesystem::path& path, const UnitVectors& vectors) {
  const SafeTensors file = SafeTensors::open(path);
  only_known(file, path, {"o", "state"});
  const auto [h, hkv, d, f] = vectors.shape;
  return {.o = file.at("o", Shape{vectors.tokens, h, d}).to_floats(),
          .state = file.at("state", Shape{h, 2 * f, d + 1}).to_floats()};
}

void write_result(const std::filesystem::path& file, const UnitVectors& vectors, const UnitResult& result,
                  std::map<std::string, std::string> provenance) {
  const auto [h, hkv, d, f] = vectors.shape;
  provenance["vectors_sha256"] = vectors.sha256();
  write_safetensors(file,
                    {{"o", DType::f32, {vectors.tokens, h, d}, bytes_of(result.o)},
                     {"state", DType::f32, {h, 2 * f, d + 1}, bytes_of(result.state)}},
                    provenance);
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Reading and writing of vectors; the shape is what the tensors say.
#include "hostlib/trace/vectors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "hostlib/io/error.h"
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
  const auto [h, hkv, d, f] = vectors.shape;
  const std::int64_t t = vectors.tokens;
  std::vector<TensorOut> tensors = {
      {"q", DType::f32, {t, h, d}, bytes_of(vectors.q)},
      {"k", DType::f32, {t, hkv, d}, bytes_of(vectors.k)},
      {"v", DType::f32, {t, hkv, d}, bytes_of(vectors.v)},
      {"gk", DType::f32, {t, hkv, 2 * f}, bytes_of(vectors.gk)},
      {"q_conv1d", DType::f32, {h * d, kConvTaps}, bytes_of(vectors.weights.q_conv1d)},
      {"k_conv1d", DType::f32, {h * d, kConvTaps}, bytes_of(vectors.weights.k_conv1d)},
      {"feature_map", DType::f32, {h, d, f}, bytes_of(vectors.weights.feature_map)}};
  if (!vectors.state.empty())
    tensors.push_back({"state", DType::f32, {h, 2 * f, d + 1}, bytes_of(vectors.state)});
  write_safetensors(file, tensors);
}

UnitResult read_result(const std::filesystem::path& path, const UnitVectors& vectors) {
  const SafeTensors file = SafeTensors::open(path);
  only_known(file, path, {"o", "state"});
  const auto [h, hkv, d, f] = vectors.shape;
  return {.o = file.at("o", Shape{vectors.tokens, h, d}).to_floats(),
          .state = file.at("state", Shape{h, 2 * f, d + 1}).to_floats()};
}

void write_result(const std::filesystem::path& file, const UnitVectors& vectors, const UnitResult& result) {
  const auto [h, hkv, d, f] = vectors.shape;
  write_safetensors(file, {{"o", DType::f32, {vectors.tokens, h, d}, bytes_of(result.o)},
                           {"state", DType::f32, {h, 2 * f, d + 1}, bytes_of(result.state)}});
}

}  // namespace lawcat

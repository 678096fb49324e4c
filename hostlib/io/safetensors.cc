// SPDX-License-Identifier: Apache-2.0
// The safetensors format: an 8-byte length, a JSON header of that length, then the tensors end to end.
#include "hostlib/io/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <set>
#include <string_view>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/io/strict_json.h"

namespace lawcat {
namespace fs = std::filesystem;
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian, read in place");

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  std::int64_t size;  // bytes
};
constexpr std::array<DTypeInfo, 10> kDTypes = {{{DType::f64, "F64", 8},
                                                {DType::f32, "F32", 4},
                                                {DType::f16, "F16", 2},
                                                {DType::bf16, "BF16", 2},
                                                {DType::i64, "I64", 8},
                                                {DType::i32, "I32", 4},
                                                {DType::i16, "I16", 2},
                                                {DType::i8, "I8", 1},
                                                {DType::u8, "U8", 1},
                                                {DType::boolean, "BOOL", 1}}};

const DTypeInfo& info(DType dtype) {
  return *std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeInfo& i) { return i.dtype == dtype; });
}

DType parse_dtype(const std::string& name, const std::string& place) {
  for (const DTypeInfo& known : kDTypes)
    if (known.name == name) return known.dtype;
  std::vector<std::string_view> names;
  for (const DTypeInfo& known : kDTypes) names.push_back(known.name);
  throw InputError(place, fmt::format("one of {}", fmt::join(names, ", ")), name);
}

/// Bytes of a tensor; throws when that overflows.
std::int64_t byte_count(DType dtype, const std::vector<std::int64_t>& shape, const std::string& place) {
  std::int64_t bytes = info(dtype).size;
  for (const std::int64_t extent : shape)
    if (__builtin_mul_overflow(bytes, extent, &bytes))
      throw InputError(place, "a shape that fits in memory", fmt::format("[{}]", fmt::join(shape, ", ")));
  return bytes;
}

/// Tensors of one file, validated; its metadata goes to `metadata`.
std::map<std::string, TensorView> read_header(const fs::path& file, std::span<const std::byte> bytes,
                                              std::map<std::string, std::string>& metadata) {
  const std::string place = file.string();
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length)
    throw InputError(place, "at least the 8 bytes of a header length", fmt::format("{} bytes", bytes.size()));
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > bytes.size() - sizeof length)
    throw InputError(place, fmt::format("a header of at most {} bytes", bytes.size() - sizeof length),
                     fmt::format("a header length of {}", length));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof length, length);
  const std::span<const std::byte> data = bytes.subspan(sizeof length + length);

  const nlohmann::json header = parse_json(text, place + ": header");
  if (!header.is_object()) throw InputError(place + ": header", "a JSON object", header.type_name());
  std::map<std::string, TensorView> tensors;
  std::vector<std::pair<std::array<std::int64_t, 2>, std::string>> extents;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      StrictObject words(value, place + ": __metadata__");
      for (const auto& word : value.items()) metadata[word.key()] = words.get_string(word.key());
      continue;
    }
    StrictObject entry(value, place + ": tensor " + name);
    TensorView view;
    view.place = place + ": tensor " + name;
    view.dtype = parse_dtype(entry.get_string("dtype"), entry.place("dtype"));
    view.shape = entry.get_int_array("shape", 0, INT64_MAX);
    const auto offsets = entry.get_int_array("data_offsets", 0, INT64_MAX);
    entry.finish();
    const auto size = static_cast<std::int64_t>(data.size());
    if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > size)
      throw InputError(entry.place("data_offsets"), fmt::format("begin <= end <= {}", size),
                       fmt::format("[{}]", fmt::join(offsets, ", ")));
    const std::int64_t expected = byte_count(view.dtype, view.shape, entry.place("shape"));
    if (expected != offsets[1] - offsets[0])
      throw InputError(
          view.place,
          fmt::format("{} bytes for {} [{}]", expected, info(view.dtype).name, fmt::join(view.shape, ", ")),
          fmt::format("{} bytes", offsets[1] - offsets[0]));
    view.bytes = data.subspan(static_cast<std::size_t>(offsets[0]), static_cast<std::size_t>(expected));
    extents.push_back({{offsets[0], offsets[1]}, name});
    tensors.emplace(name, std::move(view));
  }
  std::sort(extents.begin(), extents.end());
  std::int64_t end = 0;
  for (const auto& [offsets, name] : extents) {
    if (offsets[0] != end)
      throw InputError(place + ": tensor " + name,
                       fmt::format("its data to begin where the tensor before it ends, at {}", end),
                       fmt::format("{}", offsets[0]));
    end = offsets[1];
  }
  if (end != static_cast<std::int64_t>(data.size()))
    throw InputError(place, fmt::format("{} bytes of tensor data", end), fmt::format("{}", data.size()));
  return tensors;
}

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t exponent = half >> 10 & 0x1f;
  const std::uint32_t mantissa = half & 0x3ff;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24 is exact
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign ? -magnitude : magnitude;
  }
  const std::uint32_t biased = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | biased << 23 | mantissa << 13);
}

/// Elements of type In through `convert`, in parallel: weights are large.
template <typename In, typename Out, typename Convert>
std::vector<Out> convert_all(std::span<const std::byte> bytes, Convert convert) {
  std::vector<Out> out(bytes.size() / sizeof(In));
  const auto count = static_cast<std::int64_t>(out.size());
#pragma omp parallel for if (count > 1 << 18)
  for (std::int64_t i = 0; i < count; ++i) {
    In element;
    std::memcpy(&element, bytes.data() + i * static_cast<std::int64_t>(sizeof(In)), sizeof(In));
    out[static_cast<std::size_t>(i)] = convert(element);
  }
  return out;
}

template <typename In, typename Out>
std::vector<Out> cast_all(std::span<const std::byte> bytes) {
  return convert_all<In, Out>(bytes, [](In element) { return static_cast<Out>(element); });
}

}  // namespace

std::int64_t TensorView::element_count() const {
  return static_cast<std::int64_t>(bytes.size()) / info(dtype).size;
}

std::vector<float> TensorView::to_floats() const {
  std::vector<float> values;
  switch (dtype) {
    case DType::f64:
      values = cast_all<double, float>(bytes);
      break;
    case DType::f32:
      values = cast_all<float, float>(bytes);
      break;
    case DType::f16:
      values = convert_all<std::uint16_t, float>(bytes, half_to_float);
      break;
    case DType::bf16:
      values = convert_all<std::uint16_t, float>(
          bytes, [](std::uint16_t b) { return std::bit_cast<float>(std::uint32_t{b} << 16); });
      break;
    case DType::i32:
      values = cast_all<std::int32_t, float>(bytes);
      break;
    case DType::i16:
      values = cast_all<std::int16_t, float>(bytes);
      break;
    case DType::i8:
      values = cast_all<std::int8_t, float>(bytes);
      break;
    case DType::u8:
      values = cast_all<std::uint8_t, float>(bytes);
      break;
    case DType::i64:
    case DType::boolean:
      throw InputError(place, "a floating type or an integer type of at most 32 bits",
                       std::string(info(dtype).name));
  }
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (bad != values.end())
    throw InputError(place, "finite float32 values",
                     fmt::format("{} at element {}", *bad, bad - values.begin()));
  return values;
}

std::vector<std::int64_t> TensorView::to_ints() const {
  switch (dtype) {
    case DType::i64:
      return cast_all<std::int64_t, std::int64_t>(bytes);
    case DType::i32:
      return cast_all<std::int32_t, std::int64_t>(bytes);
    case DType::i16:
      return cast_all<std::int16_t, std::int64_t>(bytes);
    case DType::i8:
      return cast_all<std::int8_t, std::int64_t>(bytes);
    case DType::u8:
      return cast_all<std::uint8_t, std::int64_t>(bytes);
    default:
      throw InputError(place, "an integer type", std::string(info(dtype).name));
  }
}

SafeTensors SafeTensors::open(const fs::path& path) {
  SafeTensors result;
  result.place_ = path.string();
  const auto open_file = [&](const fs::path& file) {
    result.files_.push_back(std::make_shared<MappedFile>(file));
    result.metadata_.clear();
    return read_header(file, result.files_.back()->bytes(), result.metadata_);
  };
  std::error_code unreadable;  // left to open_file() to report
  if (!fs::is_directory(path, unreadable)) {
    result.tensors_ = open_file(path);
    return result;
  }
  const fs::path single = path / "model.safetensors";
  const fs::path index = path / "model.safetensors.index.json";
  if (fs::exists(single, unreadable)) {
    result.tensors_ = open_file(single);
    return result;
  }
  if (!fs::exists(index, unreadable))
    throw InputError(path.string(), "model.safetensors or model.safetensors.index.json in this folder",
                     "neither");

  const nlohmann::json text = read_json(index);
  StrictObject object(text, index.string());
  StrictObject weight_map = object.get_object("weight_map");
  std::map<std::string, std::map<std::string, TensorView>> shards;
  for (const auto& [name, value] : text["weight_map"].items()) {
    const std::string shard = weight_map.get_string(name);
    if (fs::path(shard).filename() != shard)
      throw InputError(weight_map.place(name), "the name of a file in the same folder", shard);
    if (!shards.contains(shard)) {
      if (!fs::exists(path / shard, unreadable))
        throw InputError(weight_map.place(name), "an existing shard", shard + ", which is missing");
      shards[shard] = open_file(path / shard);
    }
    const auto found = shards[shard].find(name);
    if (found == shards[shard].end())
      throw InputError(weight_map.place(name), "this tensor in " + shard, "a shard without it");
    result.tensors_.insert(*found);
  }
  result.metadata_.clear();
  return result;
}

bool SafeTensors::has(const std::string& name) const {
  return tensors_.contains(name);
}

const TensorView& SafeTensors::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw InputError(place_, "a tensor " + name, "none of this name");
  return found->second;
}

const TensorView& SafeTensors::at(const std::string& name, const std::vector<std::int64_t>& shape) const {
  const TensorView& view = at(name);
  if (view.shape != shape)
    throw InputError(view.place, fmt::format("shape [{}]", fmt::join(shape, ", ")),
                     fmt::format("[{}]", fmt::join(view.shape, ", ")));
  return view;
}

void write_safetensors(const fs::path& file, const std::vector<TensorOut>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  // Wide types first, so that every tensor is aligned to its element.
  std::vector<const TensorOut*> order;
  for (const TensorOut& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const TensorOut* a, const TensorOut* b) {
    return info(a->dtype).size > info(b->dtype).size;
  });
  nlohmann::json header = nlohmann::json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::int64_t end = 0;
  for (const TensorOut* tensor : order) {
    const std::string place = file.string() + ": tensor " + tensor->name;
    const std::int64_t expected = byte_count(tensor->dtype, tensor->shape, place);
    const auto bytes = static_cast<std::int64_t>(tensor->bytes.size());
    if (bytes != expected)
      throw InputError(place, fmt::format("{} bytes", expected), fmt::format("{} bytes", bytes));
    if (header.contains(tensor->name)) throw InputError(place, "a name used once", "it a second time");
    header[tensor->name] = {
        {"dtype", info(tensor->dtype).name}, {"shape", tensor->shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  }
  std::string text = json_text(header, -1);
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();

  AtomicFile out(file);
  out.write(std::as_bytes(std::span(&length, 1)));
  out.write(text);
  for (const TensorOut* tensor : order) out.write(tensor->bytes);
  out.commit();
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Strict reading of GPU reference files.
#include "hostlib/report/gpu_reference.h"

#include <fmt/format.h>

#include <cstdlib>

#include "hostlib/io/error.h"
#include "hostlib/io/strict_json.h"

namespace lawcat {
namespace {

GpuReference::Measurement read_measurement(StrictObject object) {
  GpuReference::Measurement m;
  StrictObject shape = object.get_object("shape");
  const auto dimension = [&shape](const char* key) {
    return static_cast<int>(shape.get_int(key, 1, 1 << 20));
  };
  m.shape = {dimension("heads"), dimension("kv_heads"), dimension("head_dim"), dimension("feature_dim")};
  shape.finish();
  validate(m.shape);
  m.operation = object.get_string("operation");
  if (m.operation != "prefill" && m.operation != "decode")
    throw InputError(object.place("operation"), "prefill or decode", m.operation);
  m.tokens = static_cast<int>(object.get_int("tokens", 1, 1 << 24));
  m.min_s = object.get_number("min_s", 1e-9, 1e6);
  m.median_s = object.get_number("median_s", m.min_s, 1e6);
  m.max_s = object.get_number("max_s", m.median_s, 1e6);
  if (object.has("energy_j")) m.energy_j = object.get_number("energy_j", 1e-12, 1e9);
  object.finish();
  return m;
}

}  // namespace

const GpuReference::Measurement* GpuReference::find(const UnitShape& shape, const std::string& operation,
                                                    int tokens) const {
  const Measurement* best = nullptr;
  for (const Measurement& m : measurements) {
    if (m.shape != shape || m.operation != operation) continue;
    if (operation == "prefill" && 50 * std::abs(m.tokens - tokens) > tokens) continue;
    if (!best || std::abs(m.tokens - tokens) < std::abs(best->tokens - tokens)) best = &m;
  }
  return best;
}

GpuReference load_gpu_reference(const std::filesystem::path& file) {
  const nlohmann::json json = read_json(file);
  StrictObject root(json, file.string());
  const std::string schema = root.get_string("schema");
  if (schema != "lawcat-gpu/1") throw InputError(root.place("schema"), "lawcat-gpu/1", schema);
  GpuReference reference;
  reference.device = root.get_string("device");
  reference.driver = root.get_string("driver");
  reference.cuda = root.get_string("cuda");
  reference.date = root.get_string("date");
  reference.commit = root.get_string("commit");
  reference.idle_power_w = root.get_number("idle_power_w", 0, 1e5);
  const nlohmann::json& list = root.get_any("measurements");
  if (!list.is_array() || list.empty())
    throw InputError(root.place("measurements"), "an array of at least one measurement", list.type_name());
  for (std::size_t i = 0; i < list.size(); ++i)
    reference.measurements.push_back(
        read_measurement({list[i], fmt::format("{}[{}]", root.place("measurements"), i)}));
  root.finish();
  return reference;
}

}  // namespace lawcat

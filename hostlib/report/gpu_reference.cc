// SPDX-License-Identifier: Apache-2.0
// Strict reading and writing of GPU reference files, and looking things up in them.
#include "hostlib/report/gpu_reference.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <span>
#include <string_view>

#include "hostlib/io/error.h"
#include "hostlib/io/strict_json.h"

namespace lawcat {
namespace {

using Json = nlohmann::ordered_json;
using Measurement = GpuReference::Measurement;

constexpr std::string_view kOperations[] = {"prefill",      "decode",        "layer_prefill",
                                            "layer_decode", "model_prefill", "model_decode"};
constexpr std::string_view kAttentions[] = {"unit", "softmax", "torch-cudnn", "torch-flash"};
constexpr std::string_view kMethods[] = {"graph", "stream"};
constexpr std::string_view kGates[] = {"plain", "long", "spiky"};

std::string one_of(StrictObject& object, const std::string& key, std::span<const std::string_view> known) {
  std::string word = object.get_string(key);
  if (std::find(known.begin(), known.end(), word) == known.end())
    throw InputError(object.place(key), fmt::format("{}", fmt::join(known, " or ")), word);
  return word;
}

UnitShape read_shape(StrictObject& object) {
  StrictObject shape = object.get_object("shape");
  const auto dimension = [&shape](const char* key) {
    return static_cast<int>(shape.get_int(key, 1, 1 << 20));
  };
  const UnitShape read = {dimension("heads"), dimension("kv_heads"), dimension("head_dim"),
                          dimension("feature_dim")};
  shape.finish();
  validate(read);
  return read;
}

Measurement read_measurement(StrictObject& object, bool is_peer) {
  Measurement m;
  m.shape = read_shape(object);
  m.operation = one_of(object, "operation", kOperations);
  if (!is_peer) {
    if (!m.is_unit()) {
      m.model = object.get_string("model");
      if (m.model.empty()) throw InputError(object.place("model"), "a model's name", "an empty text");
    }
    m.attention = one_of(object, "attention", kAttentions);
  } else if (!m.is_unit()) {
    throw InputError(object.place("operation"), "prefill or decode", m.operation);
  }
  if (m.is_unit() && m.attention != "unit")
    throw InputError(object.place("attention"), "unit for the unit's operations", m.attention);
  m.tokens = static_cast<int>(object.get_int("tokens", 1, 1 << 24));
  m.batch = static_cast<int>(object.get_int("batch", 1, m.is_prefill() ? 1 : 1 << 20));
  m.min_s = object.get_number("min_s", 1e-9, 1e6);
  m.median_s = object.get_number("median_s", m.min_s, 1e6);
  m.max_s = object.get_number("max_s", m.median_s, 1e6);
  m.repetitions = static_cast<int>(object.get_int("repetitions", 1, 1 << 30));
  m.method = one_of(object, "method", kMethods);
  if (object.has("energy_j")) m.energy_j = object.get_number("energy_j", 1e-12, 1e9);
  if (object.has("metered_s")) {
    if (!m.energy_j) throw InputError(object.place("metered_s"), "energy_j beside it", "none");
    m.metered_s = object.get_number("metered_s", 1e-9, 1e6);
  }
  return m;
}

/// Calls `read` with each object of the array `key`.
template <typename Read>
void each(StrictObject& object, const std::string& key, const char* expected, bool may_be_empty, Read read) {
  const nlohmann::json& list = object.get_any(key);
  if (!list.is_array() || (list.empty() && !may_be_empty))
    throw InputError(object.place(key), expected, list.type_name());
  for (std::size_t i = 0; i < list.size(); ++i) {
    StrictObject element(list[i], fmt::format("{}[{}]", object.place(key), i));
    read(element);
    element.finish();
  }
}

GpuReference::Peers read_peers(StrictObject object) {
  GpuReference::Peers peers;
  const nlohmann::json& software = object.get_any("software");
  StrictObject versions(software, object.place("software"));
  for (const auto& [name, version] : software.items())
    peers.software.push_back({name, versions.get_string(name)});
  each(object, "timings", "an array", true, [&peers](StrictObject& timing) {
    std::string peer = timing.get_string("peer");
    peers.timings.push_back({std::move(peer), read_measurement(timing, true)});
  });
  each(object, "accuracy", "an array", true, [&peers](StrictObject& one) {
    GpuReference::PeerAccuracy accuracy;
    accuracy.peer = one.get_string("peer");
    accuracy.gates = one_of(one, "gates", kGates);
    accuracy.shape = read_shape(one);
    accuracy.tokens = static_cast<int>(one.get_int("tokens", 1, 1 << 24));
    accuracy.rel_l2_o = one.get_number("rel_l2_o", 0, 1e6);
    accuracy.rel_l2_state = one.get_number("rel_l2_state", 0, 1e6);
    peers.accuracy.push_back(accuracy);
  });
  each(object, "missing", "an array", true, [&peers](StrictObject& one) {
    std::string peer = one.get_string("peer");
    peers.missing.push_back({std::move(peer), one.get_string("reason")});
  });
  object.finish();
  return peers;
}

Json json_of(const UnitShape& shape) {
  return {{"heads", shape.heads},
          {"kv_heads", shape.kv_heads},
          {"head_dim", shape.head_dim},
          {"feature_dim", shape.feature_dim}};
}

Json json_of(const Measurement& m, const std::string& peer) {
  Json json = Json::object();
  if (!peer.empty()) json["peer"] = peer;
  json["shape"] = json_of(m.shape);
  json["operation"] = m.operation;
  if (!m.model.empty()) json["model"] = m.model;
  if (peer.empty()) json["attention"] = m.attention;
  json["tokens"] = m.tokens;
  json["batch"] = m.batch;
  json["median_s"] = m.median_s;
  json["min_s"] = m.min_s;
  json["max_s"] = m.max_s;
  json["repetitions"] = m.repetitions;
  json["method"] = m.method;
  if (m.energy_j) json["energy_j"] = *m.energy_j;
  if (m.metered_s) json["metered_s"] = *m.metered_s;
  return json;
}

Json json_of(const GpuReference::Peers& peers) {
  Json json = {{"software", Json::object()},
               {"timings", Json::array()},
               {"accuracy", Json::array()},
               {"missing", Json::array()}};
  for (const auto& [name, version] : peers.software) json["software"][name] = version;
  for (const auto& [peer, measured] : peers.timings) json["timings"].push_back(json_of(measured, peer));
  for (const GpuReference::PeerAccuracy& one : peers.accuracy)
    json["accuracy"].push_back({{"peer", one.peer},
                                {"gates", one.gates},
                                {"shape", json_of(one.shape)},
                                {"tokens", one.tokens},
                                {"rel_l2_o", one.rel_l2_o},
                                {"rel_l2_state", one.rel_l2_state}});
  for (const auto& [peer, reason] : peers.missing)
    json["missing"].push_back({{"peer", peer}, {"reason", reason}});
  return json;
}

}  // namespace

bool Measurement::same_call(const Measurement& other) const {
  return shape == other.shape && operation == other.operation && model == other.model &&
         attention == other.attention && tokens == other.tokens && batch == other.batch;
}

double Measurement::floor_bytes() const {
  constexpr double kBf16 = 2;
  constexpr double kFp32 = 4;
  const double q = static_cast<double>(shape.heads) * shape.head_dim;
  const double k = static_cast<double>(shape.kv_heads) * shape.head_dim;
  const double token = kBf16 * (2 * q + 2 * k + static_cast<double>(shape.kv_heads) * shape.key_features());
  if (is_prefill()) return tokens * token;
  const double state = static_cast<double>(shape.heads) * shape.key_features() * (shape.head_dim + 1);
  return batch * (token + 2 * kFp32 * (state + (kConvTaps - 1) * (q + k)));
}

std::optional<GpuReference::Estimate> GpuReference::find(const UnitShape& shape, const std::string& operation,
                                                         int tokens) const {
  const Measurement* nearest = nullptr;
  const Measurement* below = nullptr;
  const Measurement* above = nullptr;
  for (const Measurement& m : measurements) {
    if (m.shape != shape || m.operation != operation || m.batch != 1 || !m.is_unit()) continue;
    if (!nearest || std::abs(m.tokens - tokens) < std::abs(nearest->tokens - tokens)) nearest = &m;
    if (m.tokens <= tokens && (!below || m.tokens > below->tokens)) below = &m;
    if (m.tokens >= tokens && (!above || m.tokens < above->tokens)) above = &m;
  }
  if (!nearest) return std::nullopt;
  if (operation == "decode" || 50LL * std::abs(nearest->tokens - tokens) <= tokens)
    return Estimate{nearest->median_s, nearest->energy_j, "measured"};
  if (!below || !above) return std::nullopt;
  const double part = std::log(static_cast<double>(tokens) / below->tokens) /
                      std::log(static_cast<double>(above->tokens) / below->tokens);
  const auto between = [part](double low, double high) { return low * std::pow(high / low, part); };
  Estimate estimate{between(below->median_s, above->median_s), std::nullopt,
                    fmt::format("interpolated for {} tokens between the measured {} and {}", tokens,
                                below->tokens, above->tokens)};
  if (below->energy_j && above->energy_j) estimate.energy_j = between(*below->energy_j, *above->energy_j);
  return estimate;
}

void GpuReference::put(const Measurement& measurement) {
  for (Measurement& m : measurements)
    if (m.same_call(measurement)) {
      m = measurement;
      return;
    }
  measurements.push_back(measurement);
}

GpuReference load_gpu_reference(const std::filesystem::path& file) {
  const nlohmann::json json = read_json(file);
  StrictObject root(json, file.string());
  const std::string schema = root.get_string("schema");
  if (schema != "lawcat-gpu/1") throw InputError(root.place("schema"), "lawcat-gpu/1", schema);
  GpuReference reference;
  reference.device = root.get_string("device");
  if (root.has("uuid")) reference.uuid = root.get_string("uuid");
  reference.driver = root.get_string("driver");
  reference.cuda = root.get_string("cuda");
  reference.date = root.get_string("date");
  reference.commit = root.get_string("commit");
  reference.sms = static_cast<int>(root.get_int("sms", 1, 1 << 16));
  reference.l2_bytes = root.get_number("l2_bytes", 1, 1e12);
  reference.copy_bytes_per_s = root.get_number("copy_bytes_per_s", 1, 1e18);
  reference.gates = one_of(root, "gates", kGates);
  if (root.has("idle_power_w") == root.has("energy_reason"))
    throw InputError(file.string(), "either idle_power_w or energy_reason",
                     root.has("idle_power_w") ? "both" : "neither");
  if (root.has("idle_power_w"))
    reference.idle_power_w = root.get_number("idle_power_w", 0, 1e5);
  else
    reference.energy_reason = root.get_string("energy_reason");
  if (root.has("clocks")) {
    StrictObject clocks = root.get_object("clocks");
    reference.clocks = {clocks.get_number("sm_hz", 1, 1e12), clocks.get_number("memory_hz", 1, 1e12)};
    clocks.finish();
  }
  each(root, "measurements", "an array of at least one measurement", false, [&](StrictObject& element) {
    const Measurement m = read_measurement(element, false);
    for (const Measurement& other : reference.measurements)
      if (m.same_call(other))
        throw InputError(element.place("operation"), "each call once", m.operation + " a second time");
    if (m.energy_j && !reference.idle_power_w)
      throw InputError(element.place("energy_j"), "no energy where energy_reason says why there is none",
                       fmt::format("{}", *m.energy_j));
    reference.measurements.push_back(m);
  });
  if (root.has("peers")) reference.peers = read_peers(root.get_object("peers"));
  root.finish();
  return reference;
}

std::string to_json(const GpuReference& r) {
  Json json = {{"schema", "lawcat-gpu/1"},
               {"device", r.device},
               {"driver", r.driver},
               {"cuda", r.cuda},
               {"date", r.date},
               {"commit", r.commit},
               {"sms", r.sms},
               {"l2_bytes", r.l2_bytes},
               {"copy_bytes_per_s", r.copy_bytes_per_s},
               {"gates", r.gates}};
  if (!r.uuid.empty()) json["uuid"] = r.uuid;
  if (r.idle_power_w)
    json["idle_power_w"] = *r.idle_power_w;
  else
    json["energy_reason"] = r.energy_reason;
  if (r.clocks) json["clocks"] = {{"sm_hz", r.clocks->sm_hz}, {"memory_hz", r.clocks->memory_hz}};
  json["measurements"] = Json::array();
  for (const Measurement& m : r.measurements) json["measurements"].push_back(json_of(m, ""));
  if (r.peers) json["peers"] = json_of(*r.peers);
  return json_text(json, 2) + "\n";
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// A report as JSON and as text.
#include "hostlib/report/report.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "hostlib/io/strict_json.h"
#include "hostlib/report/quantity.h"

namespace lawcat {
namespace {

using Json = nlohmann::ordered_json;

void put_null(Json& object, const std::string& key, const std::string& reason) {
  object[key] = nullptr;
  object[key + "_reason"] = reason;
}

void put(Json& object, const std::string& key, const Figure& figure) {
  if (!figure.value)
    put_null(object, key, figure.reason);
  else if (!std::isfinite(*figure.value))
    put_null(object, key, number_words(*figure.value, ""));  // JSON has no such numbers
  else
    object[key] = *figure.value;
}

template <typename T>
void put(Json& object, const std::string& key, const std::optional<T>& value, const std::string& reason) {
  if (value)
    object[key] = *value;
  else
    put_null(object, key, reason);
}

Json errors_of(const ErrorMeter& meter) {
  Json json = Json::object();
  const double sqnr_db = meter.sqnr_db();
  put(json, "sqnr_db",
      std::isinf(sqnr_db) && sqnr_db > 0 ? Figure::none("infinite: there is no difference at all")
                                         : Figure(sqnr_db));
  put(json, "max_abs_err", meter.max_abs_err());
  put(json, "rel_l2_err", meter.rel_l2_err());
  put(json, "cosine", meter.cosine());
  return json;
}

ErrorMeter total(const std::vector<ErrorMeter>& layers) {
  ErrorMeter sum;
  for (const ErrorMeter& layer : layers) sum.add(layer);
  return sum;
}

Json numerics_of(const Report::Numerics& numerics) {
  Json json = Json::object();
  put(json, "against", numerics.against, numerics.reason);
  if (numerics.against) {
    json.update(errors_of(total(numerics.layers)));
  } else {
    for (const char* key : {"sqnr_db", "max_abs_err", "rel_l2_err", "cosine"})
      put_null(json, key, numerics.reason);
  }
  put(json, "top1_agreement", numerics.top1_agreement);
  json["top1_tokens"] = numerics.top1_tokens;
  put(json, "saturations", numerics.saturations, numerics.saturations_reason);
  json["per_layer"] = Json::array();
  for (const ErrorMeter& layer : numerics.layers) json["per_layer"].push_back(errors_of(layer));
  return json;
}

Json energy_of(const Report::Energy& energy) {
  Json json = Json::object();
  const std::string& reason = energy.accelerator_reason;
  const auto& j = energy.accelerator_j;
  put(json, "accelerator_j", j ? Figure(j->nominal) : Figure::none(reason));
  put(json, "accelerator_low_j", j ? Figure(j->low) : Figure::none(reason));
  put(json, "accelerator_high_j", j ? Figure(j->high) : Figure::none(reason));
  if (j) {
    json["by_component_j"] = Json::object();
    for (const auto& [component, range] : energy.by_component_j)
      json["by_component_j"][component] = {
          {"low_j", range.low}, {"nominal_j", range.nominal}, {"high_j", range.high}};
  } else {
    put_null(json, "by_component_j", reason);
  }
  put(json, "host_j", energy.host_j);
  put(json, "gpu_j", energy.gpu_j);
  put(json, "ratio_vs_gpu", energy.ratio_vs_gpu);
  json["table"] = energy.table;
  return json;
}

}  // namespace

Figure ratio(const Figure& numerator, const Figure& denominator) {
  if (!numerator.value) return numerator;
  if (!denominator.value) return denominator;
  return *numerator.value / *denominator.value;
}

Figure sum(const Figure& a, const Figure& b) {
  if (!a.value) return a;
  if (!b.value) return b;
  return *a.value + *b.value;
}

std::string to_json(const Report& report) {
  Json json = {{"schema", "lawcat-report/1"},      {"trace", report.trace},     {"model", report.model},
               {"preset", report.preset},          {"backend", report.backend}, {"host", report.host},
               {"timing_only", report.timing_only}};

  Json& answer = json["answer"] = Json::object();
  put(answer, "expected", report.answer.expected, report.answer.reason);
  put(answer, "got", report.answer.got, report.answer.reason);
  put(answer, "correct", report.answer.correct, report.answer.reason);

  const Report::Latency& l = report.latency;
  Json& latency = json["latency"] = Json::object();
  latency["prefill_tokens"] = l.prefill_tokens;
  latency["decode_steps"] = l.decode_steps;
  put(latency, "accelerator_cycles", l.accelerator_cycles);
  put(latency, "accelerator_s", l.accelerator_s);
  put(latency, "host_s", l.host_s);
  latency["host_s_source"] = l.host_s_source;
  put(latency, "end_to_end_s", l.end_to_end_s);
  put(latency, "prefill_s", l.prefill_s);
  put(latency, "decode_s_per_token", l.decode_s_per_token);
  put(latency, "gpu_s", l.gpu_s);
  put(latency, "gpu_s_source", l.gpu_s.value ? std::optional(l.gpu_s_source) : std::nullopt, l.gpu_s.reason);
  put(latency, "speedup_vs_gpu", l.speedup_vs_gpu);

  json["energy"] = energy_of(report.energy);
  json["numerics"] = numerics_of(report.numerics);

  Json& verification = json["verification"] = Json::object();
  put(verification, "against", report.verification.against, report.verification.detail);
  put(verification, "equal", report.verification.equal, report.verification.detail);
  if (report.verification.equal)
    put(verification, "first_difference",
        *report.verification.equal ? std::nullopt : std::optional(report.verification.detail),
        "every output and every final context is equal");
  else
    put_null(verification, "first_difference", report.verification.detail);

  if (report.utilization.empty())
    put_null(json, "utilization", report.timing_reason);
  else
    for (const auto& [unit, share] : report.utilization) json["utilization"][unit] = share;
  put(json, "bottleneck", report.bottleneck, report.timing_reason);

  Json& simulator = json["simulator"] = Json::object();
  simulator["wall_s"] = report.simulator.wall_s;
  put(simulator, "cycles_per_s", report.simulator.cycles_per_s);
  put(simulator, "peak_memory_mib", report.simulator.peak_memory_mib);

  const Report::Provenance& p = report.provenance;
  Json& provenance = json["provenance"] = Json::object();
  provenance["commit"] = p.commit;
  provenance["preset_hash"] = p.preset_hash;
  provenance["trace_sha256"] = p.trace_sha256;
  put(provenance, "gpu_reference", p.gpu_reference, p.gpu_reference_reason);
  provenance["seeds"] = p.seeds;

  Json& counters = json["counters"] = Json::object();
  for (const auto& [name, counter] : report.counters.all())
    counters[name] = {{"value", counter.value}, {"unit", counter.unit}};
  return json_text(json, 2) + "\n";
}

std::string to_text(const Report& report) {
  std::string text;
  const auto line = [&text](std::string_view label, const std::string& value) {
    text += fmt::format("  {:<14}{}\n", label, value);
  };
  const Report::Latency& l = report.latency;
  text += fmt::format("{} on {} ({}), {} prefill tokens, {} decode steps\n", report.model, report.backend,
                      report.preset, l.prefill_tokens, l.decode_steps);
  if (report.timing_only)
    line("answer", report.answer.reason);
  else
    line("answer", fmt::format("{}{}", report.answer.got.value_or("-"),
                               report.answer.correct
                                   ? (*report.answer.correct
                                          ? ", correct"
                                          : fmt::format(", WRONG: expected {}", *report.answer.expected))
                                   : ", " + report.answer.reason));
  line("latency", fmt::format("{} end to end: accelerator {}, host {} ({})", to_words(l.end_to_end_s, "s"),
                              to_words(l.accelerator_s, "s"), to_words(l.host_s, "s"), l.host_s_source));
  line("", fmt::format("prefill {}, decode {} a token; {} cycles", to_words(l.prefill_s, "s"),
                       to_words(l.decode_s_per_token, "s"), to_words(l.accelerator_cycles, "")));
  line("GPU", l.gpu_s.value
                  ? fmt::format("{} for the unit's work ({}){}", to_words(l.gpu_s, "s"), l.gpu_s_source,
                                l.speedup_vs_gpu.value
                                    ? ": " + ratio_words(*l.speedup_vs_gpu.value) + " the accelerator's time"
                                    : std::string())
                  : "no figure: " + l.gpu_s.reason);
  if (l.gpu_s.value && report.energy.gpu_j.value)
    line("",
         fmt::format("{}{}", to_words(report.energy.gpu_j, "J"),
                     report.energy.ratio_vs_gpu.value
                         ? ": " + ratio_words(*report.energy.ratio_vs_gpu.value) + " the accelerator's energy"
                         : std::string()));
  if (report.energy.accelerator_j) {
    const EnergyRange& j = *report.energy.accelerator_j;
    line("energy",
         fmt::format("accelerator {} ({} to {}), host {}", to_words(j.nominal, "J"), to_words(j.low, "J"),
                     to_words(j.high, "J"), to_words(report.energy.host_j, "J")));
    std::string parts;
    for (const auto& [component, range] : by_size(report.energy.by_component_j))
      if (range.nominal >= 0.01 * j.nominal)
        parts += fmt::format("{}{} {:.0f} %", parts.empty() ? "" : ", ", component,
                             100 * range.nominal / j.nominal);
    line("", parts);
  } else {
    line("energy", "no figure: " + report.energy.accelerator_reason);
  }
  if (report.numerics.against) {
    const ErrorMeter all = total(report.numerics.layers);
    line("numerics",
         fmt::format("against {}: SQNR {}, relative L2 {}, cosine {}", *report.numerics.against,
                     number_words(all.sqnr_db(), "{:.1f} dB"), number_words(all.rel_l2_err(), "{:.2e}"),
                     number_words(all.cosine(), "{:.8f}")));
    if (report.numerics.top1_agreement.value)
      line("", fmt::format("same next token {:.2f} % of the last {}",
                           100 * *report.numerics.top1_agreement.value, report.numerics.top1_tokens));
  } else {
    line("numerics", report.numerics.reason);
  }
  if (report.numerics.saturations) {
    std::string points;
    for (const auto& [point, count] : *report.numerics.saturations)
      if (count > 0) points += fmt::format("{}{} {:.0f}", points.empty() ? "" : ", ", point, count);
    line("saturations", points.empty() ? "none" : points);
  }
  if (report.verification.equal)
    line("bits",
         *report.verification.equal
             ? fmt::format("equal to {}, outputs and final contexts", *report.verification.against)
             : fmt::format("DIFFER from {}: {}", *report.verification.against, report.verification.detail));
  if (!report.utilization.empty()) {
    std::string busy;
    for (const auto& [unit, share] : report.utilization)
      busy += fmt::format("{}{} {:.0f} %", busy.empty() ? "" : ", ", unit, 100 * share);
    line("utilization", busy);
    line("bottleneck", report.bottleneck.value_or(report.timing_reason));
  }
  line("simulator",
       fmt::format("{} wall, {} cycles/s, {} MiB at most", to_words(report.simulator.wall_s, "s"),
                   to_words(report.simulator.cycles_per_s, ""),
                   report.simulator.peak_memory_mib.value
                       ? fmt::format("{:.0f}", *report.simulator.peak_memory_mib.value)
                       : "-"));
  return text;
}

}  // namespace lawcat

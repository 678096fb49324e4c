// SPDX-License-Identifier: Apache-2.0
// Results of one run: every figure with its unit, or null with the reason why there is none.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hostlib/arch/energy_table.h"
#include "hostlib/backend/backend.h"
#include "hostlib/report/error_meter.h"

namespace lawcat {

/// A number, or why there is none.
struct Figure {
  std::optional<double> value;
  std::string reason = "not obtained by this run";

  Figure() = default;
  Figure(double number) : value(number) {}  // NOLINT: a number is a figure
  static Figure none(std::string why) {
    Figure figure;
    figure.reason = std::move(why);
    return figure;
  }
};

/// Quotient, or the reason of whichever part is missing.
Figure ratio(const Figure& numerator, const Figure& denominator);
Figure sum(const Figure& a, const Figure& b);

/// `lawcat-report/1`.
struct Report {
  std::string trace;
  std::string description;
  std::string model;
  std::string preset;
  std::string backend;
  std::string host;
  bool timing_only = false;

  struct Answer {
    std::optional<std::string> expected;
    std::optional<std::string> got;
    std::optional<bool> correct;
    std::string reason;  ///< for whichever is absent
  } answer;

  /// Host and accelerator alternate layer by layer, so times add up and nothing overlaps between them.
  struct Latency {
    int prefill_tokens = 0;
    int decode_steps = 0;  ///< calls with one token; the first answer token comes out of the prefill
    Figure accelerator_cycles;
    Figure accelerator_s;
    Figure host_s;
    std::string host_s_source;  ///< "measured" on this machine or "modelled" for the preset's host
    Figure end_to_end_s;
    Figure prefill_s;
    Figure decode_s_per_token;
    Figure gpu_s;              ///< the unit's work on the GPU: layers x (prefill + decode steps)
    std::string gpu_s_source;  ///< "measured", or between which measured token counts it was interpolated
    Figure speedup_vs_gpu;     ///< gpu_s / accelerator_s
  } latency;

  struct Energy {
    std::string table;
    std::optional<EnergyRange> accelerator_j;
    std::map<std::string, EnergyRange> by_component_j;
    std::string accelerator_reason;
    Figure host_j;
    Figure gpu_j;         ///< measured energy of those calls, idle power included
    Figure ratio_vs_gpu;  ///< gpu_j / nominal accelerator_j
  } energy;

  struct Numerics {
    std::optional<std::string> against;
    std::string reason;  ///< when there is no comparison
    std::vector<ErrorMeter> layers;
    Figure top1_agreement;  ///< share of `top1_tokens` last tokens whose likeliest next token agrees
    int top1_tokens = 0;
    std::optional<std::map<std::string, double>> saturations;  ///< by datapath point
    std::string saturations_reason;
  } numerics;

  /// Whether the backend gave the bits that it is held to.
  struct Verification {
    std::optional<std::string> against;
    std::optional<bool> equal;
    std::string detail;  ///< first difference, or why nothing was compared
  } verification;

  std::vector<std::pair<std::string, double>>
      utilization;  ///< busy share by unit, in the data's order; empty without time
  std::optional<std::string> bottleneck;
  std::string timing_reason = "the backend has no notion of time";

  struct Simulator {
    double wall_s = 0;
    Figure cycles_per_s;
    Figure peak_memory_mib;
  } simulator;

  struct Provenance {
    std::string commit;
    std::string preset_hash;
    std::string trace_sha256;
    std::optional<std::string> gpu_reference;
    std::string gpu_reference_reason;
    std::vector<std::uint64_t> seeds;
  } provenance;

  Counters counters;

  /// False when an answer is wrong or bits differ: exit code 1.
  bool passed() const { return answer.correct.value_or(true) && verification.equal.value_or(true); }
};

/// JSON text with every key of the schema; a null has a sibling KEY_reason.
std::string to_json(const Report& report);

/// What a person wants to know, in one screen of text.
std::string to_text(const Report& report);

/// One self-contained page: the text's content as tables and bars, readable on light and dark.
std::string to_html(const Report& report);

}  // namespace lawcat

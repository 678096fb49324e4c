// SPDX-License-Identifier: Apache-2.0
// Measured times and energies on a GPU: the file they are kept in, its table, and what stands beside a
// simulated run.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hostlib/backend/job.h"

namespace lawcat {

/// A `lawcat-gpu/1` file; measured figures only. Keys: schema, device, uuid?, driver, cuda, date, commit,
/// sms, l2_bytes, copy_bytes_per_s, gates, idle_power_w or energy_reason, clocks {sm_hz, memory_hz}?,
/// measurements
/// [...], peers? {software {...}, timings [...], accuracy [...], missing [{peer, reason}]}.
struct GpuReference {
  /// One call. Unit operations are steps 3-8 of one layer: `prefill` over `tokens` tokens, or `decode` of one
  /// token in each of `batch` sequences after `tokens` others. `layer_` and `model_` operations run a layer
  /// or a whole `model`.
  struct Measurement {
    UnitShape shape;
    std::string operation;
    std::string model;               ///< empty for unit operations
    std::string attention = "unit";  ///< of layers and models: this, or softmax, torch-cudnn, torch-flash
    int tokens = 0;
    int batch = 1;
    double median_s = 0;
    double min_s = 0;
    double max_s = 0;
    int repetitions = 0;               ///< samples; each is the time of several calls over their number
    std::string method = "graph";      ///< calls replayed from a CUDA graph, or "stream": launched one by one
    std::optional<double> energy_j{};  ///< per call in a long run of them, idle power included
    /// Time of a call in that run, where it is known: longer than the others where the run met the GPU's
    /// power limit. Only with energy_j.
    std::optional<double> metered_s{};
    bool operator==(const Measurement&) const = default;

    bool is_unit() const { return operation == "prefill" || operation == "decode"; }
    bool is_prefill() const { return operation.ends_with("prefill"); }
    /// Same call, whatever was measured.
    bool same_call(const Measurement& other) const;
    /// Bytes that a unit operation must move: q, k, v, gk in and o out, bf16; for decode also the state
    /// (fp32, with the convolutions' tails) in and out.
    double floor_bytes() const;
  };

  /// The same work through other software, measured on the same device in the same way (`peer` in place of
  /// model).
  struct PeerTiming {
    std::string peer;  ///< softmax_flash, softmax_cudnn, chunk_gla, gla_chain, fused_recurrent_gla
    Measurement measured;
    bool operator==(const PeerTiming&) const = default;
  };
  /// Relative L2 error against the unit in float64.
  struct PeerAccuracy {
    std::string peer;
    std::string gates;  ///< regime of the gate logits
    UnitShape shape;
    int tokens = 0;
    double rel_l2_o = 0;
    double rel_l2_state = 0;
    bool operator==(const PeerAccuracy&) const = default;
  };
  struct Words {
    std::string name;
    std::string text;
    bool operator==(const Words&) const = default;
  };
  struct Peers {
    std::vector<Words> software;  ///< name, version
    std::vector<PeerTiming> timings;
    std::vector<PeerAccuracy> accuracy;
    std::vector<Words> missing;  ///< peer, why it was not measured
    bool operator==(const Peers&) const = default;
  };
  struct Clocks {
    double sm_hz = 0;
    double memory_hz = 0;
    bool operator==(const Clocks&) const = default;
  };

  std::string device;
  std::string uuid;  ///< of that very GPU, 32 hexadecimal digits; empty in files that do not tell
  std::string driver;
  std::string cuda;  ///< runtime
  std::string date;
  std::string commit;
  int sms = 0;  ///< multiprocessors
  double l2_bytes = 0;
  double copy_bytes_per_s = 0;         ///< of a large device-to-device copy, bytes read plus bytes written
  std::string gates = "plain";         ///< regime of the gate logits that the inputs were drawn from
  std::optional<double> idle_power_w;  ///< with a context open and nothing running
  std::string energy_reason;           ///< when there is no idle power: why energy was not metered
  std::optional<Clocks> clocks;        ///< while measuring, where the driver tells
  std::vector<Measurement> measurements;
  std::optional<Peers> peers;
  bool operator==(const GpuReference&) const = default;

  /// Time and energy of one call of the unit on one sequence.
  struct Estimate {
    double seconds = 0;
    std::optional<double> energy_j;
    std::string source;  ///< "measured", or between which measured token counts it was interpolated
  };
  /// `prefill`: the measurement within 2 % of `tokens`, else the power law through the neighbouring measured
  /// counts, else (outside of them) nothing. `decode`, whose cost does not depend on the count: the nearest
  /// measurement.
  std::optional<Estimate> find(const UnitShape& shape, const std::string& operation, int tokens) const;

  /// Puts `measurement` in place of the one of the same call, or behind the others.
  void put(const Measurement& measurement);
};

/// Throws InputError for unknown, missing or mistyped keys, for times that are not 0 < min <= median <= max,
/// and for calls that no one can make (a batch of a prefill's sequences, a unit operation with a model).
GpuReference load_gpu_reference(const std::filesystem::path& file);

/// The file's text; reading it gives an equal value.
std::string to_json(const GpuReference& reference);

/// What was measured as a table: microseconds, times the byte floor, share of the copy bandwidth, energy, and
/// for prefill the ratio to each peer and to softmax attention, with the length from which on the unit is
/// faster.
std::string to_text(const GpuReference& reference);

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Time and place in the accelerator: cycles per stage, heads per engine, bits per head, what binds.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hostlib/arch/preset.h"

namespace lawcat {

/// The stages of an engine, in the order the data meets them; `gate` runs beside the first three.
enum class Stage { convolution, feature_map, dual_softmax, gate, state_update, normalise };
inline constexpr int kStageCount = static_cast<int>(Stage::normalise) + 1;
std::string_view to_string(Stage stage);

/// One stage as a pipeline that hands whole vectors over. It starts a head-token every `interval` cycles; a
/// head-token that starts in cycle t lies complete in the next FIFO at t + latency(). `depth` is the register
/// stages between the last operand in and the result in the FIFO. A FIFO slot is taken when the producing
/// stage starts a head-token (a stage never stops half way) and free once the consuming stage has read it,
/// `interval` cycles after the consumer's start.
struct StageTiming {
  int interval = 1;
  int depth = 0;
  int latency() const { return interval + depth; }
  bool operator==(const StageTiming&) const = default;
};

/// Timing of the six stages, indexed by Stage. D = head_dim, F = feature_dim, K = 2F, clog2 = ceil(log2).
///
///   stage         interval                   depth, and why
///   convolution   ceil(2*D*4 / conv_lanes)   3 + clog2(min(lanes, 4)): read, multiply, tree over taps, round
///   feature_map   ceil(2*D*F / feature_lanes) 4 + clog2(min(lanes, D)): read, multiply, tree over inputs,
///                                            accumulate, round
///   dual_softmax  ceil(2*K / exp_lanes)      clog2(F) + 9 + ceil(F / lanes): maximum and minimum by a tree;
///                                            subtract, table, interpolate (3); sum (1); reciprocal of the
///                                            sum (3); the last of the four halves is scaled once its sum is
///                                            known (ceil(F / lanes)); multiply, round (2)
///   gate          ceil(K / gate_lanes)       5: read, gate table, its interpolation, exp2 table, its
///   interpolation state_update  ceil(K*(D+1) / state_lanes) 6 + clog2(ceil(lanes / D)): read, multiply,
///   align, three-term add
///                                            and round, read-out multiply, tree over the rows of one cycle,
///                                            accumulate. The K normalisers come first, K / lanes cycles in
///                                            which the rows' exponents are prepared too.
///   normalise     ceil(D / normalise_lanes)  6: read, reciprocal of the denominator (3), multiply, round
std::array<StageTiming, kStageCount> stage_timing(const Preset::Engine& engine, int head_dim,
                                                  int feature_dim);

/// Arithmetic of one head-token in a stage (gate: of one token of a key/value head), as the bit-true datapath
/// does it.
struct StageEvents {
  double multiplies = 0;  ///< multiply-accumulates: the addition that takes the product in is a part
  double adds = 0;        ///< all other additions and comparisons
  double lookups = 0;     ///< function tables
};
StageEvents stage_events(Stage stage, int head_dim, int feature_dim);

/// The contiguous heads of one engine and the key/value heads that they need.
struct EngineShare {
  int first_head = 0;
  int heads = 0;
  int first_kv_head = 0;
  int kv_heads = 0;
  int cluster =
      0;  ///< engines that share a key/value head are one cluster and take input together (multicast)
  bool operator==(const EngineShare&) const = default;
};

/// Spreads heads over engines: whole groups when every engine gets equally many, else heads as evenly as can
/// be, which splits groups. Engines beyond the number of heads get nothing and are left out.
std::vector<EngineShare> distribute_heads(int engines, int heads, int kv_heads);

/// Bits that an engine keeps of one head's state, [K, D+1] with exponents and, under error feedback,
/// residues.
std::int64_t state_bits_per_head(const Datapath& datapath, int head_dim, int feature_dim);
/// Bits of three past inputs of one convolution; q has one per head, k one per key/value head of the engine.
std::int64_t tail_bits(const Datapath& datapath, int head_dim);
/// State and tails of an engine's share of one layer.
std::int64_t context_bits(const Datapath& datapath, const EngineShare& share, int head_dim, int feature_dim);

/// Throws InputError when head_dim or feature_dim exceed what the engine is laid out for, when one layer's
/// states and tails do not fit the engines' state buffers, or when the stream buffer cannot hold two tokens
/// each way. Returns the shares.
std::vector<EngineShare> place_layer(const Preset& preset, int heads, int kv_heads, int head_dim,
                                     int feature_dim);

/// Bytes of one token of a share's inputs (q, k, v, gk) and outputs; each tensor's part starts on a byte.
/// `burst_bytes` > 1 rounds each part up to whole bursts, as DRAM moves it.
std::int64_t input_token_bytes(const Datapath& datapath, int heads, int kv_heads, int head_dim,
                               int feature_dim, int burst_bytes = 1);
std::int64_t output_token_bytes(const Datapath& datapath, int heads, int head_dim, int burst_bytes = 1);

/// Share of time that a unit was in use.
struct Utilization {
  std::string unit;
  double share = 0;  ///< 0 to 1
};

/// Reads a counter by name, 0 when it was not counted (`Counters::value`).
using CounterReader = std::function<double(const std::string&)>;

/// Stages (busy / unit.engine_cycles), dram and the directions of the interconnect (busy / unit.cycles), in
/// order of the data's way. Empty when no cycles were counted.
std::vector<Utilization> utilization(const CounterReader& counter);

/// The unit in use for the largest share of the time and, in words, how sure that is.
struct Bottleneck {
  std::string unit;  ///< empty when no cycles were counted
  double share = 0;
  std::string reason;
};
Bottleneck find_bottleneck(const CounterReader& counter);

}  // namespace lawcat

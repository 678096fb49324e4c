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
#include "hostlib/arch/tile_layout.h"

namespace lawcat {

/// The stages of an engine, in the order the data meets them; `gate` runs beside the three before it. Names
/// and counters are the RTL's.
enum class Stage {
  unpack,
  convolution,
  feature_map,
  dual_softmax,
  gate,
  row_prepare,
  state_update,
  normalise,
  pack
};
inline constexpr int kStageCount = static_cast<int>(Stage::pack) + 1;
std::string_view to_string(Stage stage);

/// One stage as a pipeline that hands whole vectors over. It starts a head-token every `interval` cycles; the
/// next stage can start with what it made `latency()` cycles after its own start. `depth` is the registers
/// between the last operand in and the result in the next stage's buffer. A slot of that buffer is taken when
/// the producing stage starts a head-token (a stage never stops half way) and free again once the consuming
/// stage has read it, `interval` cycles after the consumer's start.
struct StageTiming {
  int interval = 1;
  int depth = 0;
  int latency() const { return interval + depth; }
  bool operator==(const StageTiming&) const = default;
};

/// Timing of the stages, indexed by Stage: what the modules of rtl/core state in their headers, where each
/// depth has its reasons. D = head_dim, F = feature_dim; lane counts are those of TileLayout.
///
///   stage         interval                              depth
///   unpack        ceil(D / elements) a vector           1; a packet's other beats: PacketBeats
///   convolution   max(4, 2 ceil(D / channels))          9
///   feature_map   ceil(F / feature_segment) * slice     8 + log2(feature_channels) + drain + log2(exp_lanes)
///   dual_softmax  4 n                                   35 + log2(exp_lanes) + n
///   gate          2 ceil(F / gate_lanes) a packet       18
///   row_prepare   4 n + 1 + 2 levels                    5
///   state_update  ceil(D / segment) * 2 ceil(F / rows)  13
///   normalise     ceil(D / normalise_lanes)             13
///   pack          ceil(D / elements), a header 1        2
///
///   n = ceil(F / exp_lanes), drain = feature_segment / exp_lanes, levels = 1 for exp_lanes <= 4, else 2,
///   slice = max(ceil(D / feature_channels), drain + log2(exp_lanes) + 1)
///
/// The state update's normaliser column has lanes of its own and takes no cycles.
std::array<StageTiming, kStageCount> stage_timing(const TileLayout& layout, int head_dim, int feature_dim);

/// What the hand-over between stages adds to their intervals and depths, in cycles.
struct HandOver {
  static constexpr int kPort = 1;        ///< a beat taken on the port in t is parsed in t + 1 at the earliest
  static constexpr int kLead = 2;        ///< the values' lead bits come so much later than the values
  static constexpr int kReciprocal = 9;  ///< normalise starts so much later than it could with its sums alone
  /// A head's rows are written back `interval` + so much after the start of its state update; row_prepare
  /// takes the head's next token in the cycle after.
  static constexpr int kUpdateDone = 11;
  static constexpr int kPacketEnd = 2;     ///< the end of a packet's payload is known to `pack`
  static constexpr int kRowsSlots = 2;     ///< head-tokens between row_prepare and state_update
  static constexpr int kRowsInFlight = 8;  ///< from row_prepare's start until written back, at most
  static constexpr int kPackets = 64;      ///< from a packet's header to the end of its answer, at most
};

/// Beats of a TOKEN packet and of its answer: every part starts on a fresh beat.
struct PacketBeats {
  int head = 1;  ///< of one vector of D numbers
  int half = 1;  ///< of F gate logits, of which there are two
  std::int64_t shared() const { return 2 * std::int64_t{head} + 2 * half; }  ///< k, v, logits
  std::int64_t input(int heads) const { return 1 + shared() + std::int64_t{heads} * head; }
  std::int64_t output(int heads) const { return 1 + std::int64_t{heads} * head; }
};
PacketBeats packet_beats(const TileLayout& layout, int head_dim, int feature_dim);

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

/// Contiguous heads of one group that share a packet.
struct PacketHeads {
  int first_head = 0;
  int heads = 0;
  bool operator==(const PacketHeads&) const = default;
};

/// Cuts a share into the packets of one token, in order: a packet for each group, more where it has more than
/// `most` heads. `group` is the heads of a key/value head.
std::vector<PacketHeads> packets_of(const EngineShare& share, int group, int most);

/// Bits that an engine keeps of one head's state, [K, D+1] with exponents and lead bits of block rows and,
/// under error feedback, residues.
std::int64_t state_bits_per_head(const Datapath& datapath, int head_dim, int feature_dim);
/// Bits of one head's tails: three past inputs of its convolution of q and three of that of k. The heads of a
/// group have the same inputs of k; RTL keeps them with each head, whose context comes and goes on its own.
std::int64_t tail_bits(const Datapath& datapath, int head_dim);
/// State and tails of so many heads of one layer.
std::int64_t context_bits(const Datapath& datapath, int heads, int head_dim, int feature_dim);

/// Throws InputError when head_dim or feature_dim exceed what the engine is laid out for, when one layer's
/// states and tails do not fit the engines' state buffers, or when the stream buffer cannot hold two tokens
/// each way. Returns the shares.
std::vector<EngineShare> place_layer(const Preset& preset, int heads, int kv_heads, int head_dim,
                                     int feature_dim);

/// Bytes of one token's packets: `packets` headers, k, v and gk of `kv_heads` groups, q of `heads` heads (of
/// engines that take their input together the shared parts count once, the headers for each). `burst_bytes` >
/// 1 rounds up to whole bursts, as DRAM moves them.
std::int64_t input_token_bytes(const TileLayout& layout, int heads, int kv_heads, int packets, int head_dim,
                               int feature_dim, int burst_bytes = 1);
/// Bytes of the answers to them.
std::int64_t output_token_bytes(const TileLayout& layout, int heads, int packets, int head_dim,
                                int burst_bytes = 1);

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

// SPDX-License-Identifier: Apache-2.0
// What RTL takes from a preset: the constants of the package lawcat_arch_pkg and the contents of the function
// tables. C++ that packs beats for the RTL reads the same numbers from here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hostlib/arch/preset.h"
#include "hostlib/arch/tile_layout.h"

namespace lawcat {

/// The constants of lawcat_arch_pkg, derived from a preset: the tile's layout, formats, depths of memories.
/// Names, in capitals with underscores, are the package's.
struct RtlParameters : TileLayout {
  /// Throws InputError, in one sentence, when the RTL has no such unit: what TileLayout refuses, a state or
  /// normaliser that is not block floating point, error feedback, heads too large, more than 128 tokens
  /// between stages, a stream that is not the engine's share of the interconnect, buffers without a slot.
  explicit RtlParameters(const Preset& preset);

  int context_slots, weight_slots;  ///< of heads up to D = 64, F = 32; of larger ones: bench/stream.h
  int state_depth;                  ///< words of one lane's state memory
  int qk_width, qk_fraction, value_width, value_fraction, logit_width, logit_fraction;
  int tap_width, tap_fraction, conv_width, conv_fraction;
  int weight_width, weight_fraction, feature_width, feature_fraction;
  int phi_p, phi_exponent_width, phi_min_exponent, phi_floor_mantissa, phi_floor_exponent;
  int gate_p, gate_exponent_width, gate_min_exponent;
  int state_width, state_exponent_width, norm_width, norm_exponent_width;
  int guard;
  int rounding;  ///< 0 truncate, 1 nearest even, 2 stochastic
  int readout_width;
  int exp2_table_bits, gate_table_bits, reciprocal_table_bits, table_fraction, gate_split, gate_linear;
  int output_floating, output_width, output_exponent_width, output_mantissa_width, output_fraction;
  int side_width;             ///< bits that travel with a head-token
  std::uint32_t preset_hash;  ///< leading 32 bits of the preset's hash

  /// Name and value of every constant but PRESET_HASH, in the package's order.
  std::vector<std::pair<std::string_view, int>> constants() const;

  /// Words of the slots' memories; `words` of the shape may take several slots (see bench/stream.h).
  int norm_depth() const { return context_slots * 64 / rows; }
  int row_depth() const { return context_slots * 64 / exp_lanes; }
  int tail_depth() const { return context_slots * 128 / channels; }
  int tap_depth() const { return weight_slots * 128 / channels; }
  int feature_depth() const { return weight_slots * 2048 / (feature_channels * feature_segment); }
};

/// Text of lawcat_arch_pkg.sv. Throws InputError as RtlParameters does.
std::string rtl_package(const Preset& preset);

/// The function tables in the order of their regions in the stream protocol.
enum class RtlTable { exp2, gate, reciprocal };
inline constexpr int kRtlTableCount = 3;
std::string_view to_string(RtlTable table);

/// Words of a table as RTL stores them: {next entry - entry (signed 32 bits), entry (32 bits)}.
std::vector<std::uint64_t> rtl_table(const Preset& preset, RtlTable table);

/// The same words as $readmemh reads them.
std::string rtl_table_hex(const Preset& preset, RtlTable table);

}  // namespace lawcat

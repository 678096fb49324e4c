// SPDX-License-Identifier: Apache-2.0
// The numbers of one accelerator: formats of every datapath point, lanes, engines, buffers, clock, memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "hostlib/numerics/format.h"

namespace lawcat {

/// Number formats along the datapath, in the order the data meets them (steps 3-8 of the layer).
struct Datapath {
  Format query_key;       ///< q and k as they enter (fixed)
  Format value;           ///< v as it enters (fixed)
  Format gate_logit;      ///< gk as it enters (fixed)
  Format conv_weight;     ///< taps (fixed)
  Format conv;            ///< q~ and k~ (fixed)
  Format feature_weight;  ///< W_h (fixed)
  Format feature;         ///< z (fixed)
  Format probability;     ///< phi (unsigned float)
  Format gate;            ///< a below one half, 1 - a above (unsigned float)
  Format state;           ///< S[:, 0:D] (block with one exponent per row, fixed, or signed float)
  Format normaliser;      ///< S[:, D] (block of one element, fixed, or signed float)
  Format output;          ///< o (fixed or signed float)
  Rounding state_rounding = Rounding::nearest_even;
  int guard_bits = 8;             ///< bits below the state's last bit that the three-term add keeps
  int readout_weight_bits = 15;   ///< width of phi(q) once aligned to the rows' exponents
  int exp2_table_bits = 6;        ///< log2 of the entries of the exp2 table on [0, 1), linear between them
  int gate_table_bits = 3;        ///< log2 of the gate table's entries per unit of the gate logit
  int reciprocal_table_bits = 7;  ///< log2 of the entries of the reciprocal table on [1, 2)

  /// Binary places of exp2's arguments and of the gate table: those of z and 3 more.
  int exponent_fraction() const { return feature.fraction + 3; }
};

/// One preset. Times in seconds or cycles, sizes in bytes or words as the names say.
struct Preset {
  std::string name;
  std::string description;
  double clock_hz = 0;

  struct Technology {
    std::string energy_table;  ///< file name in hostlib/arch/energy/
    double node_nm = 0;
    double voltage_v = 0;
  } technology;

  /// Work per cycle of each stage of one engine, and how engines are replicated.
  struct Engine {
    int count = 1;
    int state_lanes = 64;       ///< state elements updated and read out per cycle
    int conv_lanes = 8;         ///< tap products per cycle
    int feature_lanes = 64;     ///< feature-map products per cycle
    int exp_lanes = 2;          ///< exponentials per cycle
    int gate_lanes = 1;         ///< gates per cycle
    int normalise_lanes = 1;    ///< outputs per cycle
    int max_head_dim = 128;     ///< D that the buffers of a head are laid out for
    int max_feature_dim = 64;   ///< F likewise
    int stage_fifo_tokens = 4;  ///< tokens that fit between two stages
  } engine;

  Datapath datapath;

  struct Buffers {
    double state_kib = 0;   ///< per engine: state and convolution tails
    double stream_kib = 0;  ///< per engine: input and output tokens in flight
    double weight_kib = 0;  ///< per engine: taps and feature maps on chip
  } buffers;

  struct Memory {
    std::string dram;                  ///< part, for the report
    double bandwidth_bytes_per_s = 0;  ///< peak
    double efficiency = 1;             ///< share of the peak that long bursts reach
    double latency_s = 0;              ///< first byte of a read, row miss included
    int burst_bytes = 64;
    int bus_bytes_per_cycle = 32;  ///< interconnect between DRAM controller and engines
  } memory;

  /// The processor beside the accelerator, for the modelled host time of runs without measured weights.
  struct Host {
    std::string part;
    double matmul_flop_per_s = 0;
    double bandwidth_bytes_per_s = 0;
    double bytes_per_weight = 0;  ///< as its memory holds them: 2 for bf16
    double power_w = 0;
  } host;

  std::string hash;  ///< SHA-256 of the canonical JSON, hex
};

/// Reads `NAME` (one of preset_names()) or a path to a JSON file; each of `overrides` is "key.path=value".
/// Throws InputError: unknown, missing or mistyped keys, formats that cannot be, impossible combinations,
/// lanes that do not fit each other (tile_layout.h).
Preset load_preset(const std::string& name_or_path, const std::vector<std::string>& overrides = {});

/// Names of the presets shipped with the program.
std::vector<std::string> preset_names();

/// Canonical JSON text of a preset (what `hash` is over).
std::string to_json(const Preset& preset);

}  // namespace lawcat

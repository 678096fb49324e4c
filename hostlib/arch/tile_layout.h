// SPDX-License-Identifier: Apache-2.0
// How an engine is laid out: lanes of its stages and beats of its streams, derived from a preset. The timing,
// the packets and the RTL's constants take these numbers from here.
#pragma once

#include "hostlib/arch/preset.h"

namespace lawcat {

struct TileLayout {
  /// Throws InputError, in one sentence, when the stages do not fit each other: lanes that are not powers of
  /// two, that do not divide each other, or that do not fit into a beat of the stream.
  explicit TileLayout(const Preset& preset);

  int lanes, segment, rows;               ///< state lanes; columns and rows of one cycle
  int channels;                           ///< convolution channels per cycle
  int feature_segment, feature_channels;  ///< outputs and inputs of the feature map per cycle and side
  int exp_lanes, gate_lanes, normalise_lanes;
  int max_head_dim, max_feature_dim;
  int fifo_tokens;
  int engines;
  int stream_width;   ///< bits of a beat: the engine's share of the interconnect, as far as a tile can use it
  int element_width;  ///< bits of one number's container in a beat, 16 or 32

  int elements() const { return stream_width / element_width; }  ///< numbers in a beat
};

}  // namespace lawcat

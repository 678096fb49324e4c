// SPDX-License-Identifier: Apache-2.0
// The register map of rtl/core/lawcat_control.sv as software sees it; the table there is the description.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace lawcat {

namespace tile_register {
inline constexpr std::uint32_t kId = 0x000, kPresetHash = 0x008, kControl = 0x020, kStatus = 0x024,
                               kShape = 0x028, kError = 0x02c, kErrorTag = 0x030, kInterrupt = 0x034,
                               kCounters = 0x200;
inline constexpr std::uint32_t kIdValue = 0x4c415743;
// CONTROL
inline constexpr std::uint32_t kEnable = 1U << 0, kClearAll = 1U << 1, kClearSlot = 1U << 2,
                               kSoftReset = 1U << 3, kClearCounters = 1U << 4;
inline constexpr int kClearSlotShift = 16;
// STATUS
inline constexpr std::uint32_t kBusy = 1U << 0;
}  // namespace tile_register

/// Stages that count busy, stall and starve cycles, in the counters' order.
inline constexpr std::array<std::string_view, 9> kTileStages{"unpack",       "convolution", "feature_map",
                                                             "dual_softmax", "gate",        "row_prepare",
                                                             "state_update", "normalise",   "pack"};

/// Indices of counters.
inline constexpr int kCounterCycles = 0, kCounterBusy = 1, kCounterStall = 10, kCounterStarve = 19,
                     kCounterHeadTokens = 28, kCounterTokens = 29, kCounterBeatsIn = 30,
                     kCounterBeatsOut = 31, kCounterClipped = 32;

/// Datapath points whose clipped values the tile counts, from counter kCounterClipped on.
inline constexpr std::array<std::string_view, 7> kClippedPoints{
    "conv_query", "conv_key", "feature_query", "feature_key", "normaliser", "state", "output"};

}  // namespace lawcat

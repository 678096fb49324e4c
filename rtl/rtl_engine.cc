// SPDX-License-Identifier: Apache-2.0
// See rtl_engine.h.
#include "rtl/rtl_engine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>
#include <utility>

#include "hostlib/io/error.h"
#include "rtl/rtl_backend.h"

namespace lawcat {
namespace {

namespace reg = tile_register;

const RtlLibrary& find_library(const Preset& preset) {
  for (const RtlLibrary& library : rtl_libraries())
    if (preset.hash == library.hash) return library;
  throw InputError(
      fmt::format("backend rtl, preset {}", preset.name),
      fmt::format("a preset that this build Verilated, unchanged ({})", fmt::join(rtl_presets(), ", ")),
      fmt::format("hash {}", preset.hash.substr(0, 8)));
}

}  // namespace

RtlEngine::RtlEngine(const Preset& preset)
    : preset_(preset),
      tile_(find_library(preset).make()),
      driver_(*tile_, RtlParameters(preset).stream_width) {
  driver_.reset();
  const RtlParameters parameters(preset_);
  const std::uint32_t id = driver_.read(reg::kId), hash = driver_.read(reg::kPresetHash);
  if (id != reg::kIdValue || hash != parameters.preset_hash)
    throw std::runtime_error(
        fmt::format("rtl: the tile says id 0x{:08x}, preset hash 0x{:08x}, expected 0x{:08x}, 0x{:08x}", id,
                    hash, reg::kIdValue, parameters.preset_hash));
  driver_.write(reg::kControl, reg::kEnable);
  const StreamFormat format(preset_, parameters.max_head_dim, parameters.max_feature_dim);
  for (Packet& packet : format.load_tables()) driver_.send(std::move(packet));
  settle();
}

void RtlEngine::settle() {
  driver_.wait_idle();
  if (const std::uint32_t error = driver_.read(reg::kError); (error & 1) != 0)
    throw std::runtime_error(fmt::format("rtl: error code {} for the packet with tag {}", error >> 8 & 0xff,
                                         driver_.read(reg::kErrorTag)));
}

void RtlEngine::set_shape(int head_dim, int feature_dim) {
  settle();
  driver_.write(reg::kShape, static_cast<std::uint32_t>(head_dim) | static_cast<std::uint32_t>(feature_dim)
                                                                        << 8);
}

void RtlEngine::clear_slot(int slot) {
  driver_.write(reg::kControl,
                reg::kEnable | reg::kClearSlot | static_cast<std::uint32_t>(slot) << reg::kClearSlotShift);
}

void RtlEngine::start_counting() {
  // Counters of cycles stand still while the tile is not enabled.
  driver_.write(reg::kControl, reg::kClearCounters);
  driver_.write(reg::kControl, reg::kEnable);
}

RtlCounts RtlEngine::stop_counting() {
  settle();
  driver_.write(reg::kControl, 0);
  RtlCounts counts{};
  for (std::size_t i = 0; i < counts.size(); ++i)
    counts[i] = static_cast<std::int64_t>(driver_.counter(static_cast<int>(i)));
  driver_.write(reg::kControl, reg::kEnable);
  return counts;
}

}  // namespace lawcat

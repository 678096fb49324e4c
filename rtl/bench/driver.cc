// SPDX-License-Identifier: Apache-2.0
// See driver.h.
#include "rtl/bench/driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "rtl/bench/registers.h"

namespace lawcat {

StallPattern random_stalls(std::uint64_t seed, int percent) {
  if (percent <= 0) return {};
  // SplitMix64 (Steele, Lea, Flood 2014) of the cycle: a pattern that does not depend on who asks when.
  return [seed, percent](std::int64_t cycle) {
    std::uint64_t x = seed + 0x9e3779b97f4a7c15ULL * static_cast<std::uint64_t>(cycle + 1);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return static_cast<int>((x ^ (x >> 31)) % 100) < percent;
  };
}

void TileDriver::abandon() {
  queue_.clear();
  received_.clear();
  partial_.clear();
  next_word_ = 0;
  offered_ = false;
}

void TileDriver::reset() {
  abandon();
  inputs_ = {};
  inputs_.reset = true;
  for (int i = 0; i < 8; ++i, ++cycles_) tile_.cycle(inputs_);
  inputs_.reset = false;
  last_move_ = cycles_;
}

void TileDriver::step() {
  inputs_.s_tvalid = !queue_.empty() && (offered_ || !input_stall_ || !input_stall_(cycles_));
  if (inputs_.s_tvalid) {
    const Queued& front = queue_.front();
    inputs_.s_tdata = front.packet.data() + next_word_;
    inputs_.s_tlast = front.last && next_word_ + beat_words_ >= front.packet.size();
  }
  inputs_.m_tready = !output_stall_ || !output_stall_(cycles_);
  outputs_ = tile_.cycle(inputs_);
  ++cycles_;
  if (tile_.failed()) throw std::runtime_error(fmt::format("rtl: an assertion failed in cycle {}", cycles_));

  offered_ = inputs_.s_tvalid && !outputs_.s_tready;
  if (inputs_.s_tvalid && outputs_.s_tready) {
    next_word_ += beat_words_;
    ++beats_in_;
    last_move_ = cycles_;
    if (next_word_ >= queue_.front().packet.size()) {
      queue_.pop_front();
      next_word_ = 0;
    }
  }
  if (outputs_.m_tvalid && inputs_.m_tready) {
    partial_.insert(partial_.end(), outputs_.m_tdata, outputs_.m_tdata + beat_words_);
    ++beats_out_;
    last_move_ = cycles_;
    if (outputs_.m_tlast) received_.push_back({std::exchange(partial_, {}), outputs_.m_tuser});
  }
}

void TileDriver::watch(const char* awaited) {
  if (cycles_ - last_move_ > kPatience) give_up(awaited);
}

void TileDriver::give_up(const char* awaited) const {
  throw std::runtime_error(fmt::format(
      "rtl: nothing moved for {} cycles while waiting for {}: cycle {}, {} beats in, {} beats out, {} "
      "packets queued, input {}, output {}",
      cycles_ - last_move_, awaited, cycles_, beats_in_, beats_out_, queue_.size(),
      inputs_.s_tvalid ? (outputs_.s_tready ? "moves" : "is not taken") : "is not offered",
      outputs_.m_tvalid ? "is offered" : "is empty"));
}

std::optional<Packet> TileDriver::take() {
  if (received_.empty()) return std::nullopt;
  Packet packet = std::move(received_.front().packet);
  taken_user_ = received_.front().user;
  received_.pop_front();
  return packet;
}

Packet TileDriver::receive() {
  last_move_ = cycles_;
  while (received_.empty()) {
    step();
    watch("an answer");
  }
  return *take();
}

void TileDriver::flush() {
  last_move_ = cycles_;
  while (!queue_.empty()) {
    step();
    watch("room for input");
  }
}

void TileDriver::wait_idle() {
  flush();
  const std::int64_t start = cycles_;
  while ((read(tile_register::kStatus) & tile_register::kBusy) != 0)
    if (cycles_ - std::max(start, last_move_) > kPatience) give_up("the end of work");
}

TileDriver::Access TileDriver::try_write(std::uint32_t address, std::uint32_t value, std::uint32_t strobes) {
  inputs_.awaddr = address;
  inputs_.wdata = value;
  inputs_.wstrb = strobes;
  inputs_.awvalid = inputs_.wvalid = inputs_.bready = true;
  for (int i = 0; i < 1000; ++i) {
    step();
    if (outputs_.awready) inputs_.awvalid = false;
    if (outputs_.wready) inputs_.wvalid = false;
    if (outputs_.bvalid) {
      inputs_.bready = false;
      return {outputs_.bresp, 0};
    }
  }
  throw std::runtime_error(fmt::format("rtl: no response to a write of register 0x{:03x}", address));
}

TileDriver::Access TileDriver::try_read(std::uint32_t address) {
  inputs_.araddr = address;
  inputs_.arvalid = inputs_.rready = true;
  for (int i = 0; i < 1000; ++i) {
    step();
    if (outputs_.arready) inputs_.arvalid = false;
    if (outputs_.rvalid) {
      inputs_.rready = false;
      return {outputs_.rresp, outputs_.rdata};
    }
  }
  throw std::runtime_error(fmt::format("rtl: no response to a read of register 0x{:03x}", address));
}

std::uint32_t TileDriver::read(std::uint32_t address) {
  const Access access = try_read(address);
  if (access.response != 0)
    throw std::runtime_error(fmt::format("rtl: a read of register 0x{:03x} is refused", address));
  return access.data;
}

void TileDriver::write(std::uint32_t address, std::uint32_t value) {
  if (try_write(address, value).response != 0)
    throw std::runtime_error(
        fmt::format("rtl: writing 0x{:x} to register 0x{:03x} is refused", value, address));
}

std::uint64_t TileDriver::counter(int index) {
  const auto address = tile_register::kCounters + 8 * static_cast<std::uint32_t>(index);
  const std::uint64_t low = read(address);
  return std::uint64_t{read(address + 4)} << 32 | low;
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// What moves between DRAM and the chip: cycles as SystemC time, one DMA descriptor, its timing on the way.
#pragma once

#include <cstdint>

#include <systemc>
#include <tlm>

#include "sim/memory/cycle.h"

namespace lawcat {

/// One tick of sc_time is one cycle, so that time is exact whatever the clock; the physical time that SystemC
/// would print is meaningless.
inline Cycle now_cycle() {
  return static_cast<Cycle>(sc_core::sc_time_stamp().value());
}
inline sc_core::sc_time to_sc_time(Cycle cycles) {
  return sc_core::sc_time::from_value(static_cast<sc_dt::uint64>(cycles));
}

/// Who asked for a transfer. `granted` is called in the cycle of the request, when the memory's queue has
/// fixed the first and last cycle of the data, both of which lie ahead.
class TransferClient {
 public:
  virtual ~TransferClient() = default;
  virtual void granted(int tag, Cycle start, Cycle end) = 0;
};

/// One DMA descriptor. Requests of the same cycle are served by ascending (channel, tag).
struct Transfer {
  bool write = false;
  std::int64_t dram_bytes = 0;  ///< whole bursts
  std::int64_t bus_bytes = 0;   ///< useful bytes
  int channel = 0;
  int tag = 0;
  TransferClient* client = nullptr;
};

/// Rides on the TLM payload: bytes that DRAM moves, and the data's first and last cycle [start, end).
struct TransferTiming : tlm::tlm_extension<TransferTiming> {
  std::int64_t dram_bytes = 0;
  Cycle start = 0;
  Cycle end = 0;

  tlm::tlm_extension_base* clone() const override { return new TransferTiming(*this); }
  void copy_from(const tlm::tlm_extension_base& other) override {
    *this = static_cast<const TransferTiming&>(other);
  }
};

}  // namespace lawcat

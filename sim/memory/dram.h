// SPDX-License-Identifier: Apache-2.0
// DRAM: one data bus, served in order of request; a read's first byte comes after the latency.
#pragma once

#include <algorithm>
#include <cmath>

#include <tlm_utils/simple_target_socket.h>
#include <systemc>

#include "sim/memory/timeline.h"
#include "sim/memory/transfer.h"

namespace lawcat {

/// Latencies of queued reads overlap; the data bus carries one transfer at a time, at peak bandwidth times
/// efficiency, each rounded up to whole cycles. Rows, banks and refresh are inside `efficiency` and
/// `latency`.
class Dram : public sc_core::sc_module {
 public:
  tlm_utils::simple_target_socket<Dram> port;

  Dram(sc_core::sc_module_name name, double bytes_per_cycle, Cycle latency, Timeline& timeline)
      : sc_module(name),
        port("port"),
        bytes_per_cycle_(bytes_per_cycle),
        latency_(latency),
        timeline_(timeline) {
    port.register_b_transport(this, &Dram::b_transport);
  }

  std::int64_t read_bytes = 0;
  std::int64_t write_bytes = 0;
  Cycle busy_cycles = 0;

 private:
  void b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
    auto* timing = payload.get_extension<TransferTiming>();
    const Cycle at = now_cycle() + static_cast<Cycle>(delay.value());
    const bool write = payload.is_write();
    const auto cycles = std::max<Cycle>(
        1, static_cast<Cycle>(std::ceil(static_cast<double>(timing->dram_bytes) / bytes_per_cycle_ - 1e-9)));
    timing->start = std::max(write ? at : at + latency_, free_);
    timing->end = free_ = timing->start + cycles;
    busy_cycles += cycles;
    (write ? write_bytes : read_bytes) += timing->dram_bytes;
    if (timeline_.enabled()) timeline_.record("dram", timing->start, timing->end);
    payload.set_response_status(tlm::TLM_OK_RESPONSE);
  }

  const double bytes_per_cycle_;
  const Cycle latency_;
  Timeline& timeline_;
  Cycle free_ = 0;
};

}  // namespace lawcat

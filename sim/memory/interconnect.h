// SPDX-License-Identifier: Apache-2.0
// Interconnect between DRAM controller and engines: a channel each way, cut-through, multicast for free.
#pragma once

#include <algorithm>

#include <tlm_utils/simple_initiator_socket.h>
#include <tlm_utils/simple_target_socket.h>
#include <systemc>

#include "sim/memory/timeline.h"
#include "sim/memory/transfer.h"

namespace lawcat {

class Interconnect : public sc_core::sc_module {
 public:
  tlm_utils::simple_target_socket<Interconnect> port;
  tlm_utils::simple_initiator_socket<Interconnect> memory;

  Interconnect(sc_core::sc_module_name name, int bytes_per_cycle, Timeline& timeline)
      : sc_module(name),
        port("port"),
        memory("memory"),
        bytes_per_cycle_(bytes_per_cycle),
        timeline_(timeline) {
    port.register_b_transport(this, &Interconnect::b_transport);
  }

  /// One way through.
  struct Channel {
    std::int64_t bytes = 0;
    Cycle busy_cycles = 0;
    Cycle free = 0;
  };
  Channel read, write;

 private:
  void b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
    memory->b_transport(payload, delay);
    auto* timing = payload.get_extension<TransferTiming>();
    Channel& channel = payload.is_write() ? write : read;
    const Cycle cycles = (payload.get_data_length() + bytes_per_cycle_ - 1) / bytes_per_cycle_;
    timing->start = std::max(timing->start, channel.free);
    timing->end = std::max(timing->end, timing->start + cycles);
    channel.free = timing->start + cycles;
    channel.bytes += payload.get_data_length();
    channel.busy_cycles += cycles;
    if (timeline_.enabled())
      timeline_.record(payload.is_write() ? "interconnect_write" : "interconnect_read", timing->start,
                       timing->start + cycles);
  }

  const Cycle bytes_per_cycle_;
  Timeline& timeline_;
};

}  // namespace lawcat

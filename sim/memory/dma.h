// SPDX-License-Identifier: Apache-2.0
// DMA: puts descriptors on the interconnect in the cycle they ask for.
#pragma once

#include <functional>
#include <queue>
#include <tuple>
#include <vector>

#include <tlm_utils/simple_initiator_socket.h>
#include <systemc>

#include "sim/memory/transfer.h"

namespace lawcat {

class Dma : public sc_core::sc_module {
 public:
  tlm_utils::simple_initiator_socket<Dma> port;

  explicit Dma(sc_core::sc_module_name name) : sc_module(name), port("port") {
    SC_HAS_PROCESS(Dma);
    SC_METHOD(serve);
    sensitive << due_;
    dont_initialize();
  }

  /// Asks for a transfer in cycle `at`, now or later.
  void request(Cycle at, const Transfer& transfer) {
    queue_.push({at, transfer});
    due_.notify(to_sc_time(queue_.top().at - now_cycle()));
  }

  std::int64_t transfers = 0;

 private:
  struct Pending {
    Cycle at;
    Transfer transfer;
    bool operator>(const Pending& other) const {
      return std::tie(at, transfer.channel, transfer.tag) >
             std::tie(other.at, other.transfer.channel, other.transfer.tag);
    }
  };

  void serve() {
    while (!queue_.empty() && queue_.top().at <= now_cycle()) {
      const Transfer transfer = queue_.top().transfer;
      queue_.pop();
      ++transfers;
      TransferTiming timing;
      timing.dram_bytes = transfer.dram_bytes;
      tlm::tlm_generic_payload payload;
      payload.set_command(transfer.write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND);
      payload.set_data_length(static_cast<unsigned>(transfer.bus_bytes));
      payload.set_extension(&timing);
      sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
      port->b_transport(payload, delay);
      payload.clear_extension(&timing);
      transfer.client->granted(transfer.tag, timing.start, timing.end);
    }
    if (!queue_.empty()) due_.notify(to_sc_time(queue_.top().at - now_cycle()));
  }

  std::priority_queue<Pending, std::vector<Pending>, std::greater<>> queue_;
  sc_core::sc_event due_;
};

}  // namespace lawcat

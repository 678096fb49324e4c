// SPDX-License-Identifier: Apache-2.0
// One Verilated tile behind plain types, whatever preset it was built for: ports in, one clock cycle, ports
// out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace lawcat {

/// What drives the tile's inputs during one cycle. Addresses are bytes.
struct TileInputs {
  bool reset = false;
  std::uint32_t awaddr = 0, wdata = 0, wstrb = 0xf, araddr = 0;
  bool awvalid = false, wvalid = false, bready = false, arvalid = false, rready = false;
  const std::uint32_t* s_tdata = nullptr;  ///< a beat's 32-bit words, lowest first; read when s_tvalid
  bool s_tvalid = false, s_tlast = false;
  bool m_tready = false;
};

/// What the tile shows during that cycle. A transfer takes place where valid and ready of one side meet.
struct TileOutputs {
  bool awready = false, wready = false, bvalid = false, arready = false, rvalid = false;
  std::uint32_t bresp = 0, rresp = 0, rdata = 0;
  bool s_tready = false;
  const std::uint32_t* m_tdata = nullptr;  ///< valid until the next cycle, where m_tvalid
  bool m_tvalid = false, m_tlast = false, m_tuser = false;
  bool irq = false;
};

class RtlTile {
 public:
  virtual ~RtlTile() = default;
  /// Settles the tile with these inputs, returns its outputs, then gives it a clock edge.
  virtual const TileOutputs& cycle(const TileInputs& inputs) = 0;
  /// An assertion of the RTL did not hold (its text went to stdout).
  virtual bool failed() const = 0;
};

/// The tile as it was Verilated for one preset.
struct RtlLibrary {
  const char* preset;
  const char* hash;  ///< of the preset it was built from
  std::unique_ptr<RtlTile> (*make)();
};
std::span<const RtlLibrary> rtl_libraries();
/// These and the ones that are Verilated for tests alone. Only tests link it.
std::span<const RtlLibrary> rtl_test_libraries();

}  // namespace lawcat

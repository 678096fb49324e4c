// SPDX-License-Identifier: Apache-2.0
// RtlTile over a class that Verilator made; the only code that sees Verilator's types.
#pragma once

#include <verilated.h>
#if VM_COVERAGE
#include <verilated_cov.h>
#endif

#include <array>
#include <cstddef>
#include <cstdlib>
#include <mutex>

#include "rtl/bench/tile.h"

namespace lawcat {

/// Of the context that any thread used last, which Verilator keeps, too.
inline std::mutex context_mutex;

/// `Model` is the Verilated lawcat_checked_top with ENGINES = 1 and a stream of more than 64 bits.
template <class Model>
class VerilatedTile final : public RtlTile {
 public:
  VerilatedTile() : model_(one_thread(context_), "lawcat_top") {
    context_.fatalOnError(false);
    model_.clk_i = 0;
  }
  ~VerilatedTile() override {
    use();
    model_.final();
#if VM_COVERAGE
    if (const char* file = std::getenv("LAWCAT_RTL_COVERAGE")) context_.coveragep()->write(file);
#endif
  }

  const TileOutputs& cycle(const TileInputs& in) override {
    use();
    model_.clk_i = 0;
    model_.rst_ni = !in.reset;
    model_.s_axil_awaddr_i = static_cast<SData>(in.awaddr);
    model_.s_axil_awvalid_i = in.awvalid;
    model_.s_axil_wdata_i = in.wdata;
    model_.s_axil_wstrb_i = static_cast<CData>(in.wstrb);
    model_.s_axil_wvalid_i = in.wvalid;
    model_.s_axil_bready_i = in.bready;
    model_.s_axil_araddr_i = static_cast<SData>(in.araddr);
    model_.s_axil_arvalid_i = in.arvalid;
    model_.s_axil_rready_i = in.rready;
    model_.s_axis_tvalid_i = in.s_tvalid;
    model_.s_axis_tlast_i = in.s_tlast;
    if (in.s_tvalid)
      for (std::size_t i = 0; i < beat_.size(); ++i) model_.s_axis_tdata_i[i] = in.s_tdata[i];
    model_.m_axis_tready_i = in.m_tready;
    model_.eval();

    out_.awready = model_.s_axil_awready_o;
    out_.wready = model_.s_axil_wready_o;
    out_.bvalid = model_.s_axil_bvalid_o;
    out_.bresp = model_.s_axil_bresp_o;
    out_.arready = model_.s_axil_arready_o;
    out_.rvalid = model_.s_axil_rvalid_o;
    out_.rresp = model_.s_axil_rresp_o;
    out_.rdata = model_.s_axil_rdata_o;
    out_.s_tready = model_.s_axis_tready_o;
    out_.m_tvalid = model_.m_axis_tvalid_o;
    out_.m_tlast = model_.m_axis_tlast_o;
    out_.m_tuser = model_.m_axis_tuser_o;
    out_.irq = model_.irq_o;
    if (out_.m_tvalid)
      for (std::size_t i = 0; i < beat_.size(); ++i) beat_[i] = model_.m_axis_tdata_o[i];
    out_.m_tdata = beat_.data();

    context_.timeInc(1);
    model_.clk_i = 1;
    model_.eval();
    context_.timeInc(1);
    return out_;
  }
  bool failed() const override {
    return context_.gotError();
  }

 private:
  /// Otherwise it has a pool of sleeping threads.
  static VerilatedContext* one_thread(VerilatedContext& context) {
    context.threads(1);
    return &context;
  }
  /// A failed assertion is noted in the thread's context, which is that of the tile it made last. Any tile
  /// may be used by any thread, one after another.
  void use() {
    const std::lock_guard lock(context_mutex);
    Verilated::threadContextp(&context_);
  }

  // Verilator's own context: tiles share nothing.
  VerilatedContext context_;
  Model model_;
  TileOutputs out_;
  std::array<std::uint32_t, sizeof(Model::m_axis_tdata_o) / sizeof(std::uint32_t)> beat_{};
};

}  // namespace lawcat

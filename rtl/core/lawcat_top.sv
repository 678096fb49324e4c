// SPDX-License-Identifier: Apache-2.0
// The accelerator: the preset's engines side by side, each with its own AXI4-Stream and AXI4-Lite ports, for the
// interconnect around them to join. Ports of engine e are slice e. Simulations that need one engine set ENGINES to 1.
module lawcat_top #(
  parameter int ENGINES = lawcat_arch_pkg::ENGINES,
  localparam int STREAM_WIDTH = lawcat_arch_pkg::STREAM_WIDTH
) (
  input  logic                            clk_i,
  input  logic                            rst_ni,
  input  logic [ENGINES*12-1:0]           s_axil_awaddr_i,
  input  logic [ENGINES-1:0]              s_axil_awvalid_i,
  output logic [ENGINES-1:0]              s_axil_awready_o,
  input  logic [ENGINES*32-1:0]           s_axil_wdata_i,
  input  logic [ENGINES*4-1:0]            s_axil_wstrb_i,
  input  logic [ENGINES-1:0]              s_axil_wvalid_i,
  output logic [ENGINES-1:0]              s_axil_wready_o,
  output logic [ENGINES*2-1:0]            s_axil_bresp_o,
  output logic [ENGINES-1:0]              s_axil_bvalid_o,
  input  logic [ENGINES-1:0]              s_axil_bready_i,
  input  logic [ENGINES*12-1:0]           s_axil_araddr_i,
  input  logic [ENGINES-1:0]              s_axil_arvalid_i,
  output logic [ENGINES-1:0]              s_axil_arready_o,
  output logic [ENGINES*32-1:0]           s_axil_rdata_o,
  output logic [ENGINES*2-1:0]            s_axil_rresp_o,
  output logic [ENGINES-1:0]              s_axil_rvalid_o,
  input  logic [ENGINES-1:0]              s_axil_rready_i,
  input  logic [ENGINES-1:0]              s_axis_tvalid_i,
  output logic [ENGINES-1:0]              s_axis_tready_o,
  input  logic [ENGINES*STREAM_WIDTH-1:0] s_axis_tdata_i,
  input  logic [ENGINES-1:0]              s_axis_tlast_i,
  output logic [ENGINES-1:0]              m_axis_tvalid_o,
  input  logic [ENGINES-1:0]              m_axis_tready_i,
  output logic [ENGINES*STREAM_WIDTH-1:0] m_axis_tdata_o,
  output logic [ENGINES-1:0]              m_axis_tlast_o,
  output logic [ENGINES-1:0]              m_axis_tuser_o,
  output logic [ENGINES-1:0]              irq_o
);
  for (genvar e = 0; e < ENGINES; e++) begin : g_engine
    lawcat_tile u_tile (
      .clk_i,
      .rst_ni,
      .s_axil_awaddr_i(s_axil_awaddr_i[12*e+:12]),
      .s_axil_awvalid_i(s_axil_awvalid_i[e]),
      .s_axil_awready_o(s_axil_awready_o[e]),
      .s_axil_wdata_i(s_axil_wdata_i[32*e+:32]),
      .s_axil_wstrb_i(s_axil_wstrb_i[4*e+:4]),
      .s_axil_wvalid_i(s_axil_wvalid_i[e]),
      .s_axil_wready_o(s_axil_wready_o[e]),
      .s_axil_bresp_o(s_axil_bresp_o[2*e+:2]),
      .s_axil_bvalid_o(s_axil_bvalid_o[e]),
      .s_axil_bready_i(s_axil_bready_i[e]),
      .s_axil_araddr_i(s_axil_araddr_i[12*e+:12]),
      .s_axil_arvalid_i(s_axil_arvalid_i[e]),
      .s_axil_arready_o(s_axil_arready_o[e]),
      .s_axil_rdata_o(s_axil_rdata_o[32*e+:32]),
      .s_axil_rresp_o(s_axil_rresp_o[2*e+:2]),
      .s_axil_rvalid_o(s_axil_rvalid_o[e]),
      .s_axil_rready_i(s_axil_rready_i[e]),
      .s_axis_tvalid_i(s_axis_tvalid_i[e]),
      .s_axis_tready_o(s_axis_tready_o[e]),
      .s_axis_tdata_i(s_axis_tdata_i[STREAM_WIDTH*e+:STREAM_WIDTH]),
      .s_axis_tlast_i(s_axis_tlast_i[e]),
      .m_axis_tvalid_o(m_axis_tvalid_o[e]),
      .m_axis_tready_i(m_axis_tready_i[e]),
      .m_axis_tdata_o(m_axis_tdata_o[STREAM_WIDTH*e+:STREAM_WIDTH]),
      .m_axis_tlast_o(m_axis_tlast_o[e]),
      .m_axis_tuser_o(m_axis_tuser_o[e]),
      .irq_o(irq_o[e])
    );
  end
endmodule

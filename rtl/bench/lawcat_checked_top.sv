// SPDX-License-Identifier: Apache-2.0
// lawcat_top with the protocol checkers on every port, for simulation: same ports, and each breach of a protocol is an
// error like a failed assertion. A soft reset ends the streams of its engine, so their checkers take the engine's reset.
module lawcat_checked_top #(
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
  lawcat_top #(
    .ENGINES(ENGINES)
  ) u_top (
    .clk_i, .rst_ni, .s_axil_awaddr_i, .s_axil_awvalid_i, .s_axil_awready_o, .s_axil_wdata_i,
    .s_axil_wstrb_i, .s_axil_wvalid_i, .s_axil_wready_o, .s_axil_bresp_o, .s_axil_bvalid_o,
    .s_axil_bready_i, .s_axil_araddr_i, .s_axil_arvalid_i, .s_axil_arready_o, .s_axil_rdata_o,
    .s_axil_rresp_o, .s_axil_rvalid_o, .s_axil_rready_i, .s_axis_tvalid_i, .s_axis_tready_o,
    .s_axis_tdata_i, .s_axis_tlast_i, .m_axis_tvalid_o, .m_axis_tready_i, .m_axis_tdata_o, .m_axis_tlast_o,
    .m_axis_tuser_o, .irq_o
  );

  for (genvar e = 0; e < ENGINES; e++) begin : g_engine
    // A cycle behind rst_ni, as what the engine drives.
    logic engine_rst_n;
    assign engine_rst_n = u_top.g_engine[e].u_tile.engine_rst_nq;

    lawcat_axis_checker #(
      .WIDTH(STREAM_WIDTH)
    ) u_in (
      .clk_i,
      .rst_ni(rst_ni & engine_rst_n),
      .valid_i(s_axis_tvalid_i[e]),
      .ready_i(s_axis_tready_o[e]),
      .data_i(s_axis_tdata_i[STREAM_WIDTH*e+:STREAM_WIDTH]),
      .last_i(s_axis_tlast_i[e])
    );

    lawcat_axis_checker #(
      .WIDTH(STREAM_WIDTH + 1)
    ) u_out (
      .clk_i,
      .rst_ni(engine_rst_n),
      .valid_i(m_axis_tvalid_o[e]),
      .ready_i(m_axis_tready_i[e]),
      .data_i({m_axis_tuser_o[e], m_axis_tdata_o[STREAM_WIDTH*e+:STREAM_WIDTH]}),
      .last_i(m_axis_tlast_o[e])
    );

    lawcat_axi_lite_checker u_registers (
      .clk_i,
      .rst_ni,
      .awvalid_i(s_axil_awvalid_i[e]),
      .awready_i(s_axil_awready_o[e]),
      .awaddr_i(s_axil_awaddr_i[12*e+:12]),
      .wvalid_i(s_axil_wvalid_i[e]),
      .wready_i(s_axil_wready_o[e]),
      .wdata_i(s_axil_wdata_i[32*e+:32]),
      .wstrb_i(s_axil_wstrb_i[4*e+:4]),
      .bvalid_i(s_axil_bvalid_o[e]),
      .bready_i(s_axil_bready_i[e]),
      .bresp_i(s_axil_bresp_o[2*e+:2]),
      .arvalid_i(s_axil_arvalid_i[e]),
      .arready_i(s_axil_arready_o[e]),
      .araddr_i(s_axil_araddr_i[12*e+:12]),
      .rvalid_i(s_axil_rvalid_o[e]),
      .rready_i(s_axil_rready_i[e]),
      .rdata_i(s_axil_rdata_o[32*e+:32]),
      .rresp_i(s_axil_rresp_o[2*e+:2])
    );
  end
endmodule

// SPDX-License-Identifier: Apache-2.0
// One engine with its registers: the unit as a bus sees it. Packets in and out by AXI4-Stream, control and status by
// AXI4-Lite; a soft reset from the registers empties the engine and leaves the registers.
module lawcat_tile #(
  localparam int STREAM_WIDTH = lawcat_arch_pkg::STREAM_WIDTH
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  input  logic [11:0]             s_axil_awaddr_i,
  input  logic                    s_axil_awvalid_i,
  output logic                    s_axil_awready_o,
  input  logic [31:0]             s_axil_wdata_i,
  input  logic [3:0]              s_axil_wstrb_i,
  input  logic                    s_axil_wvalid_i,
  output logic                    s_axil_wready_o,
  output logic [1:0]              s_axil_bresp_o,
  output logic                    s_axil_bvalid_o,
  input  logic                    s_axil_bready_i,
  input  logic [11:0]             s_axil_araddr_i,
  input  logic                    s_axil_arvalid_i,
  output logic                    s_axil_arready_o,
  output logic [31:0]             s_axil_rdata_o,
  output logic [1:0]              s_axil_rresp_o,
  output logic                    s_axil_rvalid_o,
  input  logic                    s_axil_rready_i,
  input  logic                    s_axis_tvalid_i,
  output logic                    s_axis_tready_o,
  input  logic [STREAM_WIDTH-1:0] s_axis_tdata_i,
  input  logic                    s_axis_tlast_i,
  output logic                    m_axis_tvalid_o,
  input  logic                    m_axis_tready_i,
  output logic [STREAM_WIDTH-1:0] m_axis_tdata_o,
  output logic                    m_axis_tlast_o,
  output logic                    m_axis_tuser_o,
  output logic                    irq_o
);
  localparam int CONV_COUNT_WIDTH = $clog2(lawcat_arch_pkg::CHANNELS + 1);
  localparam int FEATURE_COUNT_WIDTH = $clog2(lawcat_arch_pkg::EXP_LANES + 1);
  localparam int NORM_COUNT_WIDTH = $clog2(lawcat_arch_pkg::ROWS + 1);
  localparam int STATE_COUNT_WIDTH = $clog2(lawcat_arch_pkg::LANES + 1);
  localparam int OUTPUT_COUNT_WIDTH = $clog2(lawcat_arch_pkg::NORMALISE_LANES + 1);

  logic enable, clear_all, clear_slot, soft_reset, idle, error, head_done, token, engine_rst_nq;
  logic [7:0] clear_slot_index, head_dim;
  logic [6:0] feature_dim;
  logic [3:0] error_code;
  logic [31:0] error_tag;
  logic [8:0] busy, stall, starve;
  logic [CONV_COUNT_WIDTH-1:0] conv_query_clipped, conv_key_clipped;
  logic [FEATURE_COUNT_WIDTH-1:0] feature_query_clipped, feature_key_clipped;
  logic [NORM_COUNT_WIDTH-1:0] normaliser_clipped;
  logic [STATE_COUNT_WIDTH-1:0] state_clipped;
  logic [OUTPUT_COUNT_WIDTH-1:0] output_clipped;

  always_ff @(posedge clk_i) engine_rst_nq <= rst_ni & ~soft_reset;

  lawcat_control #(
    .PRESET_HASH(lawcat_arch_pkg::PRESET_HASH),
    .CONV_COUNT_WIDTH(CONV_COUNT_WIDTH),
    .FEATURE_COUNT_WIDTH(FEATURE_COUNT_WIDTH),
    .NORM_COUNT_WIDTH(NORM_COUNT_WIDTH),
    .STATE_COUNT_WIDTH(STATE_COUNT_WIDTH),
    .OUTPUT_COUNT_WIDTH(OUTPUT_COUNT_WIDTH)
  ) u_control (
    .clk_i,
    .rst_ni,
    .axi_awaddr_i(s_axil_awaddr_i), .axi_awvalid_i(s_axil_awvalid_i), .axi_awready_o(s_axil_awready_o),
    .axi_wdata_i(s_axil_wdata_i), .axi_wstrb_i(s_axil_wstrb_i), .axi_wvalid_i(s_axil_wvalid_i),
    .axi_wready_o(s_axil_wready_o), .axi_bresp_o(s_axil_bresp_o), .axi_bvalid_o(s_axil_bvalid_o),
    .axi_bready_i(s_axil_bready_i), .axi_araddr_i(s_axil_araddr_i), .axi_arvalid_i(s_axil_arvalid_i),
    .axi_arready_o(s_axil_arready_o), .axi_rdata_o(s_axil_rdata_o), .axi_rresp_o(s_axil_rresp_o),
    .axi_rvalid_o(s_axil_rvalid_o), .axi_rready_i(s_axil_rready_i), .irq_o,
    .enable_o(enable), .clear_all_o(clear_all), .clear_slot_o(clear_slot),
    .clear_slot_index_o(clear_slot_index), .soft_reset_o(soft_reset), .head_dim_o(head_dim),
    .feature_dim_o(feature_dim), .idle_i(idle), .error_i(error), .error_code_i({4'b0, error_code}),
    .error_tag_i(error_tag), .busy_i(busy), .stall_i(stall), .starve_i(starve), .head_token_i(head_done),
    .token_i(token), .in_beat_i(s_axis_tvalid_i & s_axis_tready_o),
    .out_beat_i(m_axis_tvalid_o & m_axis_tready_i), .conv_query_clipped_i(conv_query_clipped),
    .conv_key_clipped_i(conv_key_clipped), .feature_query_clipped_i(feature_query_clipped),
    .feature_key_clipped_i(feature_key_clipped), .normaliser_clipped_i(normaliser_clipped),
    .state_clipped_i(state_clipped), .output_clipped_i(output_clipped)
  );

  lawcat_engine u_engine (
    .clk_i, .rst_ni(engine_rst_nq), .enable_i(enable), .head_dim_i(head_dim), .feature_dim_i(feature_dim),
    .clear_all_i(clear_all), .clear_slot_i(clear_slot), .clear_slot_index_i(clear_slot_index),
    .s_axis_tvalid_i, .s_axis_tready_o, .s_axis_tdata_i, .s_axis_tlast_i,
    .m_axis_tvalid_o, .m_axis_tready_i, .m_axis_tdata_o, .m_axis_tlast_o, .m_axis_tuser_o,
    .idle_o(idle), .error_o(error), .error_code_o(error_code), .error_tag_o(error_tag),
    .busy_o(busy), .stall_o(stall), .starve_o(starve), .head_done_o(head_done), .token_o(token),
    .conv_query_clipped_o(conv_query_clipped), .conv_key_clipped_o(conv_key_clipped),
    .feature_query_clipped_o(feature_query_clipped), .feature_key_clipped_o(feature_key_clipped),
    .normaliser_clipped_o(normaliser_clipped), .state_clipped_o(state_clipped),
    .output_clipped_o(output_clipped)
  );
endmodule

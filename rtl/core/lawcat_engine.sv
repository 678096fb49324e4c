// SPDX-License-Identifier: Apache-2.0
// One engine: the stages from packets in to packets out, joined by the buffers that each stage has at its inputs.
//
//   stream -> unpack -> convolution -> feature_map -> dual_softmax -> row_prepare -> state_update -> normalise -> pack -> stream
//               |-----> gate ------------------------------------------^                ^
//               |-----> value -----------------------------------------------------------|
//
// Function: steps 3-8 of the LAWCAT layer, bit for bit as hostlib/backend/datapath.cc; lawcat_access reads and writes
// the memories for LOAD and STORE packets. Latency and throughput: hostlib/arch/timing.h, held to this by tests.
module lawcat_engine #(
  localparam int STREAM_WIDTH = lawcat_arch_pkg::STREAM_WIDTH,
  localparam int CHANNELS = lawcat_arch_pkg::CHANNELS,
  localparam int EXP_LANES = lawcat_arch_pkg::EXP_LANES,
  localparam int CONV_COUNT_WIDTH = $clog2(CHANNELS + 1),
  localparam int FEATURE_COUNT_WIDTH = $clog2(EXP_LANES + 1),
  localparam int NORM_COUNT_WIDTH = $clog2(lawcat_arch_pkg::ROWS + 1),
  localparam int STATE_COUNT_WIDTH = $clog2(lawcat_arch_pkg::LANES + 1),
  localparam int OUTPUT_COUNT_WIDTH = $clog2(lawcat_arch_pkg::NORMALISE_LANES + 1)
) (
  input  logic                           clk_i,
  input  logic                           rst_ni,
  input  logic                           enable_i,
  input  logic [7:0]                     head_dim_i,     // constant while not idle, as feature_dim_i
  input  logic [6:0]                     feature_dim_i,
  input  logic                           clear_all_i,    // every context slot is zero for packets parsed after it
  input  logic                           clear_slot_i,
  input  logic [7:0]                     clear_slot_index_i,
  input  logic                           s_axis_tvalid_i,
  output logic                           s_axis_tready_o,
  input  logic [STREAM_WIDTH-1:0]        s_axis_tdata_i,
  input  logic                           s_axis_tlast_i,
  output logic                           m_axis_tvalid_o,
  input  logic                           m_axis_tready_i,
  output logic [STREAM_WIDTH-1:0]        m_axis_tdata_o,
  output logic                           m_axis_tlast_o,
  output logic                           m_axis_tuser_o, // with TLAST: the packet was malformed
  output logic                           idle_o,         // nothing is inside but beats in the output port
  output logic                           error_o,        // pulse
  output logic [3:0]                     error_code_o,
  output logic [31:0]                    error_tag_o,
  // Counters: of the stages unpack, convolution, feature_map, dual_softmax, gate, row_prepare, state_update, normalise,
  // pack, from bit 0.
  output logic [8:0]                     busy_o,
  output logic [8:0]                     stall_o,
  output logic [8:0]                     starve_o,
  output logic                           head_done_o,
  output logic                           token_o,        // pulse: a TOKEN packet was begun
  output logic [CONV_COUNT_WIDTH-1:0]    conv_query_clipped_o,
  output logic [CONV_COUNT_WIDTH-1:0]    conv_key_clipped_o,
  output logic [FEATURE_COUNT_WIDTH-1:0] feature_query_clipped_o,
  output logic [FEATURE_COUNT_WIDTH-1:0] feature_key_clipped_o,
  output logic [NORM_COUNT_WIDTH-1:0]    normaliser_clipped_o,
  output logic [STATE_COUNT_WIDTH-1:0]   state_clipped_o,
  output logic [OUTPUT_COUNT_WIDTH-1:0]  output_clipped_o
);
  function automatic int address_width(input int words);
    address_width = (words > 1) ? $clog2(words) : 1;
  endfunction
  function automatic int words(input int elements, input int per_word);
    words = (elements + per_word - 1) / per_word;
  endfunction

  localparam int ELEMENTS = STREAM_WIDTH / lawcat_arch_pkg::ELEMENT_WIDTH;
  localparam int MAX_HEAD_DIM = lawcat_arch_pkg::MAX_HEAD_DIM;
  localparam int MAX_FEATURE_DIM = lawcat_arch_pkg::MAX_FEATURE_DIM;
  localparam int SIDE_WIDTH = lawcat_arch_pkg::SIDE_WIDTH;
  localparam int SEGMENT = lawcat_arch_pkg::SEGMENT;
  localparam int ROWS = lawcat_arch_pkg::ROWS;
  localparam int FEATURE_WIDTH = lawcat_arch_pkg::FEATURE_WIDTH;
  localparam int PHI_WIDTH = lawcat_arch_pkg::PHI_P + lawcat_arch_pkg::PHI_EXPONENT_WIDTH;
  localparam int GATE_WIDTH = 1 + lawcat_arch_pkg::GATE_P + lawcat_arch_pkg::GATE_EXPONENT_WIDTH;
  localparam int STATE_EXPONENT_WIDTH = lawcat_arch_pkg::STATE_EXPONENT_WIDTH;
  localparam int NORM_EXPONENT_WIDTH = lawcat_arch_pkg::NORM_EXPONENT_WIDTH;
  localparam int DESCRIPTOR_WIDTH = 2 + STATE_EXPONENT_WIDTH + NORM_EXPONENT_WIDTH + 6 * 8 +
                                    2 * lawcat_arch_pkg::PHI_P + 1 + lawcat_arch_pkg::GATE_P + 2 * 12;
  localparam int SUM_WIDTH = lawcat_arch_pkg::STATE_WIDTH + lawcat_arch_pkg::READOUT_WIDTH + 2;
  localparam int DENOMINATOR_WIDTH = lawcat_arch_pkg::NORM_WIDTH + lawcat_arch_pkg::READOUT_WIDTH + 2;
  localparam int STATE_ROW_WIDTH = 6 + STATE_EXPONENT_WIDTH;
  localparam int NORM_ROW_WIDTH = 6 + NORM_EXPONENT_WIDTH;
  // Addresses within a slot.
  localparam int HEAD_ADDRESS = address_width(words(MAX_HEAD_DIM, ELEMENTS));
  localparam int LOGIT_ADDRESS = address_width(2 * words(MAX_FEATURE_DIM, ELEMENTS));
  localparam int CONV_ADDRESS = address_width(words(MAX_HEAD_DIM, CHANNELS));
  localparam int Z_ADDRESS = address_width(words(MAX_FEATURE_DIM, EXP_LANES));
  localparam int ROWS_ADDRESS = address_width(2 * words(MAX_FEATURE_DIM, EXP_LANES));
  localparam int GROUP_ADDRESS = address_width(words(MAX_FEATURE_DIM, ROWS));
  localparam int SEGMENT_ADDRESS = address_width(words(MAX_HEAD_DIM, SEGMENT));
  localparam int TABLE_INDEX = (lawcat_arch_pkg::GATE_TABLE_BITS > 5) ? lawcat_arch_pkg::GATE_TABLE_BITS + 5 : 10;
  // Words of the memory ports.
  localparam int STATE_WORD = lawcat_arch_pkg::LANES * lawcat_arch_pkg::STATE_WIDTH;
  localparam int NORM_WORD = ROWS * lawcat_arch_pkg::NORM_WIDTH;
  localparam int ROWS_WORD = EXP_LANES * (STATE_ROW_WIDTH + NORM_ROW_WIDTH);
  localparam int TAILS_WORD = 3 * CHANNELS * lawcat_arch_pkg::QK_WIDTH;
  localparam int TAPS_WORD = 4 * CHANNELS * lawcat_arch_pkg::TAP_WIDTH;
  localparam int FEATURE_WORD = lawcat_arch_pkg::FEATURE_CHANNELS * lawcat_arch_pkg::FEATURE_SEGMENT *
                                lawcat_arch_pkg::WEIGHT_WIDTH;
  localparam int MAX_A = (STATE_WORD > NORM_WORD) ? STATE_WORD : NORM_WORD;
  localparam int MAX_B = (ROWS_WORD > TAILS_WORD) ? ROWS_WORD : TAILS_WORD;
  localparam int MAX_C = (TAPS_WORD > FEATURE_WORD) ? TAPS_WORD : FEATURE_WORD;
  localparam int MAX_D = (MAX_A > MAX_B) ? MAX_A : MAX_B;
  localparam int MAX_E = (MAX_C > 64) ? MAX_C : 64;
  localparam int PORT_WIDTH = (MAX_D > MAX_E) ? MAX_D : MAX_E;

  // unpack -> convolution, per head
  logic q_room, q_reserve, q_we, q_commit;
  logic [HEAD_ADDRESS-1:0] q_addr;
  logic [STREAM_WIDTH-1:0] q_data;
  logic [SIDE_WIDTH-1:0] q_side;
  // unpack -> convolution, per packet
  logic k_room, k_reserve, k_we, k_commit;
  logic [HEAD_ADDRESS-1:0] k_addr;
  logic [STREAM_WIDTH-1:0] k_data;
  // unpack -> gate, per packet
  logic logits_room, logits_reserve, logits_we, logits_commit;
  logic [LOGIT_ADDRESS-1:0] logits_addr;
  logic [STREAM_WIDTH-1:0] logits_data;
  // unpack -> state_update, per packet
  logic value_room, value_reserve, value_we, value_commit;
  logic [HEAD_ADDRESS-1:0] value_addr;
  logic [STREAM_WIDTH-1:0] value_data;
  // unpack -> row_prepare, per packet
  logic lead_room, lead_reserve, lead_commit;
  logic [6-1:0] lead_side;
  // convolution -> feature_map
  logic conv_room, conv_reserve, conv_we, conv_qk, conv_commit;
  logic [CONV_ADDRESS-1:0] conv_addr;
  logic [CHANNELS*lawcat_arch_pkg::CONV_WIDTH-1:0] conv_data;
  logic [SIDE_WIDTH-1:0] conv_side;
  // feature_map -> dual_softmax
  logic z_room, z_reserve, z_we, z_commit;
  logic [Z_ADDRESS-1:0] z_addr;
  logic [2 * EXP_LANES * FEATURE_WIDTH-1:0] z_data;
  logic [SIDE_WIDTH + 4 * FEATURE_WIDTH-1:0] z_side;
  // dual_softmax -> row_prepare
  logic phi_room, phi_reserve, phi_we, phi_qk, phi_commit;
  logic [ROWS_ADDRESS-1:0] phi_addr;
  logic [EXP_LANES * PHI_WIDTH-1:0] phi_data;
  logic [SIDE_WIDTH-1:0] phi_side;
  // gate -> row_prepare, per packet
  logic gates_room, gates_reserve, gates_we, gates_commit;
  logic [ROWS_ADDRESS-1:0] gates_addr;
  logic [EXP_LANES * GATE_WIDTH-1:0] gates_data;
  // row_prepare -> state_update
  logic rows_room, rows_reserve, rows_we, rows_commit;
  logic [ROWS_ADDRESS-1:0] rows_addr;
  logic [EXP_LANES * DESCRIPTOR_WIDTH-1:0] rows_data;
  logic [56 + SIDE_WIDTH-1:0] rows_side;
  // state_update -> normalise
  logic sums_room, sums_reserve, sums_we, sums_commit;
  logic [SEGMENT_ADDRESS-1:0] sums_addr;
  logic [SEGMENT * SUM_WIDTH-1:0] sums_data;
  logic [24 + DENOMINATOR_WIDTH + SIDE_WIDTH-1:0] sums_side;
  // normalise -> pack
  logic out_room, out_reserve, out_we, out_commit;
  logic [HEAD_ADDRESS-1:0] out_addr;
  logic [STREAM_WIDTH-1:0] out_data;
  logic [SIDE_WIDTH-1:0] out_side;
  // state_update -> row_prepare
  logic state_row_we, state_row_half, norm_row_we, norm_row_half, update_done;
  logic [7:0] state_row_slot, norm_row_slot;
  logic [GROUP_ADDRESS-1:0] state_row_index, norm_row_index;
  logic [ROWS*STATE_ROW_WIDTH-1:0] state_row_data;
  logic [ROWS*NORM_ROW_WIDTH-1:0] norm_row_data;
  // unpack -> pack, one record per packet, and how the packet ended
  logic record_ready, record_valid, end_valid, end_error;
  logic [95:0] record_data;
  // unpack -> access -> pack
  logic access_start, access_excess, load_valid, load_last;
  logic [95:0] access_header;
  logic [STREAM_WIDTH-1:0] load_data, store_data;
  logic store_done, store_valid, store_ready, store_last, store_error;
  // access -> memories
  logic [6:0] port_we;
  logic [4:0] port_re;
  logic [7:0] port_slot;
  logic [15:0] port_index;
  logic [PORT_WIDTH-1:0] port_wdata;
  logic [STATE_WORD-1:0] state_rdata;
  logic [NORM_WORD-1:0] norm_rdata;
  logic [ROWS_WORD-1:0] rows_rdata;
  logic [TAILS_WORD-1:0] tails_rdata;
  logic [31:0] count_rdata;
  logic table_we;
  logic [1:0] table_select;
  logic [TABLE_INDEX-1:0] table_index;
  logic [63:0] table_data;

  assign token_o = record_valid & record_ready & (record_data[7:0] == 8'd1);

  lawcat_unpack u_unpack (
    .clk_i, .rst_ni, .enable_i, .head_dim_i, .feature_dim_i, .clear_i(clear_all_i),
    .clear_one_i(clear_slot_i), .clear_slot_i(clear_slot_index_i), .s_axis_tvalid_i, .s_axis_tready_o,
    .s_axis_tdata_i, .s_axis_tlast_i, .q_room_i(q_room), .q_reserve_o(q_reserve), .q_we_o(q_we),
    .q_addr_o(q_addr), .q_data_o(q_data), .q_commit_o(q_commit), .q_side_o(q_side), .k_room_i(k_room),
    .k_reserve_o(k_reserve), .k_we_o(k_we), .k_addr_o(k_addr), .k_data_o(k_data), .k_commit_o(k_commit),
    .logits_room_i(logits_room), .logits_reserve_o(logits_reserve), .logits_we_o(logits_we),
    .logits_addr_o(logits_addr), .logits_data_o(logits_data), .logits_commit_o(logits_commit),
    .value_room_i(value_room), .value_reserve_o(value_reserve), .value_we_o(value_we),
    .value_addr_o(value_addr), .value_data_o(value_data), .value_commit_o(value_commit),
    .lead_room_i(lead_room), .lead_reserve_o(lead_reserve), .lead_commit_o(lead_commit),
    .lead_side_o(lead_side), .record_ready_i(record_ready), .record_valid_o(record_valid),
    .record_data_o(record_data), .end_valid_o(end_valid), .end_error_o(end_error),
    .head_done_i(head_done_o), .access_start_o(access_start), .access_header_o(access_header),
    .access_excess_o(access_excess), .load_valid_o(load_valid), .load_data_o(load_data),
    .load_last_i(load_last), .store_done_i(store_done), .error_o, .error_code_o, .error_tag_o, .idle_o,
    .busy_o(busy_o[0]), .stall_o(stall_o[0]), .starve_o(starve_o[0])
  );

  lawcat_access u_access (
    .clk_i, .rst_ni, .start_i(access_start), .header_i(access_header), .excess_i(access_excess),
    .load_valid_i(load_valid), .load_data_i(load_data), .load_last_o(load_last), .store_done_o(store_done),
    .store_valid_o(store_valid), .store_ready_i(store_ready), .store_data_o(store_data),
    .store_last_o(store_last), .store_error_o(store_error), .port_we_o(port_we), .port_re_o(port_re),
    .port_slot_o(port_slot), .port_index_o(port_index), .port_wdata_o(port_wdata),
    .state_port_rdata_i(state_rdata), .norm_port_rdata_i(norm_rdata), .rows_port_rdata_i(rows_rdata),
    .tails_port_rdata_i(tails_rdata), .count_port_rdata_i(count_rdata), .table_we_o(table_we),
    .table_select_o(table_select), .table_index_o(table_index), .table_data_o(table_data)
  );

  lawcat_convolution u_convolution (
    .clk_i, .rst_ni, .head_dim_i, .q_room_o(q_room), .q_reserve_i(q_reserve), .q_we_i(q_we),
    .q_addr_i(q_addr), .q_data_i(q_data), .q_commit_i(q_commit), .q_side_i(q_side), .k_room_o(k_room),
    .k_reserve_i(k_reserve), .k_we_i(k_we), .k_addr_i(k_addr), .k_data_i(k_data), .k_commit_i(k_commit),
    .tails_port_we_i(port_we[3]), .tails_port_re_i(port_re[3]),
    .tails_port_slot_i(port_slot), .tails_port_index_i(port_index),
    .tails_port_wdata_i(port_wdata[TAILS_WORD-1:0]), .tails_port_rdata_o(tails_rdata),
    .taps_port_we_i(port_we[5]), .taps_port_slot_i(port_slot), .taps_port_index_i(port_index),
    .taps_port_wdata_i(port_wdata[TAPS_WORD-1:0]), .conv_room_i(conv_room), .conv_reserve_o(conv_reserve),
    .conv_we_o(conv_we), .conv_addr_o(conv_addr), .conv_data_o(conv_data), .conv_qk_o(conv_qk),
    .conv_commit_o(conv_commit), .conv_side_o(conv_side), .busy_o(busy_o[1]), .stall_o(stall_o[1]),
    .starve_o(starve_o[1]), .saturations_q_o(conv_query_clipped_o), .saturations_k_o(conv_key_clipped_o)
  );

  lawcat_feature_map u_feature_map (
    .clk_i, .rst_ni, .head_dim_i, .feature_dim_i, .conv_room_o(conv_room), .conv_reserve_i(conv_reserve),
    .conv_we_i(conv_we), .conv_addr_i(conv_addr), .conv_data_i(conv_data), .conv_qk_i(conv_qk),
    .conv_commit_i(conv_commit), .conv_side_i(conv_side), .feature_port_we_i(port_we[6]),
    .feature_port_slot_i(port_slot), .feature_port_index_i(port_index),
    .feature_port_wdata_i(port_wdata[FEATURE_WORD-1:0]), .z_room_i(z_room), .z_reserve_o(z_reserve),
    .z_we_o(z_we), .z_addr_o(z_addr), .z_data_o(z_data), .z_commit_o(z_commit), .z_side_o(z_side),
    .busy_o(busy_o[2]), .stall_o(stall_o[2]), .starve_o(starve_o[2]),
    .saturations_q_o(feature_query_clipped_o), .saturations_k_o(feature_key_clipped_o)
  );

  lawcat_dual_softmax u_dual_softmax (
    .clk_i, .rst_ni, .feature_dim_i, .table_we_i(table_we), .table_select_i(table_select),
    .table_index_i(table_index[9:0]), .table_data_i(table_data), .z_room_o(z_room), .z_reserve_i(z_reserve),
    .z_we_i(z_we), .z_addr_i(z_addr), .z_data_i(z_data), .z_commit_i(z_commit), .z_side_i(z_side),
    .phi_room_i(phi_room), .phi_reserve_o(phi_reserve), .phi_we_o(phi_we), .phi_addr_o(phi_addr),
    .phi_data_o(phi_data), .phi_qk_o(phi_qk), .phi_commit_o(phi_commit), .phi_side_o(phi_side),
    .busy_o(busy_o[3]), .stall_o(stall_o[3]), .starve_o(starve_o[3])
  );

  lawcat_gate u_gate (
    .clk_i, .rst_ni, .feature_dim_i, .table_we_i(table_we), .table_select_i(table_select),
    .table_index_i(table_index), .table_data_i(table_data), .logits_room_o(logits_room),
    .logits_reserve_i(logits_reserve), .logits_we_i(logits_we), .logits_addr_i(logits_addr),
    .logits_data_i(logits_data), .logits_commit_i(logits_commit), .gates_room_i(gates_room),
    .gates_reserve_o(gates_reserve), .gates_we_o(gates_we), .gates_addr_o(gates_addr),
    .gates_data_o(gates_data), .gates_commit_o(gates_commit), .busy_o(busy_o[4]), .stall_o(stall_o[4]),
    .starve_o(starve_o[4])
  );

  lawcat_row_prepare u_row_prepare (
    .clk_i, .rst_ni, .feature_dim_i, .phi_room_o(phi_room), .phi_reserve_i(phi_reserve), .phi_we_i(phi_we),
    .phi_addr_i(phi_addr), .phi_data_i(phi_data), .phi_qk_i(phi_qk), .phi_commit_i(phi_commit),
    .phi_side_i(phi_side), .gates_room_o(gates_room), .gates_reserve_i(gates_reserve),
    .gates_we_i(gates_we), .gates_addr_i(gates_addr), .gates_data_i(gates_data),
    .gates_commit_i(gates_commit), .lead_room_o(lead_room), .lead_reserve_i(lead_reserve),
    .lead_commit_i(lead_commit), .lead_side_i(lead_side), .rows_room_i(rows_room),
    .rows_reserve_o(rows_reserve), .rows_we_o(rows_we), .rows_addr_o(rows_addr), .rows_data_o(rows_data),
    .rows_commit_o(rows_commit), .rows_side_o(rows_side), .state_row_we_i(state_row_we),
    .state_row_slot_i(state_row_slot), .state_row_half_i(state_row_half),
    .state_row_index_i(state_row_index), .state_row_data_i(state_row_data), .norm_row_we_i(norm_row_we),
    .norm_row_slot_i(norm_row_slot), .norm_row_half_i(norm_row_half), .norm_row_index_i(norm_row_index),
    .norm_row_data_i(norm_row_data), .update_done_i(update_done), .rows_port_we_i(port_we[2]),
    .rows_port_re_i(port_re[2]), .rows_port_slot_i(port_slot), .rows_port_index_i(port_index),
    .rows_port_wdata_i(port_wdata[ROWS_WORD-1:0]), .rows_port_rdata_o(rows_rdata),
    .count_port_we_i(port_we[4]), .count_port_re_i(port_re[4]), .count_port_slot_i(port_slot),
    .count_port_index_i(port_index), .count_port_wdata_i(port_wdata[32-1:0]),
    .count_port_rdata_o(count_rdata), .busy_o(busy_o[5]), .stall_o(stall_o[5]), .starve_o(starve_o[5])
  );

  lawcat_state_update u_state_update (
    .clk_i, .rst_ni, .head_dim_i, .feature_dim_i, .state_port_we_i(port_we[0]),
    .state_port_re_i(port_re[0]), .state_port_slot_i(port_slot), .state_port_index_i(port_index),
    .state_port_wdata_i(port_wdata[STATE_WORD-1:0]), .state_port_rdata_o(state_rdata),
    .norm_port_we_i(port_we[1]), .norm_port_re_i(port_re[1]), .norm_port_slot_i(port_slot),
    .norm_port_index_i(port_index), .norm_port_wdata_i(port_wdata[NORM_WORD-1:0]),
    .norm_port_rdata_o(norm_rdata), .value_room_o(value_room), .value_reserve_i(value_reserve),
    .value_we_i(value_we), .value_addr_i(value_addr), .value_data_i(value_data),
    .value_commit_i(value_commit), .rows_room_o(rows_room), .rows_reserve_i(rows_reserve),
    .rows_we_i(rows_we), .rows_addr_i(rows_addr), .rows_data_i(rows_data), .rows_commit_i(rows_commit),
    .rows_side_i(rows_side), .state_row_we_o(state_row_we), .state_row_slot_o(state_row_slot),
    .state_row_half_o(state_row_half), .state_row_index_o(state_row_index),
    .state_row_data_o(state_row_data), .norm_row_we_o(norm_row_we), .norm_row_slot_o(norm_row_slot),
    .norm_row_half_o(norm_row_half), .norm_row_index_o(norm_row_index), .norm_row_data_o(norm_row_data),
    .update_done_o(update_done), .sums_room_i(sums_room), .sums_reserve_o(sums_reserve),
    .sums_we_o(sums_we), .sums_addr_o(sums_addr), .sums_data_o(sums_data), .sums_commit_o(sums_commit),
    .sums_side_o(sums_side), .busy_o(busy_o[6]), .stall_o(stall_o[6]), .starve_o(starve_o[6]),
    .state_saturations_o(state_clipped_o), .norm_saturations_o(normaliser_clipped_o)
  );

  lawcat_normalise u_normalise (
    .clk_i, .rst_ni, .head_dim_i, .table_we_i(table_we), .table_select_i(table_select),
    .table_index_i(table_index[9:0]), .table_data_i(table_data), .sums_room_o(sums_room),
    .sums_reserve_i(sums_reserve), .sums_we_i(sums_we), .sums_addr_i(sums_addr), .sums_data_i(sums_data),
    .sums_commit_i(sums_commit), .sums_side_i(sums_side), .out_room_i(out_room),
    .out_reserve_o(out_reserve), .out_we_o(out_we), .out_addr_o(out_addr), .out_data_o(out_data),
    .out_commit_o(out_commit), .out_side_o(out_side), .busy_o(busy_o[7]), .stall_o(stall_o[7]),
    .starve_o(starve_o[7]), .saturations_o(output_clipped_o)
  );

  lawcat_pack u_pack (
    .clk_i, .rst_ni, .head_dim_i, .record_valid_i(record_valid), .record_ready_o(record_ready),
    .record_data_i(record_data), .end_valid_i(end_valid), .end_error_i(end_error), .head_done_o,
    .out_room_o(out_room), .out_reserve_i(out_reserve), .out_we_i(out_we), .out_addr_i(out_addr),
    .out_data_i(out_data), .out_commit_i(out_commit), .out_side_i(out_side), .store_valid_i(store_valid),
    .store_ready_o(store_ready), .store_data_i(store_data), .store_last_i(store_last),
    .store_error_i(store_error), .m_axis_tvalid_o, .m_axis_tready_i, .m_axis_tdata_o, .m_axis_tlast_o,
    .m_axis_tuser_o, .busy_o(busy_o[8]), .stall_o(stall_o[8]), .starve_o(starve_o[8])
  );
endmodule

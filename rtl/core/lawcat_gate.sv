// SPDX-License-Identifier: Apache-2.0
// Forget gates of one packet from its logits: forget_gate of numerics/functions.h, GATE_LANES per cycle. A
// logit x becomes an exponent y and its gate 2^-y: x log2(e) / 16 below GATE_SPLIT (the gate a itself), above
// it 1 - a from the gate table, and from GATE_LINEAR on x log2(e) + 4.
// Throughput: one packet per 2 ceil(F / GATE_LANES) cycles. Depth 18 (contract of lawcat_stage_control).
`include "lawcat_assert.svh"

module lawcat_gate #(
  localparam int LANES             = lawcat_arch_pkg::GATE_LANES,
  localparam int EXP_LANES         = lawcat_arch_pkg::EXP_LANES,
  localparam int STREAM_WIDTH      = lawcat_arch_pkg::STREAM_WIDTH,
  localparam int ELEMENT_WIDTH     = lawcat_arch_pkg::ELEMENT_WIDTH,
  localparam int ELEMENTS          = STREAM_WIDTH / ELEMENT_WIDTH,
  localparam int MAX_FEATURE_DIM   = lawcat_arch_pkg::MAX_FEATURE_DIM,
  localparam int TABLE_BITS        = lawcat_arch_pkg::GATE_TABLE_BITS,
  localparam int GATE_P            = lawcat_arch_pkg::GATE_P,
  localparam int EXPONENT_WIDTH    = lawcat_arch_pkg::GATE_EXPONENT_WIDTH,
  localparam int GATE_WIDTH        = 1 + EXPONENT_WIDTH + GATE_P,
  localparam int LOGIT_WORDS       = 2 * ((MAX_FEATURE_DIM + ELEMENTS - 1) / ELEMENTS),
  localparam int LOGIT_ADDR_WIDTH  = $clog2(LOGIT_WORDS),
  localparam int GATE_ADDR_WIDTH   = $clog2(2 * ((MAX_FEATURE_DIM + EXP_LANES - 1) / EXP_LANES)),
  localparam int TABLE_INDEX_WIDTH = (TABLE_BITS + 5 > 10) ? TABLE_BITS + 5 : 10  // 30 * 2^TABLE_BITS entries
) (
  input  logic                            clk_i,
  input  logic                            rst_ni,
  input  logic [6:0]                      feature_dim_i,
  input  logic                            table_we_i,
  input  logic [1:0]                      table_select_i,
  input  logic [TABLE_INDEX_WIDTH-1:0]    table_index_i,
  input  logic [63:0]                     table_data_i,
  // logits: word = beat; address = half * beats of a half + beat
  output logic                            logits_room_o,
  input  logic                            logits_reserve_i,
  input  logic                            logits_we_i,
  input  logic [LOGIT_ADDR_WIDTH-1:0]     logits_addr_i,
  input  logic [STREAM_WIDTH-1:0]         logits_data_i,
  input  logic                            logits_commit_i,
  // gates: word = EXP_LANES x {near_one, exponent, mantissa}, anything for features from F on; address = half *
  // words of a half + word
  input  logic                            gates_room_i,
  output logic                            gates_reserve_o,
  output logic                            gates_we_o,
  output logic [GATE_ADDR_WIDTH-1:0]      gates_addr_o,
  output logic [EXP_LANES*GATE_WIDTH-1:0] gates_data_o,
  output logic                            gates_commit_o,
  output logic                            busy_o,
  output logic                            stall_o,
  output logic                            starve_o
);
  localparam int LOGIT_WIDTH = lawcat_arch_pkg::LOGIT_WIDTH;
  localparam int LOGIT_FRACTION = lawcat_arch_pkg::LOGIT_FRACTION;
  localparam int FRACTION = lawcat_arch_pkg::FEATURE_FRACTION + 3;  // of y
  `LAWCAT_REQUIRE((LANES & (LANES - 1)) == 0 && (ELEMENTS & (ELEMENTS - 1)) == 0,
                  "lawcat_gate: GATE_LANES and the elements of a beat are powers of two")
  `LAWCAT_REQUIRE(LANES <= EXP_LANES && EXP_LANES % LANES == 0 && LANES <= ELEMENTS,
                  "lawcat_gate: GATE_LANES divides EXP_LANES and the elements of a beat")
  `LAWCAT_REQUIRE(LOGIT_FRACTION >= 0 && LOGIT_FRACTION <= 26 && FRACTION <= 26 && LOGIT_WIDTH <= 32,
                  "lawcat_gate: a fraction of logits or features is out of range")
  `LAWCAT_REQUIRE(TABLE_BITS >= 1 && TABLE_BITS <= 6, "lawcat_gate: GATE_TABLE_BITS is 1 to 6")

  // Logits with room for the bounds; the table's range counts from its first entry.
  localparam int X_WIDTH = ((LOGIT_WIDTH > LOGIT_FRACTION + 6) ? LOGIT_WIDTH : LOGIT_FRACTION + 6) + 1;
  localparam logic signed [X_WIDTH-1:0] SPLIT = X_WIDTH'(lawcat_arch_pkg::GATE_SPLIT * (1 << LOGIT_FRACTION));
  localparam logic signed [X_WIDTH-1:0] LINEAR = X_WIDTH'(lawcat_arch_pkg::GATE_LINEAR * (1 << LOGIT_FRACTION));
  localparam int AT_WIDTH = LOGIT_FRACTION + 5;
  localparam int REST_BITS = (LOGIT_FRACTION > TABLE_BITS) ? LOGIT_FRACTION - TABLE_BITS : 0;
  localparam int SKIP_BITS = (TABLE_BITS > LOGIT_FRACTION) ? TABLE_BITS - LOGIT_FRACTION : 0;
  localparam int Y_TABLE_WIDTH = FRACTION + 5;
  localparam int DELTA_WIDTH = ((FRACTION > TABLE_BITS) ? FRACTION - TABLE_BITS : 0) + 3;
  localparam int LOGIT_PLACES = LOGIT_WIDTH - LOGIT_FRACTION;  // in front of the binary point
  localparam int Y_WIDTH = FRACTION + ((LOGIT_PLACES > 5) ? LOGIT_PLACES : 5) + 1;
  // log2(e) with FRACTION places, rounded; LOG2E has 62.
  localparam logic [63:0] LOG2E = 64'h5c55_1d94_ae0b_f800;
  localparam logic [63:0] LOG2E_ROUNDED = (LOG2E + (64'd1 << (61 - FRACTION))) >> (62 - FRACTION);
  localparam int PRODUCT_WIDTH = LOGIT_WIDTH + FRACTION + 2;
  localparam int SUM_WIDTH = Y_WIDTH + LOGIT_FRACTION + 4;
  // Added to x log2(e): half of the last place kept, and the 4 of 1/16; to its complement: half, and the 1 that
  // makes it the negative.
  localparam logic [63:0] HALF = (64'd1 << LOGIT_FRACTION) >> 1;
  localparam logic [63:0] ADD_HIGH = HALF + (64'd4 << (FRACTION + LOGIT_FRACTION));
  localparam logic [63:0] ADD_LOW = (64'd8 << LOGIT_FRACTION) + 64'd1;

  // Shape: groups of LANES gates per half.
  localparam int LANE_BITS = $clog2(LANES);
  localparam int GROUPS_PER_BEAT = ELEMENTS / LANES;
  localparam int GROUPS_PER_WORD = EXP_LANES / LANES;
  localparam int SUB_WIDTH = (GROUPS_PER_BEAT > 1) ? $clog2(GROUPS_PER_BEAT) : 1;
  localparam int PART_WIDTH = (GROUPS_PER_WORD > 1) ? $clog2(GROUPS_PER_WORD) : 1;
  logic [7:0]  groups, last_group_q;
  logic [11:0] interval_q;
  assign groups = 8'((9'(feature_dim_i) + 9'(LANES - 1)) >> LANE_BITS);
  always_ff @(posedge clk_i) begin
    last_group_q <= groups - 1'b1;
    interval_q   <= {3'b0, groups, 1'b0};
  end

  // Input and control.
  logic                        logits_valid, unused_side, start, active, last_cycle, last_group;
  logic [STREAM_WIDTH-1:0]     beat;
  logic [7:0]                  group_q;
  logic [SUB_WIDTH-1:0]        sub_q, beat_sub_q;
  logic [LOGIT_ADDR_WIDTH-1:0] beat_q;
  logic [11:0]                 unused_index;

  assign last_group = group_q == last_group_q;

  lawcat_stage_control #(.WIDTH(12)) u_control (
    .clk_i,
    .rst_ni,
    .valid_i(logits_valid),
    .room_i(gates_room_i),
    .interval_i(interval_q),
    .start_o(start),
    .active_o(active),
    .last_o(last_cycle),
    .index_o(unused_index),
    .stall_o,
    .starve_o
  );
  assign busy_o = active;
  assign gates_reserve_o = start;

  lawcat_token_buffer #(
    .SLOTS(lawcat_arch_pkg::FIFO_TOKENS),
    .WORDS(LOGIT_WORDS),
    .WIDTH(STREAM_WIDTH),
    .SIDE_WIDTH(1)
  ) u_logits (
    .clk_i,
    .rst_ni,
    .room_o(logits_room_o),
    .reserve_i(logits_reserve_i),
    .we_i(logits_we_i),
    .waddr_i(logits_addr_i),
    .wdata_i(logits_data_i),
    .commit_i(logits_commit_i),
    .side_i(1'b0),
    .valid_o(logits_valid),
    .side_o(unused_side),
    .re_i(active),
    .raddr_i(beat_q),
    .rdata_o(beat),
    .release_i(last_cycle)
  );

  // Bit i: i + 1 cycles after the read of a beat.
  localparam int AT_GATE = 17;
  logic [AT_GATE-1:0] valid_q, end_q, last_q;  // end: of a half, last: of the packet

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      group_q <= '0;
      sub_q   <= '0;
      beat_q  <= '0;
      valid_q <= '0;
      end_q   <= '0;
      last_q  <= '0;
    end else begin
      if (active) begin
        group_q <= last_group ? '0 : group_q + 1'b1;
        if (last_group || sub_q == SUB_WIDTH'(GROUPS_PER_BEAT - 1)) begin
          sub_q  <= '0;
          beat_q <= last_cycle ? '0 : beat_q + 1'b1;
        end else begin
          sub_q <= sub_q + 1'b1;
        end
      end
      valid_q <= {valid_q[AT_GATE-2:0], active};
      end_q   <= {end_q[AT_GATE-2:0], active && last_group};
      last_q  <= {last_q[AT_GATE-2:0], last_cycle};
    end
    beat_sub_q <= sub_q;
  end

  logic [LANES*GATE_WIDTH-1:0] gates;

  for (genvar l = 0; l < LANES; l++) begin : g_lane
    logic signed [LOGIT_WIDTH-1:0]   x_q, x1_q, x2_q;
    logic signed [X_WIDTH-1:0]       wide;
    logic [AT_WIDTH-1:0]             at_q;
    logic [AT_GATE-3:0]              low_q;  // bit i: i + 3 cycles after the read
    logic [5:0]                      high_q;
    logic [TABLE_BITS+4:0]           index;
    logic [((REST_BITS > 0) ? REST_BITS : 1)-1:0] rest;
    logic [Y_TABLE_WIDTH-1:0]        y_table;
    logic signed [PRODUCT_WIDTH-1:0] product, signed_product;
    logic [SUM_WIDTH-1:0]            sum_q;
    logic [Y_WIDTH-1:0]              linear_q, y_q;
    logic [GATE_P-1:0]               mantissa;
    logic [EXPONENT_WIDTH-1:0]       exponent;

    assign wide = X_WIDTH'(x_q);
    assign signed_product = low_q[3] ? ~product : product;
    always_ff @(posedge clk_i) begin
      x_q      <= beat[(32'(beat_sub_q)*LANES+l)*ELEMENT_WIDTH +: LOGIT_WIDTH];
      x1_q     <= x_q;
      x2_q     <= x1_q;
      at_q     <= AT_WIDTH'(wide - SPLIT);
      low_q    <= {low_q[AT_GATE-4:0], wide < SPLIT};
      high_q   <= {high_q[4:0], wide >= LINEAR};
      sum_q    <= SUM_WIDTH'(signed_product) + (low_q[3] ? SUM_WIDTH'(ADD_LOW) : SUM_WIDTH'(ADD_HIGH));
      linear_q <= low_q[4] ? sum_q[LOGIT_FRACTION+4 +: Y_WIDTH] : sum_q[LOGIT_FRACTION +: Y_WIDTH];
      y_q      <= (low_q[5] || high_q[5]) ? linear_q : Y_WIDTH'(y_table);
    end

    lawcat_multiplier #(
      .A_WIDTH(LOGIT_WIDTH),
      .B_WIDTH(FRACTION + 2),
      .STAGES(2)
    ) u_log2 (
      .clk_i,
      .a_i(x2_q),
      .b_i(LOG2E_ROUNDED[FRACTION+1:0]),
      .product_o(product)
    );

    if (SKIP_BITS > 0) begin : g_skip
      assign index = {at_q, {SKIP_BITS{1'b0}}};
    end else begin : g_index
      assign index = at_q[AT_WIDTH-1:REST_BITS];
    end
    if (REST_BITS > 0) begin : g_rest
      assign rest = at_q[REST_BITS-1:0];
    end else begin : g_no_rest
      assign rest = '0;
    end
    lawcat_table #(
      .INDEX_WIDTH(TABLE_BITS + 5),
      .SELECT(1),
      .VALUE_WIDTH(Y_TABLE_WIDTH),
      .DELTA_WIDTH(DELTA_WIDTH),
      .REST_BITS(REST_BITS),
      .TABLE_INDEX_WIDTH(TABLE_INDEX_WIDTH)
    ) u_table (
      .clk_i,
      .table_we_i,
      .table_select_i,
      .table_index_i,
      .table_data_i,
      .index_i(index),
      .rest_i(rest),
      .value_o(y_table)
    );

    lawcat_exp2 #(
      .Y_WIDTH(Y_WIDTH),
      .FRACTION(FRACTION),
      .TABLE_BITS(lawcat_arch_pkg::EXP2_TABLE_BITS),
      .P(GATE_P),
      .EXPONENT_WIDTH(EXPONENT_WIDTH),
      .MIN_EXPONENT(lawcat_arch_pkg::GATE_MIN_EXPONENT)
    ) u_exp2 (
      .clk_i,
      .table_we_i,
      .table_select_i,
      .table_index_i(table_index_i[9:0]),
      .table_data_i,
      .y_i(y_q),
      .mantissa_o(mantissa),
      .exponent_o(exponent)
    );
    assign gates[l*GATE_WIDTH +: GATE_WIDTH] = {!low_q[AT_GATE-3], exponent, mantissa};

    logic unused;
    assign unused = ^{sum_q, LOG2E_ROUNDED};
  end

  // Words of EXP_LANES gates; the last of a half may be filled in part.
  logic [PART_WIDTH-1:0]      part_q;
  logic [GATE_ADDR_WIDTH-1:0] addr_q;
  logic                       we_q, commit_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      part_q   <= '0;
      addr_q   <= '0;
      we_q     <= 1'b0;
      commit_q <= 1'b0;
    end else begin
      if (valid_q[AT_GATE-1])
        part_q <= (end_q[AT_GATE-1] || part_q == PART_WIDTH'(GROUPS_PER_WORD - 1)) ? '0 : part_q + 1'b1;
      we_q     <= valid_q[AT_GATE-1] && (end_q[AT_GATE-1] || part_q == PART_WIDTH'(GROUPS_PER_WORD - 1));
      commit_q <= last_q[AT_GATE-1];
      if (we_q) addr_q <= commit_q ? '0 : addr_q + 1'b1;
    end
  end
  for (genvar i = 0; i < GROUPS_PER_WORD; i++) begin : g_part
    logic [LANES*GATE_WIDTH-1:0] gates_q;
    always_ff @(posedge clk_i) if (valid_q[AT_GATE-1] && part_q == PART_WIDTH'(i)) gates_q <= gates;
    assign gates_data_o[i*LANES*GATE_WIDTH +: LANES*GATE_WIDTH] = gates_q;
  end
  assign gates_we_o     = we_q;
  assign gates_addr_o   = addr_q;
  assign gates_commit_o = commit_q;

  logic unused;
  assign unused = ^{unused_side, unused_index, beat};
endmodule

// SPDX-License-Identifier: Apache-2.0
// phi of q and k of one head-token from z: dual_softmax of backend/datapath.cc. Halves in the order q+, q-,
// k+, k- (+: softmax(z), - : softmax(-z)), each in n = ceil(F / EXP_LANES) words: EXP_LANES powers per cycle
// go into a delay memory and into the sum of their half; its reciprocal comes a constant time after the
// half's last word and meets the half at the memory's other end, while the powers of the next halves are
// being made.
// Throughput: one head-token per 4 n cycles. Depth 35 + log2(EXP_LANES) + n (contract of
// lawcat_stage_control).
`include "lawcat_assert.svh"

module lawcat_dual_softmax #(
  localparam int LANES          = lawcat_arch_pkg::EXP_LANES,
  localparam int FEATURE_WIDTH  = lawcat_arch_pkg::FEATURE_WIDTH,
  localparam int SIDE_WIDTH     = lawcat_arch_pkg::SIDE_WIDTH,
  localparam int MAX_WORDS      = (lawcat_arch_pkg::MAX_FEATURE_DIM + LANES - 1) / LANES,
  localparam int Z_SIDE_WIDTH   = SIDE_WIDTH + 4 * FEATURE_WIDTH,
  localparam int Z_ADDR_WIDTH   = (MAX_WORDS > 1) ? $clog2(MAX_WORDS) : 1,
  localparam int PHI_ADDR_WIDTH = $clog2(2 * MAX_WORDS),
  localparam int PHI_WIDTH      = lawcat_arch_pkg::PHI_EXPONENT_WIDTH + lawcat_arch_pkg::PHI_P
) (
  input  logic                           clk_i,
  input  logic                           rst_ni,
  input  logic [6:0]                     feature_dim_i,
  input  logic                           table_we_i,
  input  logic [1:0]                     table_select_i,
  input  logic [9:0]                     table_index_i,
  input  logic [63:0]                    table_data_i,
  // z: word = {LANES of k, LANES of q}; side = {kmin, kmax, qmin, qmax, head-token's side}
  output logic                           z_room_o,
  input  logic                           z_reserve_i,
  input  logic                           z_we_i,
  input  logic [Z_ADDR_WIDTH-1:0]        z_addr_i,
  input  logic [2*LANES*FEATURE_WIDTH-1:0] z_data_i,
  input  logic                           z_commit_i,
  input  logic [Z_SIDE_WIDTH-1:0]        z_side_i,
  // phi: word = LANES x {exponent, mantissa}, 0 for features from F on; address = half * n + word
  input  logic                           phi_room_i,
  output logic                           phi_reserve_o,
  output logic                           phi_we_o,
  output logic                           phi_qk_o,
  output logic [PHI_ADDR_WIDTH-1:0]      phi_addr_o,
  output logic [LANES*PHI_WIDTH-1:0]     phi_data_o,
  output logic                           phi_commit_o,
  output logic [SIDE_WIDTH-1:0]          phi_side_o,
  output logic                           busy_o,
  output logic                           stall_o,
  output logic                           starve_o
);
  localparam int P = lawcat_arch_pkg::PHI_P;
  localparam int EXPONENT_WIDTH = lawcat_arch_pkg::PHI_EXPONENT_WIDTH;
  localparam int FRACTION = lawcat_arch_pkg::FEATURE_FRACTION;
  `LAWCAT_REQUIRE((LANES & (LANES - 1)) == 0, "lawcat_dual_softmax: EXP_LANES is a power of two")
  `LAWCAT_REQUIRE(FRACTION >= 1 && FRACTION <= 22, "lawcat_dual_softmax: FEATURE_FRACTION is 1 to 22")
  `LAWCAT_REQUIRE(P >= 2 && P <= 24, "lawcat_dual_softmax: the precision of phi is 2 to 24")

  // Distances from the largest (smallest) z end at 64 - 2^-FRACTION: the clamp of phi covers the rest.
  localparam int CLAMP_WIDTH = FRACTION + 6;
  localparam int BELOW_WIDTH = (FEATURE_WIDTH < CLAMP_WIDTH) ? FEATURE_WIDTH : CLAMP_WIDTH;
  // log2(e) with CONSTANT_FRACTION places, rounded; LOG2E has 62.
  localparam int CONSTANT_FRACTION = FRACTION + 5;
  localparam int CONSTANT_WIDTH = CONSTANT_FRACTION + 1;
  localparam logic [63:0] LOG2E = 64'h5c55_1d94_ae0b_f800;
  localparam logic [63:0] LOG2E_ROUNDED =
      (LOG2E + (64'd1 << (61 - CONSTANT_FRACTION))) >> (62 - CONSTANT_FRACTION);
  localparam int Y_DROP = FRACTION + 2;
  localparam int Y_WIDTH = BELOW_WIDTH + 4;
  localparam int PRODUCT_WIDTH = BELOW_WIDTH + CONSTANT_WIDTH + 2;

  localparam int LEVELS = $clog2(LANES);
  localparam int SUM_FRACTION = P + 4;
  localparam int TERM_WIDTH = SUM_FRACTION + 1;  // terms are at most 1
  localparam int SUM_WIDTH = TERM_WIDTH + $clog2(lawcat_arch_pkg::MAX_FEATURE_DIM);
  localparam logic signed [11:0] SUM_EXPONENT = 12'(-SUM_FRACTION);
  localparam int RIGHT_WIDTH = EXPONENT_WIDTH;

  // Cycles after the one that reads a word of z.
  localparam int AT_POWER = 15;                  // its powers are there
  localparam int AT_TERM = AT_POWER + 2;         // and shifted: masking, one before they are rounded
  localparam int AT_SUM = AT_POWER + 3 + LEVELS; // and added within the word
  localparam int AT_OPEN = AT_SUM + 1 + 9 - 2;   // last word of a half: its powers can be read one cycle later
  localparam int DELAY_DEPTH = 1 << $clog2(MAX_WORDS + AT_OPEN - AT_POWER + 4);
  localparam int POINTER_WIDTH = $clog2(DELAY_DEPTH);

  // Shape: last word of a half, its lanes.
  logic [Z_ADDR_WIDTH-1:0] last_word_q;
  logic [11:0]             interval_q;
  logic [LANES-1:0]        last_lanes_q;
  logic [7:0]              words;
  assign words = 8'((9'(feature_dim_i) + 9'(LANES - 1)) >> LEVELS);
  always_ff @(posedge clk_i) begin
    last_word_q <= Z_ADDR_WIDTH'(words - 1'b1);
    interval_q  <= {2'b0, words, 2'b0};
    for (int l = 0; l < LANES; l++)
      last_lanes_q[l] <= (feature_dim_i & 7'(LANES - 1)) == '0 || 7'(l) < (feature_dim_i & 7'(LANES - 1));
  end

  // Input and control.
  logic                               z_valid, start, active, last_cycle;
  logic [Z_SIDE_WIDTH-1:0]            z_side;
  logic [2*LANES*FEATURE_WIDTH-1:0]   z_word;
  logic [Z_ADDR_WIDTH-1:0]            word_q;  // of the half
  logic [1:0]                         half_q;
  logic                               last_word;
  logic [11:0]                        unused_index;

  assign last_word = word_q == last_word_q;

  lawcat_stage_control #(.WIDTH(12)) u_control (
    .clk_i,
    .rst_ni,
    .valid_i(z_valid),
    .room_i(phi_room_i),
    .interval_i(interval_q),
    .start_o(start),
    .active_o(active),
    .last_o(last_cycle),
    .index_o(unused_index),
    .stall_o,
    .starve_o
  );
  assign busy_o = active;
  assign phi_reserve_o = start;

  lawcat_token_buffer #(
    .SLOTS(lawcat_arch_pkg::FIFO_TOKENS),
    .WORDS(MAX_WORDS),
    .WIDTH(2 * LANES * FEATURE_WIDTH),
    .SIDE_WIDTH(Z_SIDE_WIDTH)
  ) u_z (
    .clk_i,
    .rst_ni,
    .room_o(z_room_o),
    .reserve_i(z_reserve_i),
    .we_i(z_we_i),
    .waddr_i(z_addr_i),
    .wdata_i(z_data_i),
    .commit_i(z_commit_i),
    .side_i(z_side_i),
    .valid_o(z_valid),
    .side_o(z_side),
    .re_i(active),
    .raddr_i(word_q),
    .rdata_o(z_word),
    .release_i(last_cycle)
  );

  // A head-token in flight holds a slot of the next buffer, so there are never more of them than its slots.
  logic                                              side_ready, side_valid;
  logic [$clog2(lawcat_arch_pkg::FIFO_TOKENS+1)-1:0] unused_count;
  lawcat_fifo #(
    .WIDTH(SIDE_WIDTH),
    .DEPTH(lawcat_arch_pkg::FIFO_TOKENS)
  ) u_side (
    .clk_i,
    .rst_ni,
    .valid_i(start),
    .ready_o(side_ready),
    .data_i(z_side[SIDE_WIDTH-1:0]),
    .valid_o(side_valid),
    .ready_i(phi_commit_o),
    .data_o(phi_side_o),
    .count_o(unused_count)
  );
  `LAWCAT_ASSERT(side_has_room, !start || side_ready)
  `LAWCAT_ASSERT(side_is_there, !phi_commit_o || side_valid)

  // Bit i: i + 1 cycles after the read.
  logic [AT_POWER-1:0] valid_q;
  logic [AT_SUM-1:0]   first_q;
  logic [AT_OPEN-1:0]  last_q;
  logic [1:0]          half1_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      word_q  <= '0;
      half_q  <= '0;
      valid_q <= '0;
      first_q <= '0;
      last_q  <= '0;
    end else begin
      if (active) begin
        word_q <= last_word ? '0 : word_q + 1'b1;
        half_q <= half_q + 2'(last_word);
      end
      valid_q <= {valid_q[AT_POWER-2:0], active};
      first_q <= {first_q[AT_SUM-2:0], active && word_q == '0};
      last_q  <= {last_q[AT_OPEN-2:0], active && last_word};
    end
    half1_q <= half_q;
  end

  // The half's bound: largest z for softmax(z), smallest for softmax(-z).
  logic signed [FEATURE_WIDTH-1:0] bound_q;
  always_ff @(posedge clk_i)
    bound_q <= half_q[1] ? (half_q[0] ? z_side[SIDE_WIDTH+3*FEATURE_WIDTH +: FEATURE_WIDTH]
                                      : z_side[SIDE_WIDTH+2*FEATURE_WIDTH +: FEATURE_WIDTH])
                         : (half_q[0] ? z_side[SIDE_WIDTH+FEATURE_WIDTH +: FEATURE_WIDTH]
                                      : z_side[SIDE_WIDTH +: FEATURE_WIDTH]);

  logic [LANES*PHI_WIDTH-1:0]      powers;
  logic [LANES*(TERM_WIDTH+1)-1:0] terms;

  for (genvar l = 0; l < LANES; l++) begin : g_lane
    logic signed [FEATURE_WIDTH-1:0] z, upper_q, lower_q;
    logic [FEATURE_WIDTH-1:0]        distance_q;
    logic [BELOW_WIDTH-1:0]          below_q;
    logic [PRODUCT_WIDTH-1:0]        product;
    logic [Y_WIDTH+Y_DROP-1:0]       y;
    logic [Y_WIDTH-1:0]              y_q;
    logic [P-1:0]                    mantissa, mantissa_q;
    logic signed [EXPONENT_WIDTH-1:0] exponent;
    logic [RIGHT_WIDTH-1:0]          right_q;
    logic [P+5:0]                    shifted_q;
    logic [TERM_WIDTH-1:0]           term_q;

    assign z = half1_q[1] ? z_word[(LANES+l)*FEATURE_WIDTH +: FEATURE_WIDTH]
                          : z_word[l*FEATURE_WIDTH +: FEATURE_WIDTH];
    assign y = (Y_WIDTH + Y_DROP)'(product) + (Y_WIDTH + Y_DROP)'(1 << (Y_DROP - 1));

    always_ff @(posedge clk_i) begin
      upper_q    <= half1_q[0] ? z : bound_q;
      lower_q    <= half1_q[0] ? bound_q : z;
      distance_q <= upper_q - lower_q;
      y_q        <= y[Y_DROP +: Y_WIDTH];
    end
    if (FEATURE_WIDTH > CLAMP_WIDTH) begin : g_clamp
      always_ff @(posedge clk_i)
        below_q <= (distance_q[FEATURE_WIDTH-1:BELOW_WIDTH] != '0) ? '1 : distance_q[BELOW_WIDTH-1:0];
    end else begin : g_whole
      always_ff @(posedge clk_i) below_q <= distance_q;
    end

    lawcat_multiplier #(
      .A_WIDTH(CONSTANT_WIDTH + 1),
      .B_WIDTH(BELOW_WIDTH + 1),
      .STAGES(2)
    ) u_log2 (
      .clk_i,
      .a_i(LOG2E_ROUNDED[CONSTANT_WIDTH:0]),
      .b_i({1'b0, below_q}),
      .product_o(product)
    );

    lawcat_exp2 #(
      .Y_WIDTH(Y_WIDTH),
      .FRACTION(FRACTION + 3),
      .TABLE_BITS(lawcat_arch_pkg::EXP2_TABLE_BITS),
      .P(P),
      .EXPONENT_WIDTH(EXPONENT_WIDTH),
      .MIN_EXPONENT(lawcat_arch_pkg::PHI_MIN_EXPONENT)
    ) u_exp2 (
      .clk_i,
      .table_we_i,
      .table_select_i,
      .table_index_i,
      .table_data_i,
      .y_i(y_q),
      .mantissa_o(mantissa),
      .exponent_o(exponent)
    );
    assign powers[l*PHI_WIDTH +: PHI_WIDTH] = {exponent, mantissa};

    // In units of 2^-SUM_FRACTION: mantissa * 2^(5 - (1 - exponent)), exponent at most 1, ties up.
    always_ff @(posedge clk_i) begin
      right_q    <= RIGHT_WIDTH'(1) - exponent;
      mantissa_q <= mantissa;
      shifted_q  <= {mantissa_q, 6'b0} >> right_q;
      term_q     <= (last_q[AT_TERM-1] && !last_lanes_q[l]) ? '0 : shifted_q[P+5:1] + TERM_WIDTH'(shifted_q[0]);
    end
    assign terms[l*(TERM_WIDTH+1) +: TERM_WIDTH+1] = {1'b0, term_q};

    logic unused;
    assign unused = ^{product[PRODUCT_WIDTH-1], y[Y_DROP-1:0]};
  end

  // Sum of a half and its reciprocal.
  logic signed [TERM_WIDTH+LEVELS:0] word_sum;
  logic [SUM_WIDTH-1:0]              sum_q;
  logic [P-1:0]                      inverse, inverse_q;
  logic signed [11:0]                inverse_exponent, inverse_exponent_q;

  lawcat_adder_tree #(
    .COUNT(LANES),
    .WIDTH(TERM_WIDTH + 1)
  ) u_word_sum (
    .clk_i,
    .data_i(terms),
    .sum_o(word_sum)
  );
  always_ff @(posedge clk_i) sum_q <= (first_q[AT_SUM-1] ? '0 : sum_q) + SUM_WIDTH'(word_sum);

  lawcat_reciprocal #(
    .IN_WIDTH(SUM_WIDTH),
    .P(P),
    .TABLE_BITS(lawcat_arch_pkg::RECIPROCAL_TABLE_BITS)
  ) u_reciprocal (
    .clk_i,
    .table_we_i,
    .table_select_i,
    .table_index_i,
    .table_data_i,
    .integer_i(sum_q),
    .exponent_i(SUM_EXPONENT),
    .mantissa_o(inverse),
    .exponent_o(inverse_exponent)
  );

  // Delay memory, and the windows of n cycles in which a half leaves it.
  logic [POINTER_WIDTH-1:0]   write_q, read_q;
  logic [LANES*PHI_WIDTH-1:0] delayed, delayed_q;
  logic                       window_q, window_last;
  logic [Z_ADDR_WIDTH-1:0]    window_word_q;
  logic [1:0]                 window_half_q;

  lawcat_memory #(
    .WIDTH(LANES * PHI_WIDTH),
    .DEPTH(DELAY_DEPTH)
  ) u_delay (
    .clk_i,
    .we_i(valid_q[AT_POWER-1]),
    .waddr_i(write_q),
    .wdata_i(powers),
    .re_i(window_q),
    .raddr_i(read_q),
    .rdata_o(delayed)
  );

  assign window_last = window_word_q == last_word_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q       <= '0;
      read_q        <= '0;
      window_q      <= 1'b0;
      window_word_q <= '0;
      window_half_q <= '0;
    end else begin
      if (valid_q[AT_POWER-1]) write_q <= write_q + 1'b1;
      window_q <= last_q[AT_OPEN-1] || (window_q && !window_last);
      if (window_q) begin
        read_q        <= read_q + 1'b1;
        window_word_q <= window_last ? '0 : window_word_q + 1'b1;
        window_half_q <= window_half_q + 2'(window_last);
      end
    end
  end
  `LAWCAT_ASSERT(windows_do_not_overlap, !last_q[AT_OPEN-1] || !window_q || window_last)

  // Scaling. Bit i of a tag: i + 1 cycles after the read of the delay memory.
  localparam int AT_PHI = 9;
  logic [AT_PHI-1:0]         out_valid_q, out_end_q, out_commit_q;  // end: last word of a half
  logic [AT_PHI-1:0]         out_first_q;
  logic                      out_half_q, out_qk_q;
  logic [PHI_ADDR_WIDTH-1:0] out_addr_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      out_valid_q  <= '0;
      out_first_q  <= '0;
      out_end_q    <= '0;
      out_commit_q <= '0;
      out_half_q   <= 1'b0;
      out_qk_q     <= 1'b0;
      out_addr_q   <= '0;
    end else begin
      out_valid_q  <= {out_valid_q[AT_PHI-2:0], window_q};
      out_first_q  <= {out_first_q[AT_PHI-2:0], window_q && window_word_q == '0};
      out_end_q    <= {out_end_q[AT_PHI-2:0], window_q && window_last};
      out_commit_q <= {out_commit_q[AT_PHI-2:0], window_q && window_last && window_half_q == 2'd3};
      if (phi_we_o) begin
        out_addr_q <= (out_end_q[AT_PHI-1] && out_half_q) ? '0 : out_addr_q + 1'b1;
        out_half_q <= out_half_q ^ out_end_q[AT_PHI-1];
        out_qk_q   <= out_qk_q ^ (out_end_q[AT_PHI-1] && out_half_q);
      end
    end
    delayed_q <= delayed;
    if (out_first_q[0]) begin
      inverse_q          <= inverse;
      inverse_exponent_q <= inverse_exponent;
    end
  end
  assign phi_we_o     = out_valid_q[AT_PHI-1];
  assign phi_commit_o = out_commit_q[AT_PHI-1];
  assign phi_qk_o     = out_qk_q;
  assign phi_addr_o   = out_addr_q;

  for (genvar l = 0; l < LANES; l++) begin : g_scale
    logic signed [EXPONENT_WIDTH-1:0] power_exponent;
    logic signed [11:0]               sum_exponent_q, exponent_q, exponent;
    logic [2*P+1:0]                   product;
    logic [P-1:0]                     mantissa;
    logic [PHI_WIDTH-1:0]             phi_q, out_q;
    logic                             floor_q;

    assign power_exponent = delayed_q[l*PHI_WIDTH+P +: EXPONENT_WIDTH];
    lawcat_multiplier #(
      .A_WIDTH(P + 1),
      .B_WIDTH(P + 1),
      .STAGES(2)
    ) u_scale (
      .clk_i,
      .a_i({1'b0, delayed_q[l*PHI_WIDTH +: P]}),
      .b_i({1'b0, inverse_q}),
      .product_o(product)
    );
    always_ff @(posedge clk_i) begin
      sum_exponent_q <= 12'(power_exponent) + inverse_exponent_q;
      exponent_q     <= sum_exponent_q - 12'(2 * P);
    end
    lawcat_unsigned_float #(
      .IN_WIDTH(2 * P),
      .MIN_LEAD(2 * P - 1),
      .P(P),
      .EXPONENT_WIDTH(12),
      .MIN_EXPONENT(lawcat_arch_pkg::PHI_MIN_EXPONENT)
    ) u_float (
      .clk_i,
      .integer_i(product[2*P-1:0]),
      .exponent_i(exponent_q),
      .mantissa_o(mantissa),
      .exponent_o(exponent)
    );

    // The clamp: floats compare like their bits, exponent first.
    localparam logic signed [PHI_WIDTH-1:0] FLOOR =
        {EXPONENT_WIDTH'(lawcat_arch_pkg::PHI_FLOOR_EXPONENT), P'(lawcat_arch_pkg::PHI_FLOOR_MANTISSA)};
    always_ff @(posedge clk_i) begin
      phi_q   <= {exponent[EXPONENT_WIDTH-1:0], mantissa};
      floor_q <= !mantissa[P-1] || $signed({exponent[EXPONENT_WIDTH-1:0], mantissa}) < FLOOR;
      out_q   <= (out_end_q[AT_PHI-2] && !last_lanes_q[l]) ? '0 : floor_q ? FLOOR : phi_q;
    end
    assign phi_data_o[l*PHI_WIDTH +: PHI_WIDTH] = out_q;

    logic unused;  // signs of products of magnitudes; what the flush to zero keeps from the exponent
    assign unused = ^{product[2*P+1:2*P], exponent[11:EXPONENT_WIDTH]};
  end

  logic unused;
  assign unused = ^{unused_index, unused_count, out_first_q[AT_PHI-1:1], out_commit_q[AT_PHI-1]};
endmodule

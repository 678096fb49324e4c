// SPDX-License-Identifier: Apache-2.0
// Last arithmetic step of a head-token: numerators x 1 / denominator, rounded to the output format (the
// magnitude to nearest even, subnormals, saturating: round_output of backend/datapath.h), packed to beats.
//
// The reciprocal is taken while a token waits in the `sums` buffer: a token can start 1 + 9 cycles after its
// commit, 9 being the latency of lawcat_reciprocal. Then, with L = NORMALISE_LANES:
//   interval  ceil(head_dim / L) cycles, L outputs per cycle
//   depth     13 cycles: read 1, column select 2, magnitude 1, multiplier 2, lead 1, shift amount 1, shift 2,
//             rounding decision 1, increment 1, sign and packing 1
// `sums` word: SEGMENT numerators, index = segment; side, msb first: numerator exponent (12, signed),
// denominator exponent (12, signed), denominator (signed), 34 side bits. A denominator that is not positive
// makes all outputs 0.
// `out` word: a beat of ELEMENT_WIDTH containers, columns that do not exist are 0; index = beat. A float is
// sign, exponent code (1 for min_exponent, 0 for subnormals), mantissa; a negative one may round to -0.
// saturations_o: outputs clipped in this cycle.
`include "lawcat_assert.svh"

module lawcat_normalise #(
  localparam int LANES = lawcat_arch_pkg::NORMALISE_LANES,
  localparam int SEGMENT = lawcat_arch_pkg::SEGMENT,
  localparam int SUM_WIDTH = lawcat_arch_pkg::STATE_WIDTH + lawcat_arch_pkg::READOUT_WIDTH + 2,
  localparam int DENOMINATOR_WIDTH = lawcat_arch_pkg::NORM_WIDTH + lawcat_arch_pkg::READOUT_WIDTH + 2,
  localparam int EXPONENT_WIDTH = 12,
  localparam int SIDE_WIDTH = lawcat_arch_pkg::SIDE_WIDTH,
  localparam int SUMS_SIDE_WIDTH = 2 * EXPONENT_WIDTH + DENOMINATOR_WIDTH + SIDE_WIDTH,
  localparam int STREAM_WIDTH = lawcat_arch_pkg::STREAM_WIDTH,
  localparam int ELEMENT_WIDTH = lawcat_arch_pkg::ELEMENT_WIDTH,
  localparam int ELEMENTS = STREAM_WIDTH / ELEMENT_WIDTH,
  localparam int SEGMENTS = (lawcat_arch_pkg::MAX_HEAD_DIM + SEGMENT - 1) / SEGMENT,
  localparam int BEATS = (lawcat_arch_pkg::MAX_HEAD_DIM + ELEMENTS - 1) / ELEMENTS,
  localparam int SEGMENT_INDEX_WIDTH = (SEGMENTS > 1) ? $clog2(SEGMENTS) : 1,
  localparam int BEAT_INDEX_WIDTH = (BEATS > 1) ? $clog2(BEATS) : 1,
  localparam int COUNT_WIDTH = $clog2(LANES + 1)
) (
  input  logic                           clk_i,
  input  logic                           rst_ni,
  input  logic [7:0]                     head_dim_i,
  // reciprocal's table
  input  logic                           table_we_i,
  input  logic [1:0]                     table_select_i,
  input  logic [9:0]                     table_index_i,
  input  logic [63:0]                    table_data_i,
  // from state_update
  output logic                           sums_room_o,
  input  logic                           sums_reserve_i,
  input  logic                           sums_we_i,
  input  logic [SEGMENT_INDEX_WIDTH-1:0] sums_addr_i,
  input  logic [SEGMENT*SUM_WIDTH-1:0]   sums_data_i,
  input  logic                           sums_commit_i,
  input  logic [SUMS_SIDE_WIDTH-1:0]     sums_side_i,
  // to pack
  input  logic                           out_room_i,
  output logic                           out_reserve_o,
  output logic                           out_we_o,
  output logic [BEAT_INDEX_WIDTH-1:0]    out_addr_o,
  output logic [STREAM_WIDTH-1:0]        out_data_o,
  output logic                           out_commit_o,
  output logic [SIDE_WIDTH-1:0]          out_side_o,
  // for counters
  output logic                           busy_o,
  output logic                           stall_o,
  output logic                           starve_o,
  output logic [COUNT_WIDTH-1:0]         saturations_o
);
  localparam int PHI_P = lawcat_arch_pkg::PHI_P;
  localparam int FLOATING = lawcat_arch_pkg::OUTPUT_FLOATING;
  localparam int OUTPUT_WIDTH = lawcat_arch_pkg::OUTPUT_WIDTH;
  localparam int FIELD_WIDTH = lawcat_arch_pkg::OUTPUT_EXPONENT_WIDTH;
  localparam int FIELD_BITS = (FLOATING != 0) ? FIELD_WIDTH : 1;
  localparam int MANTISSA_WIDTH = lawcat_arch_pkg::OUTPUT_MANTISSA_WIDTH;
  localparam int MAGNITUDE_WIDTH = OUTPUT_WIDTH - 1;
  // Bits of a full significand, and the exponent of the last bit of the smallest numbers.
  localparam int PRECISION = (FLOATING != 0) ? MANTISSA_WIDTH + 1 : MAGNITUDE_WIDTH;
  localparam int LEAST = (FLOATING != 0) ? 2 - (1 << (FIELD_WIDTH - 1)) - MANTISSA_WIDTH
                                         : -lawcat_arch_pkg::OUTPUT_FRACTION;
  localparam int CODE_END = (FLOATING != 0) ? 1 << FIELD_WIDTH : 2;  // codes from here on saturate

  localparam int RECIPROCAL_LATENCY = 9;  // of lawcat_reciprocal
  localparam int DEPTH = 13;
  localparam int GROUPS = (lawcat_arch_pkg::MAX_HEAD_DIM + LANES - 1) / LANES;
  localparam int GROUP_WIDTH = $clog2(GROUPS + 1);
  localparam int SEGMENT_GROUPS = SEGMENT / LANES;
  localparam int LOW_WIDTH = $clog2(SEGMENT_GROUPS) / 2;  // the second select's part of a group's place
  localparam int HIGH_WIDTH = $clog2(SEGMENT_GROUPS) - LOW_WIDTH;
  localparam int GROUP_BITS = LANES * SUM_WIDTH;
  localparam int BLOCK_BITS = GROUP_BITS << LOW_WIDTH;
  localparam int PARTS = ELEMENTS / LANES;  // groups of a beat
  localparam int PART_WIDTH = (PARTS > 1) ? $clog2(PARTS) : 1;

  localparam int PRODUCT_WIDTH = SUM_WIDTH + PHI_P;
  localparam int LEAD_WIDTH = $clog2(PRODUCT_WIDTH + 1);
  localparam int CODE_WIDTH = EXPONENT_WIDTH + 3;
  // The product is shifted to the left until its binary point is above bit PRODUCT_WIDTH.
  localparam int WIDE = PRODUCT_WIDTH + PRECISION + 1;
  localparam int SHIFT_WIDTH = $clog2(WIDE);
  localparam int FINE_WIDTH = SHIFT_WIDTH / 2;

  `LAWCAT_REQUIRE(SEGMENT % LANES == 0 && (1 << $clog2(SEGMENT_GROUPS)) == SEGMENT_GROUPS,
                  "lawcat_normalise: SEGMENT is not NORMALISE_LANES times a power of two")
  `LAWCAT_REQUIRE(ELEMENTS % LANES == 0, "lawcat_normalise: a beat does not hold whole groups of outputs")
  `LAWCAT_REQUIRE(OUTPUT_WIDTH <= ELEMENT_WIDTH, "lawcat_normalise: outputs do not fit their containers")
  `LAWCAT_REQUIRE(CODE_END < (1 << (CODE_WIDTH - 1)), "lawcat_normalise: too many exponent codes")
  `LAWCAT_REQUIRE(LEAST > -1024 && LEAST < 1024, "lawcat_normalise: exponents do not fit their sums")

  // Shape, static while tokens are in flight.
  logic [GROUP_WIDTH-1:0] interval_q;
  logic [LANES-1:0]       last_mask_q;  // lanes whose column exists in a token's last group
  always_ff @(posedge clk_i) begin
    interval_q <= GROUP_WIDTH'((32'(head_dim_i) + LANES - 1) / LANES);
    for (int l = 0; l < LANES; l++) last_mask_q[l] <= ((32'(head_dim_i) - 1) & 32'(LANES - 1)) >= 32'(l);
  end

  // Buffer and reciprocal. The buffer's own valid is early: it lacks the inverse.
  logic                             start, active, last, sums_read;
  logic [GROUP_WIDTH-1:0]           group;
  logic [SEGMENT_INDEX_WIDTH-1:0]   segment;
  logic [SEGMENT*SUM_WIDTH-1:0]     sums_word;
  logic signed [EXPONENT_WIDTH-1:0] numerator_exponent;
  logic [SIDE_WIDTH-1:0]            side;
  logic                             sums_valid, inverse_valid, inverse_ready, inverse_push;
  logic [PHI_P-1:0]                 inverse_mantissa, reciprocal_mantissa;
  logic signed [EXPONENT_WIDTH-1:0] inverse_exponent, reciprocal_exponent, denominator_exponent;
  logic [DENOMINATOR_WIDTH-1:0]     denominator;
  logic                             positive;

  assign denominator = sums_side_i[SIDE_WIDTH +: DENOMINATOR_WIDTH];
  assign denominator_exponent = sums_side_i[SIDE_WIDTH + DENOMINATOR_WIDTH +: EXPONENT_WIDTH];
  assign positive = ~denominator[DENOMINATOR_WIDTH-1] & (denominator != '0);

  lawcat_token_buffer #(
    .SLOTS(lawcat_arch_pkg::FIFO_TOKENS),
    .WORDS(SEGMENTS),
    .WIDTH(SEGMENT * SUM_WIDTH),
    .SIDE_WIDTH(EXPONENT_WIDTH + SIDE_WIDTH)
  ) u_sums (
    .clk_i,
    .rst_ni,
    .room_o(sums_room_o),
    .reserve_i(sums_reserve_i),
    .we_i(sums_we_i),
    .waddr_i(sums_addr_i),
    .wdata_i(sums_data_i),
    .commit_i(sums_commit_i),
    .side_i({sums_side_i[SUMS_SIDE_WIDTH-1 -: EXPONENT_WIDTH], sums_side_i[SIDE_WIDTH-1:0]}),
    .valid_o(sums_valid),
    .side_o({numerator_exponent, side}),
    .re_i(sums_read),
    .raddr_i(segment),
    .rdata_o(sums_word),
    .release_i(last)
  );

  lawcat_reciprocal #(
    .IN_WIDTH(DENOMINATOR_WIDTH),
    .P(PHI_P),
    .TABLE_BITS(lawcat_arch_pkg::RECIPROCAL_TABLE_BITS),
    .SELECT(2)
  ) u_reciprocal (
    .clk_i,
    .table_we_i,
    .table_select_i,
    .table_index_i,
    .table_data_i,
    .integer_i(denominator),
    .exponent_i(denominator_exponent),
    .mantissa_o(reciprocal_mantissa),
    .exponent_o(reciprocal_exponent)
  );

  logic [RECIPROCAL_LATENCY-1:0] commit_q, positive_q;
  assign inverse_push = commit_q[RECIPROCAL_LATENCY-1];
  always_ff @(posedge clk_i) begin
    positive_q <= RECIPROCAL_LATENCY'({positive_q, positive});
    if (!rst_ni) commit_q <= '0;
    else commit_q <= RECIPROCAL_LATENCY'({commit_q, sums_commit_i});
  end

  /* verilator lint_off PINCONNECTEMPTY */  // the number of words held is not needed
  lawcat_fifo #(
    .WIDTH(EXPONENT_WIDTH + PHI_P),
    .DEPTH(lawcat_arch_pkg::FIFO_TOKENS)
  ) u_inverse (
    .clk_i,
    .rst_ni,
    .valid_i(inverse_push),
    .ready_o(inverse_ready),
    .data_i({reciprocal_exponent, positive_q[RECIPROCAL_LATENCY-1] ? reciprocal_mantissa : PHI_P'(0)}),
    .valid_o(inverse_valid),
    .ready_i(last),
    .data_o({inverse_exponent, inverse_mantissa}),
    .count_o()
  );
  /* verilator lint_on PINCONNECTEMPTY */
  `LAWCAT_ASSERT(an_inverse_has_its_place, inverse_ready || !inverse_push)
  `LAWCAT_ASSERT(an_inverse_has_its_sums, sums_valid || !inverse_valid)

  lawcat_stage_control #(
    .WIDTH(GROUP_WIDTH)
  ) u_control (
    .clk_i,
    .rst_ni,
    .valid_i(inverse_valid),
    .room_i(out_room_i),
    .interval_i(interval_q),
    .start_o(start),
    .active_o(active),
    .last_o(last),
    .index_o(group),
    .stall_o,
    .starve_o
  );
  assign busy_o = active;
  assign out_reserve_o = start;

  // What belongs to a group of outputs, by the number of cycles since its read.
  logic [DEPTH-1:1]            valid_q, last_q;
  logic [DEPTH*SIDE_WIDTH-1:0] side_q;
  always_ff @(posedge clk_i) begin
    last_q <= (DEPTH - 1)'({last_q, last});
    if (!rst_ni) valid_q <= '0;
    else valid_q <= (DEPTH - 1)'({valid_q, active});
    side_q <= {side_q[(DEPTH-1)*SIDE_WIDTH-1:0], side};
  end

  // A segment is read once and held by the memory; its groups are selected in two steps.
  logic [31:0]           place;
  logic [HIGH_WIDTH:0]   high_1;
  logic [LOW_WIDTH:0]    low_1, low_2;
  logic [BLOCK_BITS-1:0] block_2;
  logic [GROUP_BITS-1:0] group_3;
  assign place = 32'(group) & 32'(SEGMENT_GROUPS - 1);
  assign segment = SEGMENT_INDEX_WIDTH'(32'(group) / SEGMENT_GROUPS);
  assign sums_read = active & (place == '0);
  always_ff @(posedge clk_i) begin
    high_1  <= (HIGH_WIDTH + 1)'(place >> LOW_WIDTH);
    low_1   <= (LOW_WIDTH + 1)'(place % (1 << LOW_WIDTH));
    low_2   <= low_1;
    block_2 <= sums_word[high_1*BLOCK_BITS +: BLOCK_BITS];
    group_3 <= block_2[low_2*GROUP_BITS +: GROUP_BITS];
  end

  // Scalars of the token: a product's exponent code is its lead less code_offset; floor_shift is the shift of
  // products below the normal range, 0 where nothing of them is left.
  logic [PHI_P-1:0]                 mantissa_1, mantissa_2, mantissa_3, mantissa_4;
  logic signed [EXPONENT_WIDTH-1:0] numerator_exponent_1, inverse_exponent_1;
  logic signed [CODE_WIDTH-1:0]     floor_2, floor_shift_3;
  logic signed [CODE_WIDTH-1:0]     code_offset_3, code_offset_4, code_offset_5, code_offset_6, code_offset_7;
  logic [SHIFT_WIDTH-1:0]           floor_shift_4, floor_shift_5, floor_shift_6, floor_shift_7;
  always_ff @(posedge clk_i) begin
    mantissa_1 <= inverse_mantissa;
    mantissa_2 <= mantissa_1;
    mantissa_3 <= mantissa_2;
    mantissa_4 <= mantissa_3;
    numerator_exponent_1 <= numerator_exponent;
    inverse_exponent_1   <= inverse_exponent;
    // Right shift that leaves units of 2^LEAST.
    floor_2 <= CODE_WIDTH'(LEAST + PHI_P) - CODE_WIDTH'(numerator_exponent_1) -
               CODE_WIDTH'(inverse_exponent_1);
    code_offset_3 <= floor_2 + CODE_WIDTH'(PRECISION - 1);
    code_offset_4 <= code_offset_3;
    code_offset_5 <= code_offset_4;
    code_offset_6 <= code_offset_5;
    code_offset_7 <= code_offset_6;
    floor_shift_3 <= CODE_WIDTH'(PRODUCT_WIDTH + 1) - floor_2;
    floor_shift_4 <= floor_shift_3[CODE_WIDTH-1] ? '0 : SHIFT_WIDTH'(floor_shift_3);
    floor_shift_5 <= floor_shift_4;
    floor_shift_6 <= floor_shift_5;
    floor_shift_7 <= floor_shift_6;
  end

  logic [LANES*ELEMENT_WIDTH-1:0] element_12;  // combinational: registered in the beat
  logic [LANES-1:0]               clipped_12;
  logic [LANES-1:0]               mask_12;
  assign mask_12 = {LANES{valid_q[DEPTH-1]}} & ({LANES{~last_q[DEPTH-1]}} | last_mask_q);

  for (genvar l = 0; l < LANES; l++) begin : g_lane
    logic signed [SUM_WIDTH-1:0]        sum_3;
    logic [SUM_WIDTH-1:0]               magnitude_4;
    logic signed [PRODUCT_WIDTH+1:0]    product_6;
    logic [PRODUCT_WIDTH-1:0]           product_7, product_8;
    logic [LEAD_WIDTH-1:0]              lead_6, lead_7;
    logic signed [CODE_WIDTH-1:0]       code_7;
    logic                               normal_7, nonzero_7, nonzero_8, nonzero_9, nonzero_10, nonzero_11;
    logic [SHIFT_WIDTH-1:0]             shift_8;
    logic [FINE_WIDTH-1:0]              shift_9;
    logic [FIELD_BITS-1:0]              field_8, field_9, field_10;
    logic                               over_8, over_9, over_10, over_11, over_12;
    logic [WIDE-1:0]                    wide_9, wide_10;
    logic                               up_11, sign_12;
    logic [7:0]                         sign_q;  // cycles 4 to 11
    logic [MAGNITUDE_WIDTH-1:0]         magnitude_10, magnitude_11;
    logic [MAGNITUDE_WIDTH:0]           magnitude_12;
    logic [MAGNITUDE_WIDTH-1:0]         result_12;

    assign sum_3 = group_3[l*SUM_WIDTH +: SUM_WIDTH];

    lawcat_multiplier #(
      .A_WIDTH(SUM_WIDTH + 1),
      .B_WIDTH(PHI_P + 1),
      .STAGES(2)
    ) u_multiplier (
      .clk_i,
      .a_i({1'b0, magnitude_4}),
      .b_i({1'b0, mantissa_4}),
      .product_o(product_6)
    );
    logic unused_product_6;
    assign unused_product_6 = ^product_6[PRODUCT_WIDTH+1:PRODUCT_WIDTH];  // two signs, both 0

    lawcat_lead_bits #(
      .WIDTH(PRODUCT_WIDTH)
    ) u_lead (
      .data_i(product_6[PRODUCT_WIDTH-1:0]),
      .lead_o(lead_6)
    );

    // Code 1 is the lowest normal binade; below it the last bit stays at 2^LEAST.
    assign code_7 = CODE_WIDTH'({1'b0, lead_7}) - code_offset_7;
    assign normal_7 = ~code_7[CODE_WIDTH-1] & (code_7 != '0);
    assign nonzero_7 = lead_7 != '0;

    if (FLOATING != 0) begin : g_float
      assign magnitude_10 = {field_10, wide_10[PRODUCT_WIDTH+1 +: MANTISSA_WIDTH]};
      assign element_12[l*ELEMENT_WIDTH +: ELEMENT_WIDTH] =
          mask_12[l] ? ELEMENT_WIDTH'({sign_12, result_12}) : '0;
    end else begin : g_fixed
      assign magnitude_10 = wide_10[WIDE-1 -: MAGNITUDE_WIDTH];
      logic unused_field;
      assign unused_field = ^field_10;
      logic signed [ELEMENT_WIDTH-1:0] positive_12;
      assign positive_12 = ELEMENT_WIDTH'(result_12);
      assign element_12[l*ELEMENT_WIDTH +: ELEMENT_WIDTH] =
          !mask_12[l] ? '0 : sign_12 ? -positive_12 : positive_12;
    end

    assign clipped_12[l] = (over_12 | magnitude_12[MAGNITUDE_WIDTH]) & mask_12[l];
    assign result_12 = (over_12 | magnitude_12[MAGNITUDE_WIDTH]) ? '1 : magnitude_12[MAGNITUDE_WIDTH-1:0];

    always_ff @(posedge clk_i) begin
      magnitude_4 <= sum_3[SUM_WIDTH-1] ? -sum_3 : sum_3;
      sign_q      <= {sign_q[6:0], sum_3[SUM_WIDTH-1]};
      product_7   <= product_6[PRODUCT_WIDTH-1:0];
      lead_7      <= lead_6;
      product_8   <= product_7;
      shift_8     <= normal_7 ? SHIFT_WIDTH'(WIDE) - SHIFT_WIDTH'(lead_7) : floor_shift_7;
      nonzero_8   <= nonzero_7;
      field_8     <= (normal_7 && nonzero_7) ? FIELD_BITS'(code_7) : '0;
      over_8      <= normal_7 && nonzero_7 && code_7 >= CODE_WIDTH'(CODE_END);
      wide_9      <= WIDE'(product_8) << {shift_8[SHIFT_WIDTH-1:FINE_WIDTH], FINE_WIDTH'(0)};
      shift_9     <= shift_8[FINE_WIDTH-1:0];
      {nonzero_9, field_9, over_9} <= {nonzero_8, field_8, over_8};
      wide_10     <= wide_9 << shift_9;
      {nonzero_10, field_10, over_10} <= {nonzero_9, field_9, over_9};
      up_11       <= wide_10[PRODUCT_WIDTH] & (wide_10[PRODUCT_WIDTH+1] | (wide_10[PRODUCT_WIDTH-1:0] != '0));
      magnitude_11 <= magnitude_10;
      {nonzero_11, over_11} <= {nonzero_10, over_10};
      // A carry out of the mantissa steps the exponent field: the next binade's first number.
      magnitude_12 <= (MAGNITUDE_WIDTH + 1)'(magnitude_11) + (MAGNITUDE_WIDTH + 1)'(up_11);
      sign_12     <= sign_q[7] & nonzero_11;
      over_12     <= over_11;
    end
  end

  // Beats. The first group of a beat clears the rest of it.
  logic [PART_WIDTH-1:0]       part_q;
  logic [BEAT_INDEX_WIDTH-1:0] beat_q;
  logic                        beat_end;
  logic [COUNT_WIDTH-1:0]      clipped_count;
  assign beat_end = (32'(part_q) == PARTS - 1) | last_q[DEPTH-1];
  always_comb begin
    clipped_count = '0;
    for (int l = 0; l < LANES; l++) clipped_count = clipped_count + COUNT_WIDTH'(clipped_12[l]);
  end
  always_ff @(posedge clk_i) begin
    if (valid_q[DEPTH-1]) begin
      if (part_q == '0) out_data_o <= STREAM_WIDTH'(element_12);
      else out_data_o[part_q*LANES*ELEMENT_WIDTH +: LANES*ELEMENT_WIDTH] <= element_12;
    end
    out_addr_o <= beat_q;
    saturations_o <= clipped_count;
    if (!rst_ni) begin
      part_q       <= '0;
      beat_q       <= '0;
      out_we_o     <= 1'b0;
      out_commit_o <= 1'b0;
    end else begin
      out_we_o     <= valid_q[DEPTH-1] & beat_end;
      out_commit_o <= valid_q[DEPTH-1] & last_q[DEPTH-1];
      if (valid_q[DEPTH-1]) begin
        part_q <= beat_end ? '0 : part_q + 1'b1;
        if (beat_end) beat_q <= last_q[DEPTH-1] ? '0 : beat_q + 1'b1;
      end
    end
  end
  assign out_side_o = side_q[DEPTH*SIDE_WIDTH-1 -: SIDE_WIDTH];
endmodule

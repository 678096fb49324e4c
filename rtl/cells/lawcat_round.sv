// SPDX-License-Identifier: Apache-2.0
// data_i * 2^-SHIFT as an integer, combinational: the shifts of numerics/rounding.h by a constant. Rounding up may
// carry into one bit more. random_i counts in MODE 2 only: the top SHIFT bits of the element's 32 random bits.
`include "lawcat_assert.svh"

module lawcat_round #(
  parameter int IN_WIDTH = 32,
  parameter int SHIFT    = 8,
  parameter int MODE     = 1,  // 0 truncate, 1 nearest, ties to even, 2 stochastic, 3 half up
  localparam int RANDOM_WIDTH = (SHIFT > 0) ? SHIFT : 1,
  localparam int OUT_WIDTH = IN_WIDTH - SHIFT + 1
) (
  input  logic signed [IN_WIDTH-1:0]     data_i,
  input  logic        [RANDOM_WIDTH-1:0] random_i,
  output logic signed [OUT_WIDTH-1:0]    data_o
);
  `LAWCAT_REQUIRE(SHIFT >= 0 && SHIFT < IN_WIDTH, "lawcat_round: SHIFT is in 0..IN_WIDTH - 1")
  `LAWCAT_REQUIRE(MODE >= 0 && MODE <= 3, "lawcat_round: MODE is 0, 1, 2 or 3")
  `LAWCAT_REQUIRE(MODE != 2 || SHIFT <= 32, "lawcat_round: stochastic rounding drops at most 32 bits")

  logic up;  // beside the floor

  if (SHIFT == 0 || MODE == 0) begin : g_truncate
    assign up = 1'b0;
  end else if (MODE == 2) begin : g_stochastic
    logic [SHIFT:0] sum;
    assign sum = {1'b0, data_i[RANDOM_WIDTH-1:0]} + {1'b0, random_i};
    assign up  = sum[SHIFT];
    logic unused_sum;
    assign unused_sum = ^sum[RANDOM_WIDTH-1:0];
  end else if (MODE == 1) begin : g_nearest_even
    logic [RANDOM_WIDTH-1:0] odd_or_above;  // the half itself rounds up only to an even result
    assign odd_or_above = {data_i[RANDOM_WIDTH-1:0]} << 1;
    assign up = data_i[RANDOM_WIDTH-1] & (data_i[SHIFT] | (odd_or_above != '0));
  end else begin : g_half_up
    assign up = data_i[RANDOM_WIDTH-1];
  end

  assign data_o = OUT_WIDTH'($signed(data_i[IN_WIDTH-1:SHIFT])) + $signed({{(OUT_WIDTH - 1) {1'b0}}, up});

  if (SHIFT == 0 || MODE != 2) begin : g_unused
    logic unused;
    assign unused = ^{random_i, data_i[RANDOM_WIDTH-1:0]};
  end
endmodule

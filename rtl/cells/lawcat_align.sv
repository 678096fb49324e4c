// SPDX-License-Identifier: Apache-2.0
// shift_half_up of numerics/rounding.h by a shift n that is known at run time, without its adder: the result is
// whole_o + half_o, and the consumer's adder takes half_o as its carry in. Combinational: one right shifter.
// right_i = n + MAX_LEFT, cut to 0..2^SHIFT_WIDTH - 1, computed once for all lanes that share n; so left shifts end
// at MAX_LEFT, and right shifts of IN_WIDTH and more give 0. SHIFT_WIDTH is the number of the shifter's levels.
// The caller knows that the result fits OUT_WIDTH bits.
`include "lawcat_assert.svh"

module lawcat_align #(
  parameter int IN_WIDTH    = 24,
  parameter int OUT_WIDTH   = 24,
  parameter int SHIFT_WIDTH = 8,
  parameter int MAX_LEFT    = 16
) (
  input  logic signed [IN_WIDTH-1:0]    data_i,
  input  logic        [SHIFT_WIDTH-1:0] right_i,
  output logic signed [OUT_WIDTH-1:0]   whole_o,  // floor(data_i * 2^-n)
  output logic                          half_o    // the binary place below
);
  `LAWCAT_REQUIRE(IN_WIDTH >= 1 && OUT_WIDTH >= 1 && MAX_LEFT >= 0,
                  "lawcat_align: IN_WIDTH and OUT_WIDTH are at least 1, MAX_LEFT at least 0")
  `LAWCAT_REQUIRE((1 << SHIFT_WIDTH) > IN_WIDTH + MAX_LEFT,
                  "lawcat_align: SHIFT_WIDTH holds IN_WIDTH + MAX_LEFT, where nothing is left")

  localparam int WIDE = IN_WIDTH + MAX_LEFT + 1;

  logic signed [WIDE-1:0] wide, shifted;

  assign wide    = {data_i, {(MAX_LEFT + 1) {1'b0}}};
  assign shifted = wide >>> right_i;
  assign half_o  = shifted[0];
  if (WIDE - 1 <= OUT_WIDTH) begin : g_extend
    assign whole_o = OUT_WIDTH'($signed(shifted[WIDE-1:1]));
  end else begin : g_cut
    assign whole_o = shifted[OUT_WIDTH:1];
    logic unused;
    assign unused = ^shifted[WIDE-1:OUT_WIDTH+1];
  end
endmodule

// SPDX-License-Identifier: Apache-2.0
// data_i cut to the range of OUT_WIDTH signed bits, and whether that changed it. Combinational.
`include "lawcat_assert.svh"

module lawcat_saturate #(
  parameter int IN_WIDTH  = 24,
  parameter int OUT_WIDTH = 16
) (
  input  logic signed [IN_WIDTH-1:0]  data_i,
  output logic signed [OUT_WIDTH-1:0] data_o,
  output logic                        clipped_o
);
  `LAWCAT_REQUIRE(IN_WIDTH >= 1, "lawcat_saturate: IN_WIDTH is at least 1")
  `LAWCAT_REQUIRE(OUT_WIDTH >= 2, "lawcat_saturate: OUT_WIDTH is at least 2")

  if (IN_WIDTH <= OUT_WIDTH) begin : g_fits
    assign clipped_o = 1'b0;
    assign data_o    = OUT_WIDTH'(data_i);
  end else begin : g_cut
    logic sign;
    assign sign      = data_i[IN_WIDTH-1];
    assign clipped_o = data_i[IN_WIDTH-2:OUT_WIDTH-1] != {(IN_WIDTH - OUT_WIDTH) {sign}};
    assign data_o    = clipped_o ? {sign, {(OUT_WIDTH - 1) {~sign}}} : data_i[OUT_WIDTH-1:0];
  end
endmodule

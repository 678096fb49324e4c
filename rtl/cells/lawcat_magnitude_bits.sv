// SPDX-License-Identifier: Apache-2.0
// magnitude_bits of numerics/rounding.h: the bits of |data_i| that matter for its size, without an adder.
// Combinational. |x| <= 2^bit_width(bits_o), equality only for negative powers of two.
`include "lawcat_assert.svh"

module lawcat_magnitude_bits #(
  parameter int WIDTH = 16
) (
  input  logic signed [WIDTH-1:0] data_i,
  output logic        [WIDTH-2:0] bits_o
);
  `LAWCAT_REQUIRE(WIDTH >= 2, "lawcat_magnitude_bits: WIDTH is at least 2")

  logic sign;
  assign sign   = data_i[WIDTH-1];
  assign bits_o = (data_i[WIDTH-2:0] ^ {(WIDTH - 1) {sign}}) | (WIDTH - 1)'(sign);
endmodule

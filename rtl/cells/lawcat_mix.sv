// SPDX-License-Identifier: Apache-2.0
// mix32 of numerics/rounding.h. Latency 4, one word per cycle. Each of its two products by a constant takes two
// cycles: products of 16-bit halves, then their sum.
module lawcat_mix (
  input  logic        clk_i,
  input  logic [31:0] data_i,
  output logic [31:0] data_o
);
  localparam logic [31:0] FIRST = 32'h85eb_ca6b;
  localparam logic [31:0] SECOND = 32'hc2b2_ae35;

  logic [31:0] data, first, first_low_q, middle_q, second, second_low_q, mixed_q;
  logic [15:0] first_cross_q, first_high_q, second_cross_q, second_high_q;  // what counts from bit 16

  assign data   = data_i ^ (data_i >> 16);
  assign first  = first_low_q + {first_cross_q + first_high_q, 16'b0};
  assign second = second_low_q + {second_cross_q + second_high_q, 16'b0};
  assign data_o = mixed_q;

  always_ff @(posedge clk_i) begin
    first_low_q    <= {16'b0, data[15:0]} * {16'b0, FIRST[15:0]};
    first_cross_q  <= data[15:0] * FIRST[31:16];
    first_high_q   <= data[31:16] * FIRST[15:0];
    middle_q       <= first ^ (first >> 13);
    second_low_q   <= {16'b0, middle_q[15:0]} * {16'b0, SECOND[15:0]};
    second_cross_q <= middle_q[15:0] * SECOND[31:16];
    second_high_q  <= middle_q[31:16] * SECOND[15:0];
    mixed_q        <= second ^ (second >> 16);
  end
endmodule

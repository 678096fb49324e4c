// SPDX-License-Identifier: Apache-2.0
// a_i * b_i, signed, exact. Latency STAGES, one product per cycle. With 2 stages b is cut: the products with its two
// halves are registered, then their sum.
`include "lawcat_assert.svh"

module lawcat_multiplier #(
  parameter int A_WIDTH = 16,
  parameter int B_WIDTH = 16,
  parameter int STAGES  = 1,
  localparam int PRODUCT_WIDTH = A_WIDTH + B_WIDTH
) (
  input  logic                            clk_i,
  input  logic signed [A_WIDTH-1:0]       a_i,
  input  logic signed [B_WIDTH-1:0]       b_i,
  output logic signed [PRODUCT_WIDTH-1:0] product_o
);
  `LAWCAT_REQUIRE(A_WIDTH >= 1 && B_WIDTH >= 1, "lawcat_multiplier: A_WIDTH and B_WIDTH are at least 1")
  `LAWCAT_REQUIRE(STAGES == 1 || STAGES == 2, "lawcat_multiplier: STAGES is 1 or 2")
  `LAWCAT_REQUIRE(STAGES == 1 || B_WIDTH >= 2, "lawcat_multiplier: B_WIDTH is at least 2 with 2 STAGES")

  logic signed [PRODUCT_WIDTH-1:0] product_q;
  assign product_o = product_q;

  if (STAGES == 1) begin : g_one
    always_ff @(posedge clk_i) product_q <= PRODUCT_WIDTH'(a_i) * PRODUCT_WIDTH'(b_i);
  end else begin : g_two
    localparam int LOW = B_WIDTH / 2;
    localparam int HIGH = B_WIDTH - LOW;
    logic signed [A_WIDTH+LOW:0]    low_q;  // the low half has no sign: one bit more
    logic signed [A_WIDTH+HIGH-1:0] high_q;
    always_ff @(posedge clk_i) begin
      low_q     <= (A_WIDTH + LOW + 1)'(a_i) * (A_WIDTH + LOW + 1)'($signed({1'b0, b_i[LOW-1:0]}));
      high_q    <= (A_WIDTH + HIGH)'(a_i) * (A_WIDTH + HIGH)'($signed(b_i[B_WIDTH-1:LOW]));
      product_q <= PRODUCT_WIDTH'(low_q) + $signed({high_q, {LOW{1'b0}}});
    end
  end
endmodule

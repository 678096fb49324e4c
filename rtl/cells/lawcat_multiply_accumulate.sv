// SPDX-License-Identifier: Apache-2.0
// Sum of products: with enable_i, a_i * b_i is added to the sum, or starts it anew with clear_i; without, the sum
// stays. sum_o shows operands of cycle t from t + STAGES + 1 on; one product per cycle. The caller knows that the
// sum fits. There is no reset: the first clear_i makes the sum known.
`include "lawcat_assert.svh"

module lawcat_multiply_accumulate #(
  parameter int A_WIDTH   = 16,
  parameter int B_WIDTH   = 16,
  parameter int SUM_WIDTH = 40,
  parameter int STAGES    = 1  // of the multiplier
) (
  input  logic                        clk_i,
  input  logic                        enable_i,
  input  logic                        clear_i,
  input  logic signed [A_WIDTH-1:0]   a_i,
  input  logic signed [B_WIDTH-1:0]   b_i,
  output logic signed [SUM_WIDTH-1:0] sum_o
);
  `LAWCAT_REQUIRE(SUM_WIDTH >= A_WIDTH + B_WIDTH,
                  "lawcat_multiply_accumulate: SUM_WIDTH is at least A_WIDTH + B_WIDTH")

  logic signed [A_WIDTH+B_WIDTH-1:0] product;
  logic signed [SUM_WIDTH-1:0]       sum_q;
  logic                              enable, clear;  // beside the product

  lawcat_multiplier #(
    .A_WIDTH(A_WIDTH),
    .B_WIDTH(B_WIDTH),
    .STAGES(STAGES)
  ) u_multiplier (
    .clk_i,
    .a_i,
    .b_i,
    .product_o(product)
  );

  if (STAGES == 1) begin : g_one
    logic enable_q, clear_q;
    always_ff @(posedge clk_i) {enable_q, clear_q} <= {enable_i, clear_i};
    assign {enable, clear} = {enable_q, clear_q};
  end else begin : g_two
    logic [1:0] enable_q, clear_q;
    always_ff @(posedge clk_i) begin
      enable_q <= {enable_q[0], enable_i};
      clear_q  <= {clear_q[0], clear_i};
    end
    assign {enable, clear} = {enable_q[1], clear_q[1]};
  end

  always_ff @(posedge clk_i) begin
    if (enable) sum_q <= (clear ? '0 : sum_q) + SUM_WIDTH'(product);
  end
  assign sum_o = sum_q;
endmodule

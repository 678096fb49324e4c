// SPDX-License-Identifier: Apache-2.0
// Register stage of a valid/ready channel that cuts every path through it: latency 1, one word per cycle, all
// outputs registers. The word that arrives while the consumer stops waits in a second register, the skid.
`include "lawcat_assert.svh"

module lawcat_skid_buffer #(
  parameter int WIDTH = 16
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             valid_i,
  output logic             ready_o,
  input  logic [WIDTH-1:0] data_i,
  output logic             valid_o,
  input  logic             ready_i,
  output logic [WIDTH-1:0] data_o
);
  `LAWCAT_REQUIRE(WIDTH >= 1, "lawcat_skid_buffer: WIDTH is at least 1")

  logic             ready_q, valid_q;  // the skid is empty; the output register is full
  logic [WIDTH-1:0] data_q, skid_q;
  logic             moves;  // the output register takes a word, or is left empty

  assign ready_o = ready_q;
  assign valid_o = valid_q;
  assign data_o  = data_q;
  assign moves   = ready_i | ~valid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ready_q <= 1'b1;
      valid_q <= 1'b0;
    end else begin
      ready_q <= moves | (ready_q & ~valid_i);
      if (moves) valid_q <= valid_i | ~ready_q;
    end
    if (moves) data_q <= ready_q ? data_i : skid_q;
    if (ready_q) skid_q <= data_i;
  end

  `LAWCAT_ASSERT(skid_waits_only_behind_a_word, ready_q || valid_q)
endmodule

// SPDX-License-Identifier: Apache-2.0
// Memory with one write and one read port. A read of address a in cycle t gives its data in t + 1; a read of the
// word that is written in the same cycle gives the old one. Contents are not reset. Stands for a macro: synthesis
// scripts replace it by name.
// Not counted as coverage: what goes in and out is, where it is used.
`include "lawcat_assert.svh"

// verilator coverage_off
module lawcat_memory #(
  parameter int WIDTH = 16,
  parameter int DEPTH = 16,
  localparam int ADDRESS_WIDTH = (DEPTH > 1) ? $clog2(DEPTH) : 1
) (
  input  logic                     clk_i,
  input  logic                     we_i,
  input  logic [ADDRESS_WIDTH-1:0] waddr_i,
  input  logic [WIDTH-1:0]         wdata_i,
  input  logic                     re_i,
  input  logic [ADDRESS_WIDTH-1:0] raddr_i,
  output logic [WIDTH-1:0]         rdata_o
);
  `LAWCAT_REQUIRE(WIDTH >= 1 && DEPTH >= 1, "lawcat_memory: WIDTH and DEPTH are at least 1")

  logic [WIDTH-1:0] words [0:DEPTH-1];

  always_ff @(posedge clk_i) begin
    if (we_i) words[waddr_i] <= wdata_i;
    if (re_i) rdata_o <= words[raddr_i];
  end
endmodule
// verilator coverage_on

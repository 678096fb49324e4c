// SPDX-License-Identifier: Apache-2.0
// FIFO with valid/ready on both sides. A word taken in cycle t is offered in t + 1; one word per cycle both ways as
// long as it is neither full nor empty. ready_o, valid_o and data_o come from registers: a full FIFO takes a word
// only in the cycle after one has left, so DEPTH >= 2 is needed for one word per cycle.
`include "lawcat_assert.svh"

module lawcat_fifo #(
  parameter int WIDTH = 16,
  parameter int DEPTH = 4,
  localparam int COUNT_WIDTH = $clog2(DEPTH + 1)
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   valid_i,
  output logic                   ready_o,
  input  logic [WIDTH-1:0]       data_i,
  output logic                   valid_o,
  input  logic                   ready_i,
  output logic [WIDTH-1:0]       data_o,
  output logic [COUNT_WIDTH-1:0] count_o  // words held
);
  `LAWCAT_REQUIRE(WIDTH >= 1, "lawcat_fifo: WIDTH is at least 1")
  `LAWCAT_REQUIRE(DEPTH >= 1, "lawcat_fifo: DEPTH is at least 1")

  localparam int POINTER_WIDTH = (DEPTH > 1) ? $clog2(DEPTH) : 1;

  // Words are not counted as coverage: what goes in and out is, where it is used.
  // verilator coverage_off
  logic [WIDTH-1:0]         words [0:DEPTH-1];
  // verilator coverage_on
  logic [POINTER_WIDTH-1:0] write_q, read_q;
  logic [COUNT_WIDTH-1:0]   count_q;
  logic                     push, pop;

  function automatic logic [POINTER_WIDTH-1:0] next_place(input logic [POINTER_WIDTH-1:0] place);
    next_place = (place == POINTER_WIDTH'(DEPTH - 1)) ? '0 : place + 1'b1;
  endfunction

  assign ready_o = count_q != COUNT_WIDTH'(DEPTH);
  assign valid_o = count_q != '0;
  assign data_o  = words[read_q];
  assign count_o = count_q;
  assign push    = valid_i & ready_o;
  assign pop     = valid_o & ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= '0;
      read_q  <= '0;
      count_q <= '0;
    end else begin
      if (push) write_q <= next_place(write_q);
      if (pop) read_q <= next_place(read_q);
      count_q <= count_q + COUNT_WIDTH'(push) - COUNT_WIDTH'(pop);
    end
    if (push) words[write_q] <= data_i;
  end

  `LAWCAT_ASSERT(places_exist, 32'(write_q) < DEPTH && 32'(read_q) < DEPTH)
  `LAWCAT_ASSERT(count_is_the_distance_of_the_places,
                 (32'(read_q) + 32'(count_q) == 32'(write_q)) || (32'(read_q) + 32'(count_q) == 32'(write_q) + DEPTH))
endmodule

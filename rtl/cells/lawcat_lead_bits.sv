// SPDX-License-Identifier: Apache-2.0
// std::bit_width of data_i: the place of its leading one, counted from 1; 0 for 0. Combinational, depth of the order
// of log2(WIDTH): the ones are spread downwards, which leaves one edge, whose place is encoded.
`include "lawcat_assert.svh"

module lawcat_lead_bits #(
  parameter int WIDTH = 16,
  localparam int LEAD_WIDTH = $clog2(WIDTH + 1)
) (
  input  logic [WIDTH-1:0]      data_i,
  output logic [LEAD_WIDTH-1:0] lead_o
);
  `LAWCAT_REQUIRE(WIDTH >= 1, "lawcat_lead_bits: WIDTH is at least 1")

  // Places (from 0) whose bit_width has this bit set.
  function automatic logic [WIDTH-1:0] places(input int bit_of_lead);
    for (int i = 0; i < WIDTH; i++) places[i] = 1'(((i + 1) >> bit_of_lead) & 1);
  endfunction

  logic [WIDTH-1:0] spread, edge_at;

  always_comb begin
    spread = data_i;
    for (int level = 0; level < LEAD_WIDTH; level++) spread = spread | (spread >> (1 << level));
    edge_at = spread & ~(spread >> 1);
  end

  for (genvar b = 0; b < LEAD_WIDTH; b++) begin : g_bit
    localparam logic [WIDTH-1:0] PLACES = places(b);
    assign lead_o[b] = |(edge_at & PLACES);
  end
endmodule

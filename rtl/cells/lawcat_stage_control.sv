// SPDX-License-Identifier: Apache-2.0
// When a stage works: it starts a token when one is complete at its input and the next buffer has a slot for the
// result, then runs for `interval_i` cycles without a stop. The first of them is the cycle of start_o, so tokens
// follow each other without a gap. What leaves the stage later, leaves it through registers that never stall.
`include "lawcat_assert.svh"

module lawcat_stage_control #(
  parameter int WIDTH = 12  // bits of the interval
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             valid_i,     // a token is complete at every input
  input  logic             room_i,      // the next buffer has a slot
  input  logic [WIDTH-1:0] interval_i,  // cycles per token, at least 1; constant while active
  output logic             start_o,     // first cycle of a token: reserve the slot
  output logic             active_o,
  output logic             last_o,      // last cycle: release the input
  output logic [WIDTH-1:0] index_o,     // cycle of the token, from 0
  // For counters: exactly one of active_o, stall_o and starve_o holds in every cycle.
  output logic             stall_o,     // a token is there but no slot for its result
  output logic             starve_o     // no token is there
);
  `LAWCAT_REQUIRE(WIDTH >= 1, "lawcat_stage_control: WIDTH is at least 1")

  logic             busy_q;
  logic [WIDTH-1:0] index_q;

  assign start_o  = rst_ni & ~busy_q & valid_i & room_i;
  assign active_o = busy_q | start_o;
  assign index_o  = busy_q ? index_q : '0;
  assign last_o   = active_o & (index_o == interval_i - 1'b1);
  assign stall_o  = ~busy_q & valid_i & ~room_i;
  assign starve_o = ~busy_q & ~valid_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q  <= 1'b0;
      index_q <= '0;
    end else begin
      busy_q  <= active_o & ~last_o;
      index_q <= index_o + 1'b1;
    end
  end

  `LAWCAT_ASSERT(interval_is_positive, interval_i != '0 || !active_o)
  `LAWCAT_ASSERT(one_of_the_counters_counts, 2'(active_o) + 2'(stall_o) + 2'(starve_o) == 2'd1)
  `LAWCAT_ASSERT(index_is_within_the_interval, !active_o || index_o < interval_i)
endmodule

// SPDX-License-Identifier: Apache-2.0
// FIFO of whole vectors between two stages: a memory of SLOTS x WORDS words and the hand-over.
//   producer: reserve_i when it starts a token (room_o must hold), then writes in any order, commit_i with or after
//             the last write. Writes go to the oldest slot that is reserved and not committed; a second token may be
//             reserved before the first is committed.
//   consumer: valid_o from the cycle after a commit; reads words of the oldest slot (data one cycle later), gives it
//             back by release_i (room_o shows it in the next cycle). side_o belongs to the oldest slot.
`include "lawcat_assert.svh"

module lawcat_token_buffer #(
  parameter int SLOTS      = 4,
  parameter int WORDS      = 16,  // per slot
  parameter int WIDTH      = 16,  // bits per word
  parameter int SIDE_WIDTH = 1,   // bits that travel with a token
  localparam int INDEX_WIDTH = (WORDS > 1) ? $clog2(WORDS) : 1
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  // producer
  output logic                   room_o,
  input  logic                   reserve_i,
  input  logic                   we_i,
  input  logic [INDEX_WIDTH-1:0] waddr_i,
  input  logic [WIDTH-1:0]       wdata_i,
  input  logic                   commit_i,
  input  logic [SIDE_WIDTH-1:0]  side_i,    // taken with commit_i
  // consumer
  output logic                   valid_o,
  output logic [SIDE_WIDTH-1:0]  side_o,
  input  logic                   re_i,
  input  logic [INDEX_WIDTH-1:0] raddr_i,
  output logic [WIDTH-1:0]       rdata_o,
  input  logic                   release_i
);
  `LAWCAT_REQUIRE(SLOTS >= 1 && WORDS >= 1, "lawcat_token_buffer: SLOTS and WORDS are at least 1")
  `LAWCAT_REQUIRE(WIDTH >= 1 && SIDE_WIDTH >= 1, "lawcat_token_buffer: WIDTH and SIDE_WIDTH are at least 1")

  localparam int SLOT_WIDTH = (SLOTS > 1) ? $clog2(SLOTS) : 1;
  localparam int COUNT_WIDTH = $clog2(SLOTS + 1);
  localparam int ADDRESS_WIDTH = SLOT_WIDTH + INDEX_WIDTH;

  logic [COUNT_WIDTH-1:0] reserved_q, committed_q;
  logic [SLOT_WIDTH-1:0]  write_slot_q, read_slot_q, next_read_slot;
  logic [SIDE_WIDTH-1:0]  side_q [0:SLOTS-1];

  function automatic logic [SLOT_WIDTH-1:0] next_slot(input logic [SLOT_WIDTH-1:0] slot);
    next_slot = (slot == SLOT_WIDTH'(SLOTS - 1)) ? '0 : slot + 1'b1;
  endfunction

  assign room_o  = reserved_q != COUNT_WIDTH'(SLOTS);
  assign valid_o = committed_q != '0;
  assign next_read_slot = release_i ? next_slot(read_slot_q) : read_slot_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      reserved_q   <= '0;
      committed_q  <= '0;
      write_slot_q <= '0;
      read_slot_q  <= '0;
    end else begin
      reserved_q  <= reserved_q + COUNT_WIDTH'(reserve_i) - COUNT_WIDTH'(release_i);
      committed_q <= committed_q + COUNT_WIDTH'(commit_i) - COUNT_WIDTH'(release_i);
      if (commit_i) write_slot_q <= next_slot(write_slot_q);
      read_slot_q <= next_read_slot;
    end
    if (commit_i) side_q[write_slot_q] <= side_i;
    // From a register of its own: much hangs on it in the consumer's first cycle.
    side_o <= (commit_i && write_slot_q == next_read_slot) ? side_i : side_q[next_read_slot];
  end

  lawcat_memory #(
    .WIDTH(WIDTH),
    .DEPTH(1 << ADDRESS_WIDTH)
  ) u_memory (
    .clk_i,
    .we_i,
    .waddr_i({write_slot_q, waddr_i}),
    .wdata_i,
    .re_i,
    .raddr_i({read_slot_q, raddr_i}),
    .rdata_o
  );

  `LAWCAT_ASSERT(reserves_only_a_free_slot, !reserve_i || room_o)
  `LAWCAT_ASSERT(commits_only_what_is_reserved, !commit_i || reserved_q > committed_q)
  `LAWCAT_ASSERT(releases_only_what_is_committed, !release_i || valid_o)
  `LAWCAT_ASSERT(writes_only_into_a_reserved_slot, !we_i || reserve_i || reserved_q > committed_q)
  `LAWCAT_ASSERT(commits_are_reserves, committed_q <= reserved_q)
endmodule

// SPDX-License-Identifier: Apache-2.0
// Two stages of arbitrary intervals over a lawcat_token_buffer. No token is lost, doubled, swapped or changed: any
// one, chosen by mark_i when the producer starts it, is read by the consumer after those before it. The buffer never
// overflows (its own assertions), slots do not leak, and a token leaves within a bound, not counting the cycles in
// which the consumer has no room for its result. The producer's results pass one register on their way.
module lawcat_stages_proof #(
  parameter int SLOTS = 2,  // at most 3
  localparam int WIDTH = 2,
  localparam int MOST = 3  // cycles of an interval
) (
  input logic             clk_i,
  input logic             rst_ni,
  input logic             source_valid_i,
  input logic             sink_room_i,
  input logic             mark_i,
  input logic [WIDTH-1:0] token_i
);
  localparam int SLOT_WIDTH = (SLOTS > 1) ? $clog2(SLOTS) : 1;

  (* anyconst *) logic [1:0] produce, consume;  // intervals
  always @* assume (produce >= 2'd1 && produce <= 2'(MOST) && consume >= 2'd1 && consume <= 2'(MOST));

  logic             room, start, produces, produce_last, valid, consumes, consume_last, stall;
  logic [1:0]       produce_index, consume_index;
  logic [WIDTH-1:0] side, word;

  lawcat_stage_control #(
    .WIDTH(2)
  ) u_producer (
    .clk_i,
    .rst_ni,
    .valid_i(source_valid_i),
    .room_i(room),
    .interval_i(produce),
    .start_o(start),
    .active_o(produces),
    .last_o(produce_last),
    .index_o(produce_index),
    .stall_o(),
    .starve_o()
  );

  logic [WIDTH-1:0] held_q, token, result_q;
  logic             we_q, commit_q;
  assign token = start ? token_i : held_q;
  always @(posedge clk_i) begin
    held_q   <= token;
    result_q <= token;
    we_q     <= rst_ni & produces & (produce_index == '0);
    commit_q <= rst_ni & produce_last;
  end

  lawcat_token_buffer #(
    .SLOTS(SLOTS),
    .WORDS(2),
    .WIDTH(WIDTH),
    .SIDE_WIDTH(WIDTH)
  ) u_buffer (
    .clk_i,
    .rst_ni,
    .room_o(room),
    .reserve_i(start),
    .we_i(we_q),
    .waddr_i(1'b0),
    .wdata_i(result_q),
    .commit_i(commit_q),
    .side_i(result_q),
    .valid_o(valid),
    .side_o(side),
    .re_i(consumes && consume_index == '0),
    .raddr_i(1'b0),
    .rdata_o(word),
    .release_i(consume_last)
  );

  lawcat_stage_control #(
    .WIDTH(2)
  ) u_consumer (
    .clk_i,
    .rst_ni,
    .valid_i(valid),
    .room_i(sink_room_i),
    .interval_i(consume),
    .start_o(),
    .active_o(consumes),
    .last_o(consume_last),
    .index_o(consume_index),
    .stall_o(stall),
    .starve_o()
  );

  logic             started_q = 1'b0;
  logic [1:0]       there_q;  // tokens started by the producer and not given back by the consumer
  logic             marked_q;
  logic [1:0]       ahead_q;  // tokens that leave before the marked one
  logic [WIDTH-1:0] marked_token_q, expected_q;
  logic             read_q;   // the consumer has read the marked token
  logic [4:0]       age_q;    // of the marked token, without the cycles of a stall
  always @(posedge clk_i) begin
    started_q <= 1'b1;
    read_q    <= rst_ni & consumes & (consume_index == '0) & marked_q & (ahead_q == '0);
    expected_q <= marked_token_q;
    if (!rst_ni) begin
      there_q  <= '0;
      marked_q <= 1'b0;
    end else begin
      there_q <= there_q + 2'(start) - 2'(consume_last);
      if (marked_q) begin
        ahead_q <= ahead_q - 2'(consume_last);
        age_q   <= age_q + 5'(!stall);
        if (consume_last && ahead_q == '0) marked_q <= 1'b0;
      end else if (start && mark_i) begin
        marked_q       <= 1'b1;
        ahead_q        <= there_q - 2'(consume_last);
        marked_token_q <= token_i;
        age_q          <= 5'd1;
      end
    end
  end
  always @* if (!started_q) assume (!rst_ni);

  // Cycles from the start of a token to its leaving: what is ahead, or its own making, then its reading.
  logic [4:0] others, bound;
  always @* begin
    others = (SLOTS == 1) ? 5'd0 : (SLOTS == 2) ? 5'(consume) : 5'({consume, 1'b0});
    bound  = 5'((others > 5'(produce)) ? others : 5'(produce)) + 5'd1 + 5'(consume);
  end

  always @* if (started_q && rst_ni) begin
    assert (32'(there_q) <= SLOTS);
    if (marked_q) assert (ahead_q < there_q);
    if (marked_q && ahead_q == '0 && consumes) assert (side == marked_token_q);
    if (read_q) assert (word == expected_q);
    if (marked_q) assert (age_q < bound);
    // Never stuck: while there is something to do and room for it, someone works.
    if (source_valid_i && sink_room_i) assert (produces || commit_q || consumes);
  end

  // What makes the claims inductive: where the tokens are.
  (* hierconn *) logic [$clog2(SLOTS+1)-1:0] \u_buffer.reserved_q , \u_buffer.committed_q ;
  (* hierconn *) logic [SLOT_WIDTH-1:0] \u_buffer.write_slot_q , \u_buffer.read_slot_q ;
  (* hierconn *) logic [WIDTH-1:0] \u_buffer.side_q[0] , \u_buffer.side_q[1] , \u_buffer.side_q[2] ;
  (* hierconn *) logic [WIDTH-1:0] \u_buffer.u_memory.words[0] , \u_buffer.u_memory.words[2] ;
  (* hierconn *) logic [WIDTH-1:0] \u_buffer.u_memory.words[4] ;
  (* hierconn *) logic \u_producer.busy_q , \u_consumer.busy_q ;
  (* hierconn *) logic [1:0] \u_producer.index_q , \u_consumer.index_q ;

  logic [1:0]       committed, write_slot, read_slot, behind;
  logic [2:0]       end_slot, marked_place;
  logic [WIDTH-1:0] marked_side, marked_word, open_word;
  always @* begin
    committed    = 2'(\u_buffer.committed_q );
    write_slot   = 2'(\u_buffer.write_slot_q );
    read_slot    = 2'(\u_buffer.read_slot_q );
    end_slot     = 3'(read_slot) + 3'(committed);
    marked_place = 3'(read_slot) + 3'(ahead_q);
    if (marked_place >= 3'(SLOTS)) marked_place = marked_place - 3'(SLOTS);
    marked_side = (marked_place == 3'd0) ? \u_buffer.side_q[0] : (marked_place == 3'd1) ? \u_buffer.side_q[1] :
                  \u_buffer.side_q[2] ;
    marked_word = (marked_place == 3'd0) ? \u_buffer.u_memory.words[0] :
                  (marked_place == 3'd1) ? \u_buffer.u_memory.words[2] : \u_buffer.u_memory.words[4] ;
    open_word   = (write_slot == 2'd0) ? \u_buffer.u_memory.words[0] :
                  (write_slot == 2'd1) ? \u_buffer.u_memory.words[2] : \u_buffer.u_memory.words[4] ;
    behind      = ahead_q - committed;  // among the tokens that are still being made
  end
  always @* if (started_q && rst_ni) begin
    assert (2'(\u_buffer.reserved_q ) == there_q);
    assert (3'(there_q) == 3'(committed) + 3'(\u_producer.busy_q ) + 3'(commit_q));
    assert (32'(read_slot) < SLOTS && 32'(write_slot) < SLOTS);
    assert (3'(write_slot) == ((32'(end_slot) >= SLOTS) ? end_slot - 3'(SLOTS) : end_slot));
    if (\u_producer.busy_q ) begin
      assert (\u_producer.index_q != '0 && \u_producer.index_q < produce);
      assert (we_q == (\u_producer.index_q == 2'd1) && !commit_q);
      assert (we_q ? result_q == held_q : open_word == held_q);
      if (marked_q && ahead_q == there_q - 2'd1) assert (held_q == marked_token_q);
    end else begin
      assert (we_q == (commit_q && produce == 2'd1));
      if (commit_q && !we_q) assert (open_word == result_q);
      if (commit_q && marked_q && behind == '0) assert (result_q == marked_token_q);
    end
    if (\u_consumer.busy_q ) begin
      assert (\u_consumer.index_q != '0 && \u_consumer.index_q < consume && committed != '0);
    end
    if (marked_q && ahead_q < committed) assert (marked_side == marked_token_q && marked_word == marked_token_q);
    if (marked_q) assert (age_q + remaining <= bound);
  end

  // Cycles until the marked token has left: until it can be read and what is ahead has left (less what is done of
  // its own reading), then its reading.
  logic [4:0] until_there, until_turn, remaining;
  always @* begin
    until_there = (ahead_q < committed) ? 5'd0 :
                  \u_producer.busy_q ? 5'(produce) - 5'(\u_producer.index_q ) + 5'd1 : 5'd1;
    until_turn  = 5'(ahead_q) * 5'(consume) - (\u_consumer.busy_q ? 5'(\u_consumer.index_q ) : 5'd0);
    remaining   = 5'(consume) + ((ahead_q < committed || until_turn > until_there) ? until_turn : until_there);
  end
endmodule

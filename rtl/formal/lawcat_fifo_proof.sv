// SPDX-License-Identifier: Apache-2.0
// lawcat_fifo loses, doubles and swaps nothing: any one word, chosen by mark_i when it enters, leaves exactly after
// the words that were there before it, unchanged. What is offered stays until it is taken.
module lawcat_fifo_proof #(
  parameter int DEPTH = 3,  // at most 4
  localparam int WIDTH = 2
) (
  input logic             clk_i,
  input logic             rst_ni,
  input logic             valid_i,
  input logic [WIDTH-1:0] data_i,
  input logic             ready_i,
  input logic             mark_i
);
  localparam int COUNT_WIDTH = $clog2(DEPTH + 1);

  logic                   ready, valid, push, pop;
  logic [WIDTH-1:0]       data;
  logic [COUNT_WIDTH-1:0] count;

  lawcat_fifo #(
    .WIDTH(WIDTH),
    .DEPTH(DEPTH)
  ) u_fifo (
    .clk_i,
    .rst_ni,
    .valid_i,
    .ready_o(ready),
    .data_i,
    .valid_o(valid),
    .ready_i,
    .data_o(data),
    .count_o(count)
  );
  assign push = valid_i & ready;
  assign pop  = valid & ready_i;

  logic             started_q = 1'b0;
  logic [2:0]       held_q;  // words that entered and have not left
  logic             marked_q;
  logic [2:0]       ahead_q;  // words that leave before the marked one
  logic [WIDTH-1:0] marked_data_q;
  always @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!rst_ni) begin
      held_q   <= '0;
      marked_q <= 1'b0;
    end else begin
      held_q <= held_q + 3'(push) - 3'(pop);
      if (marked_q) begin
        ahead_q <= ahead_q - 3'(pop);
        if (pop && ahead_q == '0) marked_q <= 1'b0;
      end else if (push && mark_i) begin
        marked_q      <= 1'b1;
        ahead_q       <= held_q - 3'(pop);
        marked_data_q <= data_i;
      end
    end
  end
  always @* if (!started_q) assume (!rst_ni);

  always @* if (started_q && rst_ni) begin
    assert (32'(held_q) <= DEPTH);
    assert (3'(count) == held_q);
    assert (ready == (32'(held_q) < DEPTH));
    assert (valid == (held_q != '0));
    if (marked_q) assert (ahead_q < held_q);
    if (marked_q && ahead_q == '0) assert (valid && data == marked_data_q);
  end

  logic             waits_q;
  logic [WIDTH-1:0] offered_q;
  always @(posedge clk_i) begin
    waits_q   <= rst_ni & started_q & valid & ~ready_i;
    offered_q <= data;
  end
  always @* if (started_q && rst_ni && waits_q) assert (valid && data == offered_q);

  // What makes the claims inductive: where the marked word waits.
  (* hierconn *) logic [((DEPTH > 1) ? $clog2(DEPTH) : 1)-1:0] \u_fifo.read_q ;
  (* hierconn *) logic [WIDTH-1:0] \u_fifo.words[0] , \u_fifo.words[1] , \u_fifo.words[2] , \u_fifo.words[3] ;
  logic [2:0]       past, place;
  logic [WIDTH-1:0] word;
  always @* begin
    past  = 3'(\u_fifo.read_q ) + ahead_q;
    place = (32'(past) >= DEPTH) ? past - 3'(DEPTH) : past;
    word  = (place == 3'd0) ? \u_fifo.words[0] : (place == 3'd1) ? \u_fifo.words[1] :
            (place == 3'd2) ? \u_fifo.words[2] : \u_fifo.words[3] ;
    if (started_q && rst_ni && marked_q) assert (word == marked_data_q);
  end
endmodule

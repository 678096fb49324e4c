// SPDX-License-Identifier: Apache-2.0
// lawcat_skid_buffer loses, doubles and swaps nothing: any one word, chosen by mark_i when it enters, leaves exactly
// after the words that were there before it, unchanged. What is offered stays until it is taken.
module lawcat_skid_buffer_proof #(
  localparam int WIDTH = 2
) (
  input logic             clk_i,
  input logic             rst_ni,
  input logic             valid_i,
  input logic [WIDTH-1:0] data_i,
  input logic             ready_i,
  input logic             mark_i
);
  logic             ready, valid, push, pop;
  logic [WIDTH-1:0] data;

  lawcat_skid_buffer #(
    .WIDTH(WIDTH)
  ) u_skid (
    .clk_i,
    .rst_ni,
    .valid_i,
    .ready_o(ready),
    .data_i,
    .valid_o(valid),
    .ready_i,
    .data_o(data)
  );
  assign push = valid_i & ready;
  assign pop  = valid & ready_i;

  logic             started_q = 1'b0;
  logic [1:0]       held_q;  // words that entered and have not left
  logic             marked_q;
  logic [1:0]       ahead_q;  // words that leave before the marked one
  logic [WIDTH-1:0] marked_data_q;
  always @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!rst_ni) begin
      held_q   <= '0;
      marked_q <= 1'b0;
    end else begin
      held_q <= held_q + 2'(push) - 2'(pop);
      if (marked_q) begin
        ahead_q <= ahead_q - 2'(pop);
        if (pop && ahead_q == '0) marked_q <= 1'b0;
      end else if (push && mark_i) begin
        marked_q      <= 1'b1;
        ahead_q       <= held_q - 2'(pop);
        marked_data_q <= data_i;
      end
    end
  end
  always @* if (!started_q) assume (!rst_ni);

  always @* if (started_q && rst_ni) begin
    assert (held_q <= 2'd2);
    assert (ready == (held_q != 2'd2));
    assert (valid == (held_q != 2'd0));
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

  // What makes the claims inductive: a marked word that is second waits in the skid.
  (* hierconn *) logic [WIDTH-1:0] \u_skid.skid_q ;
  always @* if (started_q && rst_ni && marked_q && ahead_q == 2'd1) assert (\u_skid.skid_q == marked_data_q);
endmodule

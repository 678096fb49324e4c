// SPDX-License-Identifier: Apache-2.0
// Watches an AXI4-Stream (no TKEEP) in simulation; each breach of the protocol is an error with a sentence:
//   valid stays and data, last do not change until ready; nothing is valid after an edge in reset; valid,
//   ready and, when valid, data and last are known (four-state simulators only).
module lawcat_axis_checker #(
  parameter int WIDTH = 128
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             valid_i,
  input  logic             ready_i,
  input  logic [WIDTH-1:0] data_i,
  input  logic             last_i
);
  logic             waiting_q, reset_q;
  logic [WIDTH-1:0] data_q;
  logic             last_q;

  initial reset_q = 1'b0;

  always @(posedge clk_i) begin
    reset_q   <= rst_ni === 1'b0;
    waiting_q <= rst_ni === 1'b1 && valid_i && !ready_i;
    data_q    <= data_i;
    last_q    <= last_i;
    if (rst_ni !== 1'b1) begin  // unknown until the first edge in reset
      if (reset_q && valid_i !== 1'b0) $error("%m: valid is not low in reset");
    end else if ((^{valid_i, ready_i}) === 1'bx) begin
      $error("%m: valid or ready is unknown");
    end else begin
      if (waiting_q && !valid_i) $error("%m: valid fell before ready came");
      if (waiting_q && valid_i && (data_i !== data_q || last_i !== last_q))
        $error("%m: data or last changed before ready came");
      if (valid_i && (^{data_i, last_i}) === 1'bx) $error("%m: data or last is unknown in a valid beat");
    end
  end
endmodule

// SPDX-License-Identifier: Apache-2.0
// Watches an AXI4-Stream (no TKEEP) in simulation and reports each breach of the protocol as a sentence:
//   valid stays and data, last do not change until ready; nothing is valid after an edge in reset; valid,
//   ready and, when valid, data and last are known (four-state simulators only); a packet has at most
//   MAX_BEATS beats (0: any); ready comes within MAX_WAIT cycles of valid (0: whenever).
// Counts for the bench, which asks at the end that no packet is open (a stream ends with its last TLAST).
module lawcat_axis_checker #(
  parameter int WIDTH     = 128,
  parameter int MAX_BEATS = 0,
  parameter int MAX_WAIT  = 0
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             valid_i,
  input  logic             ready_i,
  input  logic [WIDTH-1:0] data_i,
  input  logic             last_i,
  output logic [31:0]      errors_o,
  output logic [31:0]      beats_o,    // handed over since reset
  output logic [31:0]      packets_o,  // complete since reset
  output logic             open_o      // a packet has begun and not ended
);
  logic             waiting_q, reset_q;
  logic [WIDTH-1:0] data_q;
  logic             last_q;
  logic [31:0]      wait_q, length_q;

  initial begin
    errors_o = '0;
    reset_q = 1'b0;
    waiting_q = 1'b0;
  end

  // One process counts, so that breaches in the same cycle all count.
  always @(posedge clk_i) begin : check
    int breaches;
    breaches = 0;
    reset_q <= ~rst_ni;
    if (!rst_ni) begin
      waiting_q <= 1'b0;
      wait_q    <= '0;
      length_q  <= '0;
      beats_o   <= '0;
      packets_o <= '0;
      open_o    <= 1'b0;
      if (reset_q && valid_i !== 1'b0) begin
        breaches = breaches + 1;
        $error("%m: valid is not low in reset");
      end
    end else begin
      waiting_q <= valid_i & ~ready_i;
      wait_q    <= (valid_i && !ready_i) ? wait_q + 1 : '0;
      data_q    <= data_i;
      last_q    <= last_i;
      if (valid_i && ready_i) begin
        beats_o   <= beats_o + 1;
        packets_o <= packets_o + 32'(last_i);
        open_o    <= ~last_i;
        length_q  <= last_i ? '0 : length_q + 1;
      end
      if ((^{valid_i, ready_i}) === 1'bx) begin
        breaches = breaches + 1;
        $error("%m: valid or ready is unknown");
      end else begin
        if (waiting_q && !valid_i) begin
          breaches = breaches + 1;
          $error("%m: valid fell before ready came");
        end
        if (waiting_q && valid_i && (data_i !== data_q || last_i !== last_q)) begin
          breaches = breaches + 1;
          $error("%m: data or last changed before ready came");
        end
        if (valid_i && (^{data_i, last_i}) === 1'bx) begin
          breaches = breaches + 1;
          $error("%m: data or last is unknown in a valid beat");
        end
        if (MAX_BEATS != 0 && valid_i && ready_i && !last_i && length_q == 32'(MAX_BEATS - 1)) begin
          breaches = breaches + 1;
          $error("%m: a packet has no last beat within %0d beats", MAX_BEATS);
        end
        if (MAX_WAIT != 0 && wait_q == 32'(MAX_WAIT)) begin
          breaches = breaches + 1;
          $error("%m: ready did not come within %0d cycles", MAX_WAIT);
        end
      end
    end
    errors_o <= errors_o + breaches;
  end
endmodule

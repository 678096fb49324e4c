// SPDX-License-Identifier: Apache-2.0
// Watches an AXI4-Lite port in simulation and reports each breach of the protocol as a sentence:
//   on all five channels valid stays and the payload does not change until ready; nothing is valid after an
//   edge in reset; valid, ready and the payload of what is valid are known (four-state simulators only); a
//   write response comes only after an address and a data word were taken, a read response after an address;
//   responses are not EXOKAY; a request is answered within MAX_WAIT cycles (0: whenever).
// Counts of answered requests for the bench.
module lawcat_axi_lite_checker #(
  parameter int ADDRESS_WIDTH = 12,
  parameter int DATA_WIDTH    = 32,
  parameter int MAX_WAIT      = 0
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     awvalid_i,
  input  logic                     awready_i,
  input  logic [ADDRESS_WIDTH-1:0] awaddr_i,
  input  logic                     wvalid_i,
  input  logic                     wready_i,
  input  logic [DATA_WIDTH-1:0]    wdata_i,
  input  logic [DATA_WIDTH/8-1:0]  wstrb_i,
  input  logic                     bvalid_i,
  input  logic                     bready_i,
  input  logic [1:0]               bresp_i,
  input  logic                     arvalid_i,
  input  logic                     arready_i,
  input  logic [ADDRESS_WIDTH-1:0] araddr_i,
  input  logic                     rvalid_i,
  input  logic                     rready_i,
  input  logic [DATA_WIDTH-1:0]    rdata_i,
  input  logic [1:0]               rresp_i,
  output logic [31:0]              errors_o,
  output logic [31:0]              writes_o,  // answered since reset
  output logic [31:0]              reads_o    // answered since reset
);
  // The five channels as one, each padded to a common width: aw, w, b, ar, r.
  localparam int WIDTH = ADDRESS_WIDTH + DATA_WIDTH + DATA_WIDTH / 8 + 2;
  localparam logic [1:0] EXOKAY = 2'b01;
  logic [4:0]         valid, ready, taken, waiting_q;
  logic [5*WIDTH-1:0] payload, payload_q;
  logic               reset_q;
  logic [31:0]        aw_q, w_q, ar_q, write_wait_q, read_wait_q;

  assign valid = {rvalid_i, arvalid_i, bvalid_i, wvalid_i, awvalid_i};
  assign ready = {rready_i, arready_i, bready_i, wready_i, awready_i};
  assign taken = valid & ready;
  assign payload = {WIDTH'({rresp_i, rdata_i}), WIDTH'(araddr_i), WIDTH'(bresp_i), WIDTH'({wstrb_i, wdata_i}),
                    WIDTH'(awaddr_i)};

  initial begin
    errors_o = '0;
    reset_q = 1'b0;
    waiting_q = '0;
  end

  // One process counts, so that breaches in the same cycle all count.
  always @(posedge clk_i) begin : check
    int breaches;
    breaches = 0;
    reset_q <= ~rst_ni;
    if (!rst_ni) begin
      waiting_q    <= '0;
      aw_q         <= '0;
      w_q          <= '0;
      ar_q         <= '0;
      writes_o     <= '0;
      reads_o      <= '0;
      write_wait_q <= '0;
      read_wait_q  <= '0;
      if (reset_q && valid !== '0) begin
        breaches = breaches + 1;
        $error("%m: a valid is not low in reset");
      end
    end else begin
      waiting_q <= valid & ~ready;
      payload_q <= payload;
      aw_q     <= aw_q + 32'(taken[0]) - 32'(taken[2]);
      w_q      <= w_q + 32'(taken[1]) - 32'(taken[2]);
      ar_q     <= ar_q + 32'(taken[3]) - 32'(taken[4]);
      writes_o <= writes_o + 32'(taken[2]);
      reads_o  <= reads_o + 32'(taken[4]);
      write_wait_q <= (aw_q != '0 && w_q != '0 && !bvalid_i) ? write_wait_q + 1 : '0;
      read_wait_q  <= (ar_q != '0 && !rvalid_i) ? read_wait_q + 1 : '0;
      if ((^{valid, ready}) === 1'bx) begin
        breaches = breaches + 1;
        $error("%m: a valid or ready is unknown");
      end else begin
        for (int i = 0; i < 5; i++) begin
          if (waiting_q[i] && !valid[i]) begin
            breaches = breaches + 1;
            $error("%m: valid of channel %0d (aw w b ar r) fell before ready came", i);
          end
          if (waiting_q[i] && valid[i] && payload[i*WIDTH +: WIDTH] !== payload_q[i*WIDTH +: WIDTH]) begin
            breaches = breaches + 1;
            $error("%m: payload of channel %0d (aw w b ar r) changed before ready came", i);
          end
          if (valid[i] && (^payload[i*WIDTH +: WIDTH]) === 1'bx) begin
            breaches = breaches + 1;
            $error("%m: payload of channel %0d (aw w b ar r) is unknown", i);
          end
        end
        if (bvalid_i && (aw_q == '0 || w_q == '0)) begin
          breaches = breaches + 1;
          $error("%m: write response before address and data were taken");
        end
        if (rvalid_i && ar_q == '0) begin
          breaches = breaches + 1;
          $error("%m: read response before an address was taken");
        end
        if ((bvalid_i && bresp_i == EXOKAY) || (rvalid_i && rresp_i == EXOKAY)) begin
          breaches = breaches + 1;
          $error("%m: response EXOKAY");
        end
        if (MAX_WAIT != 0 && (write_wait_q == 32'(MAX_WAIT) || read_wait_q == 32'(MAX_WAIT))) begin
          breaches = breaches + 1;
          $error("%m: no response within %0d cycles", MAX_WAIT);
        end
      end
    end
    errors_o <= errors_o + breaches;
  end
endmodule

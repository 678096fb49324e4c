// SPDX-License-Identifier: Apache-2.0
// Watches an AXI4-Lite port in simulation; each breach of the protocol is an error with a sentence:
//   on all five channels valid stays and the payload does not change until ready; nothing is valid after an
//   edge in reset; valid, ready and the payload of what is valid are known (four-state simulators only); a
//   write response comes only after an address and a data word were taken, a read response after an address;
//   responses are not EXOKAY; a request is answered within MAX_WAIT cycles while responses are taken.
module lawcat_axi_lite_checker #(
  parameter int ADDRESS_WIDTH = 12,
  parameter int DATA_WIDTH    = 32,
  parameter int MAX_WAIT      = 16
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
  input  logic [1:0]               rresp_i
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

  initial reset_q = 1'b0;

  always @(posedge clk_i) begin
    reset_q <= ~rst_ni;
    if (!rst_ni) begin
      waiting_q    <= '0;
      aw_q         <= '0;
      w_q          <= '0;
      ar_q         <= '0;
      write_wait_q <= '0;
      read_wait_q  <= '0;
      if (reset_q && valid !== '0) $error("%m: a valid is not low in reset");
    end else begin
      waiting_q <= valid & ~ready;
      payload_q <= payload;
      aw_q      <= aw_q + 32'(taken[0]) - 32'(taken[2]);
      w_q       <= w_q + 32'(taken[1]) - 32'(taken[2]);
      ar_q      <= ar_q + 32'(taken[3]) - 32'(taken[4]);
      write_wait_q <= (aw_q != '0 && w_q != '0 && !bvalid_i) ? write_wait_q + 1 : '0;
      read_wait_q  <= (ar_q != '0 && !rvalid_i) ? read_wait_q + 1 : '0;
      if ((^{valid, ready}) === 1'bx) begin
        $error("%m: a valid or ready is unknown");
      end else begin
        for (int i = 0; i < 5; i++) begin
          if (waiting_q[i] && !valid[i]) $error("%m: valid of channel %0d (aw w b ar r) fell before ready came", i);
          if (waiting_q[i] && valid[i] && payload[i*WIDTH +: WIDTH] !== payload_q[i*WIDTH +: WIDTH])
            $error("%m: payload of channel %0d (aw w b ar r) changed before ready came", i);
          if (valid[i] && (^payload[i*WIDTH +: WIDTH]) === 1'bx)
            $error("%m: payload of channel %0d (aw w b ar r) is unknown", i);
        end
        if (bvalid_i && (aw_q == '0 || w_q == '0)) $error("%m: write response before address and data were taken");
        if (rvalid_i && ar_q == '0) $error("%m: read response before an address was taken");
        if ((bvalid_i && bresp_i == EXOKAY) || (rvalid_i && rresp_i == EXOKAY)) $error("%m: response EXOKAY");
        if (write_wait_q == 32'(MAX_WAIT) || read_wait_q == 32'(MAX_WAIT))
          $error("%m: no response within %0d cycles", MAX_WAIT);
      end
    end
  end
endmodule

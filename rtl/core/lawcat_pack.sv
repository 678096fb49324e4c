// SPDX-License-Identifier: Apache-2.0
// Sends the answers: per TOKEN packet its header and the outputs of its heads, in order; the beats of a STORE
// pass through. Owns the buffer of finished outputs.
// The header of an answer has the error flag of its packet, known when the packet's payload is at its end. So
// the header waits for that end, but not while the output buffer is full: a packet with more heads than the
// path holds ends only after its first outputs have left. The flag in such a header is 0 if the end is not
// known yet; the one on tuser, valid with tlast, is right in every case.
// Latency: depth = 2. An output committed in cycle t starts in s = t + 1 at the earliest; its last beat is on
// the port in s + interval + 1.
// Throughput: interval = ceil(D / elements per beat) cycles per head, 1 more for the first head of a packet;
// no cycles between heads or packets while the port takes a beat per cycle.
`include "lawcat_assert.svh"

module lawcat_pack #(
  parameter int RECORDS        = 64,  // packets between the parser and the end of their answers
  localparam int STREAM_WIDTH  = lawcat_arch_pkg::STREAM_WIDTH,
  localparam int ELEMENTS      = STREAM_WIDTH / lawcat_arch_pkg::ELEMENT_WIDTH,  // per beat
  localparam int HEAD_WORDS    = (lawcat_arch_pkg::MAX_HEAD_DIM + ELEMENTS - 1) / ELEMENTS,
  localparam int HEAD_ADDRESS  = (HEAD_WORDS > 1) ? $clog2(HEAD_WORDS) : 1,
  localparam int SIDE_WIDTH    = lawcat_arch_pkg::SIDE_WIDTH
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  input  logic [7:0]              head_dim_i,
  // unpack
  input  logic                    record_valid_i,
  output logic                    record_ready_o,
  input  logic [95:0]             record_data_i,
  input  logic                    end_valid_i,  // room is certain: never more than records
  input  logic                    end_error_i,
  output logic                    head_done_o,
  // normalise
  output logic                    out_room_o,
  input  logic                    out_reserve_i,
  input  logic                    out_we_i,
  input  logic [HEAD_ADDRESS-1:0] out_addr_i,
  input  logic [STREAM_WIDTH-1:0] out_data_i,
  input  logic                    out_commit_i,
  input  logic [SIDE_WIDTH-1:0]   out_side_i,
  // access: only while no head-token is in flight
  input  logic                    store_valid_i,
  output logic                    store_ready_o,
  input  logic [STREAM_WIDTH-1:0] store_data_i,
  input  logic                    store_last_i,
  input  logic                    store_error_i,
  // stream
  output logic                    m_axis_tvalid_o,
  input  logic                    m_axis_tready_i,
  output logic [STREAM_WIDTH-1:0] m_axis_tdata_o,
  output logic                    m_axis_tlast_o,
  output logic                    m_axis_tuser_o,
  // for counters: exactly one holds in every cycle
  output logic                    busy_o,
  output logic                    stall_o,
  output logic                    starve_o
);
  localparam int BEAT_SHIFT = $clog2(ELEMENTS);

  logic [7:0] head_last_q, beat_q;
  logic       open_q;  // the header of the present answer is sent
  logic       out_valid, out_last, release_head, head_done_q;
  logic       record_valid, end_valid, end_error;
  logic [95:0] record;
  logic       header_ready, beat_ready, moves, send_header, send_beat, send_store, last_beat;

  always_ff @(posedge clk_i) head_last_q <= 8'((9'(head_dim_i) + 9'(ELEMENTS - 1)) >> BEAT_SHIFT) - 1'b1;

  /* verilator lint_off PINCONNECTEMPTY */  // counts of words held are not needed
  lawcat_fifo #(
    .WIDTH(96),
    .DEPTH(RECORDS)
  ) u_records (
    .clk_i,
    .rst_ni,
    .valid_i(record_valid_i),
    .ready_o(record_ready_o),
    .data_i(record_data_i),
    .valid_o(record_valid),
    .ready_i(release_head & out_last),
    .data_o(record),
    .count_o()
  );

  lawcat_fifo #(
    .WIDTH(1),
    .DEPTH(RECORDS)
  ) u_ends (
    .clk_i,
    .rst_ni,
    .valid_i(end_valid_i),
    .ready_o(),
    .data_i(end_error_i),
    .valid_o(end_valid),
    .ready_i(release_head & out_last),
    .data_o(end_error),
    .count_o()
  );
  /* verilator lint_on PINCONNECTEMPTY */

  logic [STREAM_WIDTH-1:0] out_word;

  lawcat_token_buffer #(
    .SLOTS(lawcat_arch_pkg::FIFO_TOKENS),
    .WORDS(HEAD_WORDS),
    .WIDTH(STREAM_WIDTH),
    .SIDE_WIDTH(1)
  ) u_out (
    .clk_i,
    .rst_ni,
    .room_o(out_room_o),
    .reserve_i(out_reserve_i),
    .we_i(out_we_i),
    .waddr_i(out_addr_i),
    .wdata_i(out_data_i),
    .commit_i(out_commit_i),
    .side_i(out_side_i[33]),
    .valid_o(out_valid),
    .side_o(out_last),
    .re_i(send_beat),
    .raddr_i(HEAD_ADDRESS'(beat_q)),
    .rdata_o(out_word),
    .release_i(release_head)
  );
  logic unused_side;
  assign unused_side = &{1'b0, out_side_i[32:0]};

  // One beat is chosen per cycle; in the next it is in the stage register, which for outputs is the one of
  // the memory and holds while nothing moves.
  logic                    stage_valid_q, stage_out_q, stage_last_q, stage_error_q, port_ready;
  logic [STREAM_WIDTH-1:0] stage_data_q, header;

  assign moves         = ~stage_valid_q | port_ready;
  assign header_ready  = ~open_q & out_valid & record_valid & (end_valid | ~out_room_o);
  assign beat_ready    = open_q & out_valid;
  assign last_beat     = beat_q == head_last_q;
  assign send_header   = header_ready & moves;
  assign send_beat     = beat_ready & moves;
  assign release_head  = send_beat & last_beat;
  assign store_ready_o = moves;
  assign send_store    = store_valid_i & moves;
  assign head_done_o   = head_done_q;
  assign header        = STREAM_WIDTH'({end_valid & end_error, 31'd0, record[95:8], record[7:0] | 8'h80});

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      open_q        <= 1'b0;
      beat_q        <= '0;
      head_done_q   <= 1'b0;
      stage_valid_q <= 1'b0;
    end else begin
      if (send_header) open_q <= 1'b1;
      else if (release_head && out_last) open_q <= 1'b0;
      if (send_beat) beat_q <= last_beat ? '0 : beat_q + 1'b1;
      head_done_q <= release_head;
      if (moves) stage_valid_q <= send_header | send_beat | send_store;
    end
    if (moves) begin
      stage_out_q   <= send_beat;
      stage_last_q  <= send_store ? store_last_i : release_head & out_last;
      stage_error_q <= send_store ? store_error_i : end_error;
      stage_data_q  <= send_store ? store_data_i : header;
    end
  end

  lawcat_skid_buffer #(
    .WIDTH(STREAM_WIDTH + 2)
  ) u_port (
    .clk_i,
    .rst_ni,
    .valid_i(stage_valid_q),
    .ready_o(port_ready),
    .data_i({stage_error_q & stage_last_q, stage_last_q, stage_out_q ? out_word : stage_data_q}),
    .valid_o(m_axis_tvalid_o),
    .ready_i(m_axis_tready_i),
    .data_o({m_axis_tuser_o, m_axis_tlast_o, m_axis_tdata_o})
  );

  assign busy_o   = send_header | send_beat | send_store;
  assign stall_o  = (header_ready | beat_ready | store_valid_i) & ~moves;
  assign starve_o = ~(header_ready | beat_ready | store_valid_i);

  `LAWCAT_ASSERT(an_answer_has_a_record, !out_valid || record_valid)
  `LAWCAT_ASSERT(the_end_is_known_with_the_last_head, !(release_head && out_last) || end_valid)
  `LAWCAT_ASSERT(stores_come_alone, !store_valid_i || (!open_q && !out_valid))
endmodule

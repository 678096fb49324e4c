// SPDX-License-Identifier: Apache-2.0
// Weights in, contexts in and out: words of the memories to and from beats of the stream, one packet at a
// time, only while no head-token is in flight. One word register serves both directions.
// Function: LOAD: beats -> words -> memory ports and function tables; STORE: header and words -> beats.
// Latency: LOAD: write enable 1 cycle after the last beat of the word; STORE: the header 1 cycle after
// start_i, the first beat of a word 4 cycles after the beat before it.
// Throughput: LOAD: one beat per cycle; STORE: a word of b beats in b + 3 cycles (a memory answers a read in
// exactly 2 cycles and does not wait, so no read begins before the word register is free).
`include "lawcat_assert.svh"

module lawcat_access #(
  localparam int STREAM_WIDTH  = lawcat_arch_pkg::STREAM_WIDTH,
  // word widths of the regions
  localparam int STATE_WORD   = lawcat_arch_pkg::LANES * lawcat_arch_pkg::STATE_WIDTH,
  localparam int NORM_WORD    = lawcat_arch_pkg::ROWS * lawcat_arch_pkg::NORM_WIDTH,
  localparam int EXPONENTS    = lawcat_arch_pkg::NORM_EXPONENT_WIDTH + lawcat_arch_pkg::STATE_EXPONENT_WIDTH,
  localparam int ROWS_WORD    = lawcat_arch_pkg::EXP_LANES * (12 + EXPONENTS),
  localparam int TAILS_WORD   = 3 * lawcat_arch_pkg::CHANNELS * lawcat_arch_pkg::QK_WIDTH,
  localparam int COUNT_WORD   = 32,
  localparam int TAPS_WORD    = 4 * lawcat_arch_pkg::CHANNELS * lawcat_arch_pkg::TAP_WIDTH,
  localparam int FEATURE_WORD = lawcat_arch_pkg::FEATURE_CHANNELS * lawcat_arch_pkg::FEATURE_SEGMENT *
                                lawcat_arch_pkg::WEIGHT_WIDTH,
  localparam int TABLE_WORD   = 64,
  // Of the entries in a table: the gate has 30 per unit of its argument, the others at most 1024.
  localparam int TABLE_INDEX  = (lawcat_arch_pkg::GATE_TABLE_BITS > 5) ? lawcat_arch_pkg::GATE_TABLE_BITS + 5 : 10,
  localparam int MAX_A        = (STATE_WORD > NORM_WORD) ? STATE_WORD : NORM_WORD,
  localparam int MAX_B        = (ROWS_WORD > TAILS_WORD) ? ROWS_WORD : TAILS_WORD,
  localparam int MAX_C        = (TAPS_WORD > FEATURE_WORD) ? TAPS_WORD : FEATURE_WORD,
  localparam int MAX_D        = (MAX_A > MAX_B) ? MAX_A : MAX_B,
  localparam int MAX_E        = (MAX_C > TABLE_WORD) ? MAX_C : TABLE_WORD,
  localparam int PORT_WIDTH   = (MAX_D > MAX_E) ? MAX_D : MAX_E
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  // unpack
  input  logic                    start_i,
  input  logic [95:0]             header_i,
  input  logic                    excess_i,
  input  logic                    load_valid_i,
  input  logic [STREAM_WIDTH-1:0] load_data_i,
  output logic                    load_last_o,
  output logic                    store_done_o,
  // pack
  output logic                    store_valid_o,
  input  logic                    store_ready_i,
  output logic [STREAM_WIDTH-1:0] store_data_o,
  output logic                    store_last_o,
  output logic                    store_error_o,
  // memories: enable bit = region; write data in the low bits
  output logic [6:0]              port_we_o,
  output logic [4:0]              port_re_o,
  output logic [7:0]              port_slot_o,
  output logic [15:0]             port_index_o,
  output logic [PORT_WIDTH-1:0]   port_wdata_o,
  input  logic [STATE_WORD-1:0]   state_port_rdata_i,
  input  logic [NORM_WORD-1:0]    norm_port_rdata_i,
  input  logic [ROWS_WORD-1:0]    rows_port_rdata_i,
  input  logic [TAILS_WORD-1:0]   tails_port_rdata_i,
  input  logic [COUNT_WORD-1:0]   count_port_rdata_i,
  output logic                    table_we_o,
  output logic [1:0]              table_select_o,
  output logic [TABLE_INDEX-1:0]  table_index_o,
  output logic [63:0]             table_data_o
);
  localparam int BEATS          = (PORT_WIDTH + STREAM_WIDTH - 1) / STREAM_WIDTH;
  localparam int WORD_WIDTH     = BEATS * STREAM_WIDTH;
  localparam int POSITION_WIDTH = (BEATS > 1) ? $clog2(BEATS) : 1;

  function automatic logic [POSITION_WIDTH-1:0] last_of(input int width);
    last_of = POSITION_WIDTH'((width + STREAM_WIDTH - 1) / STREAM_WIDTH - 1);
  endfunction

  logic                      send_q, store;
  logic [2:0]                read_q;      // a word is asked for, on its way, there
  logic [9:0]                we_q;
  logic [4:0]                re_q;
  logic [15:0]               index_q;
  logic [15:0]               words_q;     // LOAD: not complete; STORE: not asked for
  logic [POSITION_WIDTH-1:0] position_q;  // beat of the word
  logic [POSITION_WIDTH-1:0] last_q, last;
  logic [WORD_WIDTH-1:0]     word, read_word;
  logic [3:0]                region;
  logic                      send_fire, word_sent, word_loaded;

  assign store       = header_i[0];
  assign region      = header_i[11:8];
  assign send_fire   = send_q & store_ready_i;
  assign word_sent   = send_fire && position_q == last_q;
  assign word_loaded = load_valid_i && position_q == last_q;
  assign load_last_o = position_q == last_q && words_q == 16'd1;

  always_comb begin
    case (region)
      4'd0:    last = last_of(STATE_WORD);
      4'd1:    last = last_of(NORM_WORD);
      4'd2:    last = last_of(ROWS_WORD);
      4'd3:    last = last_of(TAILS_WORD);
      4'd5:    last = last_of(TAPS_WORD);
      4'd6:    last = last_of(FEATURE_WORD);
      default: last = '0;  // count and tables
    endcase
    case (region)
      4'd0:    read_word = WORD_WIDTH'(state_port_rdata_i);
      4'd1:    read_word = WORD_WIDTH'(norm_port_rdata_i);
      4'd2:    read_word = WORD_WIDTH'(rows_port_rdata_i);
      4'd3:    read_word = WORD_WIDTH'(tails_port_rdata_i);
      default: read_word = WORD_WIDTH'(count_port_rdata_i);
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      send_q <= 1'b0;
      read_q <= '0;
      we_q   <= '0;
      re_q   <= '0;
    end else begin
      we_q   <= word_loaded ? 10'(10'd1 << region) : '0;
      re_q   <= (word_sent && words_q != '0) ? 5'(5'd1 << region) : '0;
      read_q <= {read_q[1:0], word_sent && words_q != '0};
      if ((start_i && store) || read_q[2]) send_q <= 1'b1;
      else if (word_sent) send_q <= 1'b0;
    end
    if (start_i) begin
      index_q <= header_i[47:32];
      words_q <= header_i[63:48];
      last_q  <= last;
    end else begin
      if (we_q != '0 || re_q != '0) index_q <= index_q + 1'b1;
      if (word_loaded || (word_sent && words_q != '0)) words_q <= words_q - 1'b1;
    end
    // The header of an answer counts as the last beat of a word.
    if (start_i) position_q <= store ? last : '0;
    else if (word_loaded || word_sent) position_q <= '0;
    else if (load_valid_i || send_fire) position_q <= position_q + 1'b1;
  end

  logic [STREAM_WIDTH-1:0] answer;
  assign answer = STREAM_WIDTH'({excess_i, 31'd0, header_i[95:8], header_i[7:0] | 8'h80});

  for (genvar b = 0; b < BEATS; b++) begin : g_beat
    logic [STREAM_WIDTH-1:0] next, first;
    if (b + 1 < BEATS) begin : g_next
      assign next = word[(b+1)*STREAM_WIDTH +: STREAM_WIDTH];
    end else begin : g_end
      assign next = '0;
    end
    if (b == 0) begin : g_answer
      assign first = answer;
    end else begin : g_zero
      assign first = '0;
    end
    logic [STREAM_WIDTH-1:0] beat_q;
    assign word[b*STREAM_WIDTH +: STREAM_WIDTH] = beat_q;
    always_ff @(posedge clk_i) begin
      if (load_valid_i && position_q == POSITION_WIDTH'(b)) beat_q <= load_data_i;
      else if (start_i) beat_q <= first;
      else if (read_q[2]) beat_q <= read_word[b*STREAM_WIDTH +: STREAM_WIDTH];
      else if (send_fire) beat_q <= next;
    end
  end

  assign store_valid_o  = send_q;
  assign store_data_o   = word[STREAM_WIDTH-1:0];
  assign store_last_o   = position_q == last_q && words_q == '0;
  assign store_error_o  = excess_i;
  assign store_done_o   = word_sent && words_q == '0;
  assign port_we_o      = we_q[6:0];
  assign port_re_o      = re_q;
  assign port_slot_o    = header_i[23:16];
  assign port_index_o   = index_q;
  assign port_wdata_o   = word[PORT_WIDTH-1:0];
  assign table_we_o     = we_q[9:7] != '0;
  assign table_select_o = region[1:0] + 2'd1;  // regions 7, 8, 9
  assign table_index_o  = index_q[TABLE_INDEX-1:0];
  assign table_data_o   = word[63:0];

  `LAWCAT_ASSERT(one_direction, !(load_valid_i && (send_q || read_q != '0)))
endmodule

// SPDX-License-Identifier: Apache-2.0
// Registers of one engine behind an AXI4-Lite port (32-bit data, 12-bit address), counters and the interrupt.
//
// A write acts in the cycle after address and data are both there and the last response was taken; a read
// answers three cycles after its address. All handshake outputs come from registers. SLVERR without any
// effect: address not in the table or not a multiple of 4, write to a read-only register, a strobe bit that
// is 0, values that the table calls refused.
//
// | address   | register     | access | bits                                                             |
// |-----------|--------------|--------|------------------------------------------------------------------|
// | 0x000     | ID           | R      | "LAWC" = 0x4C415743                                              |
// | 0x004     | VERSION      | R      | [31:16] major, [15:0] minor of this register map                 |
// | 0x008     | PRESET_HASH  | R      | first 32 bits of the preset's hash                               |
// | 0x00C     | CAPABILITY_0 | R      | [15:0] LANES, [23:16] MAX_HEAD_DIM, [31:24] MAX_FEATURE_DIM      |
// | 0x010     | CAPABILITY_1 | R      | [15:0] CONTEXT_SLOTS, [31:16] WEIGHT_SLOTS, of heads up to       |
// |           |              |        | D = 64, F = 32; larger ones have fewer: rtl/README.md, "Stream"  |
// | 0x014     | CAPABILITY_2 | R      | [15:0] STREAM_WIDTH, [23:16] ELEMENT_WIDTH, [31:24] FIFO_TOKENS  |
// | 0x018     | CAPABILITY_3 | R      | STATE_DEPTH                                                      |
// | 0x020     | CONTROL      | RW     | [0] enable; [1] clear all contexts, [2] clear context [23:16]    |
// |           |              |        | (refused from CONTEXT_SLOTS on), [3] soft reset, [4] clear       |
// |           |              |        | counters: these four act once and read 0; [8] interrupt when     |
// |           |              |        | done, [9] interrupt on error                                     |
// | 0x024     | STATUS       | R      | [0] busy, [1] idle, [2] error, [3] enable, [15:8] error code     |
// | 0x028     | SHAPE        | RW     | [7:0] head dim, [14:8] feature dim; reset: the largest. Refused: |
// |           |              |        | 0, more than the largest, other bits not 0; while busy: refused  |
// |           |              |        | with error code 9                                                |
// | 0x02C     | ERROR        | RW     | [0] error, write 1 to clear; [15:8] code of the first since then |
// | 0x030     | ERROR_TAG    | R      | tag of that packet (code 9: the value that was written)          |
// | 0x034     | INTERRUPT    | RW     | [0] done: became idle, [1] error; write 1 to clear               |
// | 0x200+8*i | COUNTER i    | R      | low word, i < 39; reading it keeps the high word for the next    |
// | 0x204+8*i |              | R      | read here (of any i)                                             |
//
// Counters have 64 bits. 0 cycles; 1-9 busy, 10-18 stall, 19-27 starve of the stages unpack, convolution,
// feature_map, dual_softmax, gate, row_prepare, state_update, normalise, pack (0-27 advance only while
// enabled, so that of each stage busy + stall + starve = cycles); 28 head-tokens, 29 tokens, 30 beats in,
// 31 beats out; clipped values: 32 conv_query, 33 conv_key, 34 feature_query, 35 feature_key, 36 normaliser,
// 37 state, 38 output.
//
// Idle: no packet is begun and the last beat of every answer has gone to the output port, where up to three beats
// wait while TREADY is low. SHAPE needs no more; an answer has ended with its TLAST only.
//
// A soft reset holds soft_reset_o for 16 cycles and leaves SHAPE, ERROR, INTERRUPT and the counters; the
// engine counts as busy meanwhile, and its end sets `done`. Beats in the output port are lost: software that
// wants an answer takes its TLAST first. Error codes 1-8 come from the stream.
`include "lawcat_assert.svh"

module lawcat_control #(
  parameter logic [31:0] PRESET_HASH = 32'h0,
  // Widths of the numbers of values clipped in one cycle.
  parameter int CONV_COUNT_WIDTH    = 4,
  parameter int FEATURE_COUNT_WIDTH = 6,
  parameter int NORM_COUNT_WIDTH    = 4,
  parameter int STATE_COUNT_WIDTH   = 8,
  parameter int OUTPUT_COUNT_WIDTH  = 4
) (
  input  logic                           clk_i,
  input  logic                           rst_ni,
  input  logic [11:0]                    axi_awaddr_i,
  input  logic                           axi_awvalid_i,
  output logic                           axi_awready_o,
  input  logic [31:0]                    axi_wdata_i,
  input  logic [3:0]                     axi_wstrb_i,
  input  logic                           axi_wvalid_i,
  output logic                           axi_wready_o,
  output logic [1:0]                     axi_bresp_o,
  output logic                           axi_bvalid_o,
  input  logic                           axi_bready_i,
  input  logic [11:0]                    axi_araddr_i,
  input  logic                           axi_arvalid_i,
  output logic                           axi_arready_o,
  output logic [31:0]                    axi_rdata_o,
  output logic [1:0]                     axi_rresp_o,
  output logic                           axi_rvalid_o,
  input  logic                           axi_rready_i,
  output logic                           irq_o,
  // engine
  output logic                           enable_o,
  output logic                           clear_all_o,        // pulse
  output logic                           clear_slot_o,       // pulse
  output logic [7:0]                     clear_slot_index_o,
  output logic                           soft_reset_o,
  output logic [7:0]                     head_dim_o,
  output logic [6:0]                     feature_dim_o,
  input  logic                           idle_i,             // nothing is inside but beats in the output port
  input  logic                           error_i,            // pulse
  input  logic [7:0]                     error_code_i,
  input  logic [31:0]                    error_tag_i,
  // events to count; stage 0 is unpack, 8 is pack
  input  logic [8:0]                     busy_i,
  input  logic [8:0]                     stall_i,
  input  logic [8:0]                     starve_i,
  input  logic                           head_token_i,
  input  logic                           token_i,
  input  logic                           in_beat_i,
  input  logic                           out_beat_i,
  input  logic [CONV_COUNT_WIDTH-1:0]    conv_query_clipped_i,
  input  logic [CONV_COUNT_WIDTH-1:0]    conv_key_clipped_i,
  input  logic [FEATURE_COUNT_WIDTH-1:0] feature_query_clipped_i,
  input  logic [FEATURE_COUNT_WIDTH-1:0] feature_key_clipped_i,
  input  logic [NORM_COUNT_WIDTH-1:0]    normaliser_clipped_i,
  input  logic [STATE_COUNT_WIDTH-1:0]   state_clipped_i,
  input  logic [OUTPUT_COUNT_WIDTH-1:0]  output_clipped_i
);
  localparam logic [31:0] ID = 32'h4C41_5743;
  localparam logic [31:0] VERSION = 32'h0001_0000;
  localparam logic [7:0]  ERROR_SHAPE = 8'd9;
  localparam logic [1:0]  OKAY = 2'b00;
  localparam logic [1:0]  SLVERR = 2'b10;
  localparam logic [11:0] CONTROL = 12'h020;
  localparam logic [11:0] SHAPE = 12'h028;
  localparam logic [11:0] ERROR = 12'h02C;
  localparam logic [11:0] INTERRUPT = 12'h034;
  localparam int EVENTS = 32;
  localparam int POINTS = 7;
  localparam int COUNTERS = EVENTS + POINTS;
  localparam logic [3:0] RESET_LAST = 4'd15;

  `LAWCAT_REQUIRE(lawcat_arch_pkg::MAX_HEAD_DIM < 256 && lawcat_arch_pkg::MAX_FEATURE_DIM < 128,
                  "lawcat_control: the shape does not fit its register")

  // Write channel: address and data are kept until both are there.
  logic        aw_full_q, w_full_q, strobes_q;
  logic [11:0] waddr_q;
  logic [31:0] wdata_q;
  logic        write, write_ok, control_ok, shape_ok, shape_busy, idle;
  logic        clear_counters_q;
  logic [3:0]  reset_count_q;

  assign axi_awready_o = ~aw_full_q;
  assign axi_wready_o  = ~w_full_q;
  assign write = aw_full_q & w_full_q & ~axi_bvalid_o;
  assign idle = idle_i & ~soft_reset_o;
  assign control_ok = !wdata_q[2] || 32'(wdata_q[23:16]) < lawcat_arch_pkg::CONTEXT_SLOTS;
  assign shape_ok = wdata_q[31:15] == '0 && wdata_q[7:0] != '0 && wdata_q[14:8] != '0 &&
                    32'(wdata_q[7:0]) <= lawcat_arch_pkg::MAX_HEAD_DIM &&
                    32'(wdata_q[14:8]) <= lawcat_arch_pkg::MAX_FEATURE_DIM;

  always_comb begin
    write_ok = 1'b0;
    shape_busy = 1'b0;
    if (strobes_q) begin
      case (waddr_q)
        CONTROL: write_ok = control_ok;
        SHAPE: begin
          shape_busy = ~idle;
          write_ok = idle & shape_ok;
        end
        ERROR, INTERRUPT: write_ok = 1'b1;
        default: ;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (axi_awvalid_i && !aw_full_q) waddr_q <= axi_awaddr_i;
    if (axi_wvalid_i && !w_full_q) begin
      wdata_q   <= axi_wdata_i;
      strobes_q <= &axi_wstrb_i;
    end
    if (write) axi_bresp_o <= write_ok ? OKAY : SLVERR;
    if (!rst_ni) begin
      aw_full_q    <= 1'b0;
      w_full_q     <= 1'b0;
      axi_bvalid_o <= 1'b0;
    end else begin
      aw_full_q    <= (aw_full_q | axi_awvalid_i) & ~write;
      w_full_q     <= (w_full_q | axi_wvalid_i) & ~write;
      axi_bvalid_o <= write | (axi_bvalid_o & ~axi_bready_i);
    end
  end

  // Registers.
  logic        write_control, write_error, write_interrupt;
  logic        error_q, new_error, done_irq_q, error_irq_q, done_enable_q, error_enable_q, idle_q;
  logic [7:0]  error_code_q;
  logic [31:0] error_tag_q;

  assign write_control = write & write_ok & (waddr_q == CONTROL);
  assign write_error = write & write_ok & (waddr_q == ERROR);
  assign write_interrupt = write & write_ok & (waddr_q == INTERRUPT);
  assign new_error = error_i | (write & shape_busy);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      enable_o         <= 1'b0;
      clear_all_o      <= 1'b0;
      clear_slot_o     <= 1'b0;
      clear_counters_q <= 1'b0;
      soft_reset_o     <= 1'b0;
      reset_count_q    <= '0;
      done_enable_q    <= 1'b0;
      error_enable_q   <= 1'b0;
      head_dim_o       <= 8'(lawcat_arch_pkg::MAX_HEAD_DIM);
      feature_dim_o    <= 7'(lawcat_arch_pkg::MAX_FEATURE_DIM);
      error_q          <= 1'b0;
      error_code_q     <= '0;
      error_tag_q      <= '0;
      done_irq_q       <= 1'b0;
      error_irq_q      <= 1'b0;
      idle_q           <= 1'b1;
      irq_o            <= 1'b0;
    end else begin
      clear_all_o      <= write_control & wdata_q[1];
      clear_slot_o     <= write_control & wdata_q[2];
      clear_counters_q <= write_control & wdata_q[4];
      if (write_control) begin
        enable_o       <= wdata_q[0];
        done_enable_q  <= wdata_q[8];
        error_enable_q <= wdata_q[9];
      end
      reset_count_q <= soft_reset_o ? reset_count_q + 1'b1 : '0;
      soft_reset_o  <= (write_control & wdata_q[3]) | (soft_reset_o & (reset_count_q != RESET_LAST));
      if (write && write_ok && waddr_q == SHAPE) begin
        head_dim_o    <= wdata_q[7:0];
        feature_dim_o <= wdata_q[14:8];
      end
      if (new_error && (!error_q || (write_error && wdata_q[0]))) begin
        error_q      <= 1'b1;
        error_code_q <= error_i ? error_code_i : ERROR_SHAPE;
        error_tag_q  <= error_i ? error_tag_i : wdata_q;
      end else if (write_error && wdata_q[0]) begin
        error_q      <= 1'b0;
        error_code_q <= '0;
        error_tag_q  <= '0;
      end
      idle_q      <= idle;
      done_irq_q  <= (idle & ~idle_q) | (done_irq_q & ~(write_interrupt & wdata_q[0]));
      error_irq_q <= new_error | (error_irq_q & ~(write_interrupt & wdata_q[1]));
      irq_o       <= (done_irq_q & done_enable_q) | (error_irq_q & error_enable_q);
    end
    if (write_control) clear_slot_index_o <= wdata_q[23:16];
  end

  // Counters. Events are registered first: they end long paths of the stages.
  logic [EVENTS-1:0]              event_q;
  logic [CONV_COUNT_WIDTH-1:0]    conv_query_q, conv_key_q;
  logic [FEATURE_COUNT_WIDTH-1:0] feature_query_q, feature_key_q;
  logic [NORM_COUNT_WIDTH-1:0]    normaliser_q;
  logic [STATE_COUNT_WIDTH-1:0]   state_q;
  logic [OUTPUT_COUNT_WIDTH-1:0]  output_q;
  (* mem2reg *) logic [63:0]      count_q [0:COUNTERS-1];

  always_ff @(posedge clk_i) begin
    event_q <= {out_beat_i, in_beat_i, token_i, head_token_i,
                {starve_i, stall_i, busy_i, 1'b1} & {28{enable_o}}};
    conv_query_q    <= conv_query_clipped_i;
    conv_key_q      <= conv_key_clipped_i;
    feature_query_q <= feature_query_clipped_i;
    feature_key_q   <= feature_key_clipped_i;
    normaliser_q    <= normaliser_clipped_i;
    state_q         <= state_clipped_i;
    output_q        <= output_clipped_i;
    if (!rst_ni || clear_counters_q) begin
      for (int i = 0; i < COUNTERS; i++) count_q[i] <= '0;
    end else begin
      for (int i = 0; i < EVENTS; i++) if (event_q[i]) count_q[i] <= count_q[i] + 64'd1;
      if (conv_query_q != '0) count_q[EVENTS] <= count_q[EVENTS] + 64'(conv_query_q);
      if (conv_key_q != '0) count_q[EVENTS+1] <= count_q[EVENTS+1] + 64'(conv_key_q);
      if (feature_query_q != '0) count_q[EVENTS+2] <= count_q[EVENTS+2] + 64'(feature_query_q);
      if (feature_key_q != '0) count_q[EVENTS+3] <= count_q[EVENTS+3] + 64'(feature_key_q);
      if (normaliser_q != '0) count_q[EVENTS+4] <= count_q[EVENTS+4] + 64'(normaliser_q);
      if (state_q != '0) count_q[EVENTS+5] <= count_q[EVENTS+5] + 64'(state_q);
      if (output_q != '0) count_q[EVENTS+6] <= count_q[EVENTS+6] + 64'(output_q);
    end
  end

  // Read channel: fetch the register or counter, then choose the word, then answer.
  localparam logic [1:0] READ_IDLE = 2'd0;
  localparam logic [1:0] READ_FETCH = 2'd1;
  localparam logic [1:0] READ_SELECT = 2'd2;
  localparam logic [1:0] READ_ANSWER = 2'd3;
  logic [1:0]  read_q;
  logic [11:0] raddr_q;
  logic [5:0]  counter_index;
  logic        counter_read, register_ok, fetched_ok_q;
  logic [31:0] register_data, high_q;
  logic [63:0] fetched_q;

  assign axi_arready_o = read_q == READ_IDLE;
  assign axi_rvalid_o  = read_q == READ_ANSWER;
  assign counter_read  = raddr_q[11:9] == 3'd1;
  assign counter_index = raddr_q[8:3];

  always_comb begin
    register_ok = 1'b1;
    register_data = '0;
    case (raddr_q)
      12'h000: register_data = ID;
      12'h004: register_data = VERSION;
      12'h008: register_data = PRESET_HASH;
      12'h00C: register_data = {8'(lawcat_arch_pkg::MAX_FEATURE_DIM), 8'(lawcat_arch_pkg::MAX_HEAD_DIM),
                                16'(lawcat_arch_pkg::LANES)};
      12'h010: register_data = {16'(lawcat_arch_pkg::WEIGHT_SLOTS), 16'(lawcat_arch_pkg::CONTEXT_SLOTS)};
      12'h014: register_data = {8'(lawcat_arch_pkg::FIFO_TOKENS), 8'(lawcat_arch_pkg::ELEMENT_WIDTH),
                                16'(lawcat_arch_pkg::STREAM_WIDTH)};
      12'h018: register_data = lawcat_arch_pkg::STATE_DEPTH;
      CONTROL: register_data = {22'd0, error_enable_q, done_enable_q, 7'd0, enable_o};
      12'h024: register_data = {16'd0, error_code_q, 4'd0, enable_o, error_q, idle, ~idle};
      SHAPE: register_data = {17'd0, feature_dim_o, head_dim_o};
      ERROR: register_data = {16'd0, error_code_q, 7'd0, error_q};
      12'h030: register_data = error_tag_q;
      INTERRUPT: register_data = {30'd0, error_irq_q, done_irq_q};
      default: register_ok = 1'b0;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (axi_arvalid_i && axi_arready_o) raddr_q <= axi_araddr_i;
    if (read_q == READ_FETCH) begin
      fetched_q <= {32'd0, register_data};
      fetched_ok_q <= register_ok;
      if (counter_read) begin
        fetched_ok_q <= raddr_q[1:0] == '0 && 32'(counter_index) < COUNTERS;
        fetched_q <= '0;
        if (32'(counter_index) < COUNTERS) fetched_q <= count_q[counter_index];
      end
    end
    if (read_q == READ_SELECT) begin
      axi_rresp_o <= fetched_ok_q ? OKAY : SLVERR;
      axi_rdata_o <= !fetched_ok_q ? '0 : (counter_read && raddr_q[2]) ? high_q : fetched_q[31:0];
      if (counter_read && fetched_ok_q && !raddr_q[2]) high_q <= fetched_q[63:32];
    end
    if (!rst_ni) read_q <= READ_IDLE;
    else begin
      case (read_q)
        READ_IDLE: if (axi_arvalid_i) read_q <= READ_FETCH;
        READ_FETCH: read_q <= READ_SELECT;
        READ_SELECT: read_q <= READ_ANSWER;
        default: if (axi_rready_i) read_q <= READ_IDLE;
      endcase
    end
    if (!rst_ni) high_q <= '0;
  end
endmodule

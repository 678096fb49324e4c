// SPDX-License-Identifier: Apache-2.0
// State update and read-out of head-tokens (update_row of backend/datapath.cc and the sums of its read-out):
// for each segment of SEGMENT columns, each half and each group of ROWS rows, ROWS x SEGMENT lanes
// (lawcat_state_lane) advance one word each. The normaliser column is one more lane per row of ROWS, which
// works during the first segment.
//   interval  segments * 2 * row_groups cycles, with segments = ceil(head_dim / SEGMENT),
//             row_groups = ceil(feature_dim / ROWS)
//   depth     13 cycles: row descriptor 2, state memory 1, lane 9, sum over the ROWS lanes of a column 1
// Row scalars leave 12 (state) and 10 (normaliser) cycles after the row's cycle, in the last and in the first
// segment; update_done_o comes with the last of them, interval + 11 cycles after the start. The last state
// word is in its memory 3 cycles earlier; so whoever starts after update_done_o finds both.
//
// `value` word: a beat of ELEMENT_WIDTH containers, index = beat; an entry serves all heads of a packet, the
// last of which (side bit 33) releases it. `rows` word: EXP_LANES descriptors, each, lsb first: valid, empty,
// exponent, norm_exponent; keep_shift, decay_shift, add_shift of the state, then of the normaliser (8 each,
// signed: n of the three shift_half_up of aligned_sum); phi_k mantissa, near_one, gate mantissa, phi_q
// mantissa; weight_shift, norm_weight_shift (12 each, signed). Side, msb first: token_key 32, base_norm 12,
// base_state 12, 34 side bits. `sums` word: SEGMENT numerators, index = segment; side, msb first: numerator
// exponent 12, denominator exponent 12, denominator, 34 side bits.
// state_port_*, norm_port_*: words of regions 0 and 1, only while no head-token is in flight; a write is seen
// by every read after it, read data come 2 cycles after re.
`include "lawcat_assert.svh"

module lawcat_state_update #(
  localparam int LANES = lawcat_arch_pkg::LANES,
  localparam int SEGMENT = lawcat_arch_pkg::SEGMENT,
  localparam int ROWS = lawcat_arch_pkg::ROWS,
  localparam int EXP_LANES = lawcat_arch_pkg::EXP_LANES,
  localparam int STREAM_WIDTH = lawcat_arch_pkg::STREAM_WIDTH,
  localparam int ELEMENTS = STREAM_WIDTH / lawcat_arch_pkg::ELEMENT_WIDTH,  // per beat
  localparam int STATE_WIDTH = lawcat_arch_pkg::STATE_WIDTH,
  localparam int NORM_WIDTH = lawcat_arch_pkg::NORM_WIDTH,
  localparam int READOUT_WIDTH = lawcat_arch_pkg::READOUT_WIDTH,
  localparam int STATE_EXPONENT_WIDTH = lawcat_arch_pkg::STATE_EXPONENT_WIDTH,
  localparam int NORM_EXPONENT_WIDTH = lawcat_arch_pkg::NORM_EXPONENT_WIDTH,
  localparam int SIDE_WIDTH = lawcat_arch_pkg::SIDE_WIDTH,
  localparam int SEGMENTS = (lawcat_arch_pkg::MAX_HEAD_DIM + SEGMENT - 1) / SEGMENT,
  localparam int GROUPS = (lawcat_arch_pkg::MAX_FEATURE_DIM + ROWS - 1) / ROWS,  // row groups of a half
  localparam int BEATS = (lawcat_arch_pkg::MAX_HEAD_DIM + ELEMENTS - 1) / ELEMENTS,
  localparam int ROW_WORDS = 2 * ((lawcat_arch_pkg::MAX_FEATURE_DIM + EXP_LANES - 1) / EXP_LANES),
  localparam int SEGMENT_INDEX_WIDTH = (SEGMENTS > 1) ? $clog2(SEGMENTS) : 1,
  localparam int GROUP_INDEX_WIDTH = (GROUPS > 1) ? $clog2(GROUPS) : 1,
  localparam int BEAT_INDEX_WIDTH = (BEATS > 1) ? $clog2(BEATS) : 1,
  localparam int ROW_INDEX_WIDTH = $clog2(ROW_WORDS),
  localparam int SHIFT_WIDTH = 8,
  localparam int EXPONENT_WIDTH = 12,
  localparam int PHI_P = lawcat_arch_pkg::PHI_P,
  localparam int GATE_P = lawcat_arch_pkg::GATE_P,
  localparam int DESCRIPTOR_WIDTH = 2 + STATE_EXPONENT_WIDTH + NORM_EXPONENT_WIDTH + 6 * SHIFT_WIDTH
                                    + 2 * PHI_P + 1 + GATE_P + 2 * EXPONENT_WIDTH,
  localparam int ROWS_SIDE_WIDTH = 32 + 2 * EXPONENT_WIDTH + SIDE_WIDTH,
  localparam int SUM_WIDTH = STATE_WIDTH + READOUT_WIDTH + 2,
  localparam int DENOMINATOR_WIDTH = NORM_WIDTH + READOUT_WIDTH + 2,
  localparam int SUMS_SIDE_WIDTH = 2 * EXPONENT_WIDTH + DENOMINATOR_WIDTH + SIDE_WIDTH,
  localparam int LEAD_WIDTH = 6,
  localparam int STATE_ROW_WIDTH = LEAD_WIDTH + STATE_EXPONENT_WIDTH,
  localparam int NORM_ROW_WIDTH = LEAD_WIDTH + NORM_EXPONENT_WIDTH,
  localparam int STATE_COUNT_WIDTH = $clog2(LANES + 1),
  localparam int NORM_COUNT_WIDTH = $clog2(ROWS + 1)
) (
  input  logic                                  clk_i,
  input  logic                                  rst_ni,
  input  logic [7:0]                            head_dim_i,
  input  logic [6:0]                            feature_dim_i,
  // regions 0 and 1
  input  logic                                  state_port_we_i,
  input  logic                                  state_port_re_i,
  input  logic [7:0]                            state_port_slot_i,
  input  logic [15:0]                           state_port_index_i,
  input  logic [LANES*STATE_WIDTH-1:0]          state_port_wdata_i,
  output logic [LANES*STATE_WIDTH-1:0]          state_port_rdata_o,
  input  logic                                  norm_port_we_i,
  input  logic                                  norm_port_re_i,
  input  logic [7:0]                            norm_port_slot_i,
  input  logic [15:0]                           norm_port_index_i,
  input  logic [ROWS*NORM_WIDTH-1:0]            norm_port_wdata_i,
  output logic [ROWS*NORM_WIDTH-1:0]            norm_port_rdata_o,
  // from unpack
  output logic                                  value_room_o,
  input  logic                                  value_reserve_i,
  input  logic                                  value_we_i,
  input  logic [BEAT_INDEX_WIDTH-1:0]           value_addr_i,
  input  logic [STREAM_WIDTH-1:0]               value_data_i,
  input  logic                                  value_commit_i,
  // from row_prepare
  output logic                                  rows_room_o,
  input  logic                                  rows_reserve_i,
  input  logic                                  rows_we_i,
  input  logic [ROW_INDEX_WIDTH-1:0]            rows_addr_i,
  input  logic [EXP_LANES*DESCRIPTOR_WIDTH-1:0] rows_data_i,
  input  logic                                  rows_commit_i,
  input  logic [ROWS_SIDE_WIDTH-1:0]            rows_side_i,
  // to row_prepare
  output logic                                  state_row_we_o,
  output logic [7:0]                            state_row_slot_o,
  output logic                                  state_row_half_o,
  output logic [GROUP_INDEX_WIDTH-1:0]          state_row_index_o,
  output logic [ROWS*STATE_ROW_WIDTH-1:0]       state_row_data_o,
  output logic                                  norm_row_we_o,
  output logic [7:0]                            norm_row_slot_o,
  output logic                                  norm_row_half_o,
  output logic [GROUP_INDEX_WIDTH-1:0]          norm_row_index_o,
  output logic [ROWS*NORM_ROW_WIDTH-1:0]        norm_row_data_o,
  output logic                                  update_done_o,
  // to normalise
  input  logic                                  sums_room_i,
  output logic                                  sums_reserve_o,
  output logic                                  sums_we_o,
  output logic [SEGMENT_INDEX_WIDTH-1:0]        sums_addr_o,
  output logic [SEGMENT*SUM_WIDTH-1:0]          sums_data_o,
  output logic                                  sums_commit_o,
  output logic [SUMS_SIDE_WIDTH-1:0]            sums_side_o,
  // for counters
  output logic                                  busy_o,
  output logic                                  stall_o,
  output logic                                  starve_o,
  output logic [STATE_COUNT_WIDTH-1:0]          state_saturations_o,
  output logic [NORM_COUNT_WIDTH-1:0]           norm_saturations_o
);
  localparam int VALUE_WIDTH = lawcat_arch_pkg::VALUE_WIDTH;
  localparam int VALUE_FRACTION = lawcat_arch_pkg::VALUE_FRACTION;
  localparam int GUARD = lawcat_arch_pkg::GUARD;
  localparam int ROUNDING = lawcat_arch_pkg::ROUNDING;
  localparam int SLOTS = lawcat_arch_pkg::FIFO_TOKENS;  // of `value`
  localparam int STATE_DEPTH = lawcat_arch_pkg::STATE_DEPTH;
  localparam int NORM_DEPTH = lawcat_arch_pkg::CONTEXT_SLOTS * 64 / ROWS;
  localparam int STATE_ADDRESS = (STATE_DEPTH > 1) ? $clog2(STATE_DEPTH) : 1;
  localparam int NORM_ADDRESS = (NORM_DEPTH > 1) ? $clog2(NORM_DEPTH) : 1;
  localparam int COLUMN_WIDTH = (SEGMENT > 1) ? $clog2(SEGMENT) : 1;
  localparam int INTERVAL_WIDTH = $clog2(SEGMENTS * 2 * GROUPS + 1);
  localparam int SUBS = EXP_LANES / ROWS;  // row groups per `rows` word
  localparam int SUB_WIDTH = (SUBS > 1) ? $clog2(SUBS) : 1;
  localparam int COLUMN_GROUPS = SEGMENT / ELEMENTS;

  `LAWCAT_REQUIRE(LANES == ROWS * SEGMENT && SEGMENT == (1 << $clog2(SEGMENT)) && ROWS == (1 << $clog2(ROWS)),
                  "lawcat_state_update: SEGMENT and ROWS are powers of two, LANES their product")
  `LAWCAT_REQUIRE(EXP_LANES % ROWS == 0, "lawcat_state_update: EXP_LANES is a multiple of ROWS")
  `LAWCAT_REQUIRE(SEGMENT % ELEMENTS == 0, "lawcat_state_update: a segment is whole beats")
  `LAWCAT_REQUIRE(ROUNDING >= 0 && ROUNDING <= 2, "lawcat_state_update: ROUNDING is 0, 1 or 2")
  // phi's exponent is at most 1: a new term never needs more than the largest exponent.
  `LAWCAT_REQUIRE(VALUE_WIDTH - VALUE_FRACTION + 2 - STATE_WIDTH < (1 << (STATE_EXPONENT_WIDTH - 1)),
                  "lawcat_state_update: the state's exponents reach the values")
  `LAWCAT_REQUIRE(2 * lawcat_arch_pkg::MAX_FEATURE_DIM <= (1 << (PHI_P - 2)) && READOUT_WIDTH >= 8,
                  "lawcat_state_update: the weights' sum is bounded")
  `LAWCAT_REQUIRE(STATE_WIDTH + GATE_P <= 62 && NORM_WIDTH + GATE_P <= 62 && VALUE_WIDTH + PHI_P <= 62,
                  "lawcat_state_update: a shift by 63 leaves nothing of a product")

  // Most left shifts: a word or value with one bit, brought to the top of the terms, less the multiplier's
  // places.
  function automatic int left_of(input int word_width, input int places);
    left_of = (word_width + GUARD - 3 > places) ? word_width + GUARD - 3 - places : 0;
  endfunction
  localparam int KEEP_LEFT = left_of(STATE_WIDTH, 0);
  localparam int DECAY_LEFT = left_of(STATE_WIDTH, GATE_P);
  localparam int ADD_LEFT = left_of(STATE_WIDTH, PHI_P);
  localparam int KEEP_SHIFT = $clog2(STATE_WIDTH + KEEP_LEFT + 1);
  localparam int DECAY_SHIFT = $clog2(STATE_WIDTH + GATE_P + 1 + DECAY_LEFT + 1);
  localparam int ADD_SHIFT = $clog2(VALUE_WIDTH + PHI_P + 1 + ADD_LEFT + 1);
  localparam int NORM_KEEP_LEFT = left_of(NORM_WIDTH, 0);
  localparam int NORM_DECAY_LEFT = left_of(NORM_WIDTH, GATE_P);
  localparam int NORM_ADD_LEFT = left_of(NORM_WIDTH, PHI_P);
  localparam int NORM_KEEP_SHIFT = $clog2(NORM_WIDTH + NORM_KEEP_LEFT + 1);
  localparam int NORM_DECAY_SHIFT = $clog2(NORM_WIDTH + GATE_P + 1 + NORM_DECAY_LEFT + 1);
  localparam int NORM_ADD_SHIFT = $clog2(PHI_P + 1 + NORM_ADD_LEFT + 1);
  localparam int WEIGHT_LEFT = (READOUT_WIDTH > PHI_P) ? READOUT_WIDTH - PHI_P : 0;
  localparam int WEIGHT_SHIFT = $clog2(PHI_P + 1 + WEIGHT_LEFT + 1);

  // One of a descriptor's shifts n as the right shift of lawcat_align.
  function automatic logic [SHIFT_WIDTH-1:0] right_shift(input logic [6*SHIFT_WIDTH-1:0] shifts,
                                                         input int which, input int left, input int width);
    int sum, most;
    sum  = 32'($signed(shifts[which*SHIFT_WIDTH +: SHIFT_WIDTH])) + left;
    most = (1 << width) - 1;
    right_shift = (sum < 0) ? '0 : SHIFT_WIDTH'((sum > most) ? most : sum);
  endfunction

  // -------- configuration
  logic [SEGMENT_INDEX_WIDTH-1:0] last_segment_q;
  logic [GROUP_INDEX_WIDTH-1:0]   last_group_q;
  logic [INTERVAL_WIDTH-1:0]      interval_q;
  logic [3:0]                     state_shift_q, norm_shift_q;
  logic [COLUMN_WIDTH-1:0]        last_column_q;  // of the last segment
  logic [31:0]                    half_salt_q;    // of the first row of half 1

  localparam logic [31:0] SALT = 32'h7f4a_7c15;

  logic [7:0] head_less_1;
  logic [6:0] feature_less_1;
  logic [INTERVAL_WIDTH-1:0] half_words;  // row groups of a token's segment

  // log2 of the next power of two.
  function automatic logic [3:0] log2_above(input logic [INTERVAL_WIDTH-1:0] words);
    log2_above = '0;
    for (int i = 0; i < INTERVAL_WIDTH; i++)
      if (words > INTERVAL_WIDTH'(1 << i)) log2_above = 4'(i + 1);
  endfunction

  assign head_less_1    = head_dim_i - 8'd1;
  assign feature_less_1 = feature_dim_i - 7'd1;
  assign half_words     = INTERVAL_WIDTH'({last_group_q, 1'b0}) + INTERVAL_WIDTH'(2);

  always_ff @(posedge clk_i) begin
    last_segment_q <= SEGMENT_INDEX_WIDTH'(head_less_1 >> $clog2(SEGMENT));
    last_column_q  <= COLUMN_WIDTH'(head_less_1);
    last_group_q   <= GROUP_INDEX_WIDTH'(feature_less_1 >> $clog2(ROWS));
    interval_q     <= half_words * (INTERVAL_WIDTH'(last_segment_q) + INTERVAL_WIDTH'(1));
    state_shift_q  <= log2_above(interval_q);
    norm_shift_q   <= log2_above(half_words);
    half_salt_q    <= SALT * 32'(feature_dim_i);
  end

  // -------- hand-over
  logic                                  start, active, last, value_valid, rows_valid, rows_re;
  logic [INTERVAL_WIDTH-1:0]             index;
  logic [ROWS_SIDE_WIDTH-1:0]            rows_side;
  logic [EXP_LANES*DESCRIPTOR_WIDTH-1:0] rows_word;
  logic [ROW_INDEX_WIDTH-1:0]            rows_index_q;
  logic [7:0]                            slot;
  logic                                  fresh, last_of_packet;

  assign slot           = rows_side[7:0];
  assign fresh          = rows_side[32];
  assign last_of_packet = rows_side[33];

  lawcat_stage_control #(
    .WIDTH(INTERVAL_WIDTH)
  ) u_control (
    .clk_i,
    .rst_ni,
    .valid_i   (value_valid & rows_valid),
    .room_i    (sums_room_i),
    .interval_i(interval_q),
    .start_o   (start),
    .active_o  (active),
    .last_o    (last),
    .index_o   (index),
    .stall_o,
    .starve_o
  );
  assign busy_o         = active;
  assign sums_reserve_o = start;

  lawcat_token_buffer #(
    .SLOTS     (2),
    .WORDS     (ROW_WORDS),
    .WIDTH     (EXP_LANES * DESCRIPTOR_WIDTH),
    .SIDE_WIDTH(ROWS_SIDE_WIDTH)
  ) u_rows (
    .clk_i,
    .rst_ni,
    .room_o   (rows_room_o),
    .reserve_i(rows_reserve_i),
    .we_i     (rows_we_i),
    .waddr_i  (rows_addr_i),
    .wdata_i  (rows_data_i),
    .commit_i (rows_commit_i),
    .side_i   (rows_side_i),
    .valid_o  (rows_valid),
    .side_o   (rows_side),
    .re_i     (rows_re),
    .raddr_i  (rows_index_q),
    .rdata_o  (rows_word),
    .release_i(last)
  );

  // `value`: the slots of a lawcat_token_buffer, with a memory at each beat's columns. The last segment's
  // word is read two cycles after the segment's first cycle: at the latest in the cycle after the release,
  // when the earliest write of the slot's next packet may come; the memory then still gives the old word.
  localparam int SLOT_WIDTH = (SLOTS > 1) ? $clog2(SLOTS) : 1;
  localparam int SLOT_COUNT_WIDTH = $clog2(SLOTS + 1);
  logic [SLOT_COUNT_WIDTH-1:0] value_reserved_q, value_committed_q;
  logic [SLOT_WIDTH-1:0]       value_write_q, value_read_q;
  logic                        value_release;
  logic [ELEMENTS*VALUE_WIDTH-1:0] value_elements;

  function automatic logic [SLOT_WIDTH-1:0] next_slot(input logic [SLOT_WIDTH-1:0] at);
    next_slot = (at == SLOT_WIDTH'(SLOTS - 1)) ? '0 : at + 1'b1;
  endfunction

  assign value_room_o  = value_reserved_q != SLOT_COUNT_WIDTH'(SLOTS);
  assign value_valid   = value_committed_q != '0;
  assign value_release = last & last_of_packet;
  for (genvar e = 0; e < ELEMENTS; e++) begin : g_element
    localparam int CONTAINER = lawcat_arch_pkg::ELEMENT_WIDTH;
    assign value_elements[e*VALUE_WIDTH +: VALUE_WIDTH] = value_data_i[e*CONTAINER +: VALUE_WIDTH];
    if (CONTAINER > VALUE_WIDTH) begin : g_unused
      logic unused;
      assign unused = ^value_data_i[e*CONTAINER+VALUE_WIDTH +: CONTAINER-VALUE_WIDTH];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      value_reserved_q  <= '0;
      value_committed_q <= '0;
      value_write_q     <= '0;
      value_read_q      <= '0;
    end else begin
      value_reserved_q  <= value_reserved_q + SLOT_COUNT_WIDTH'(value_reserve_i)
                                            - SLOT_COUNT_WIDTH'(value_release);
      value_committed_q <= value_committed_q + SLOT_COUNT_WIDTH'(value_commit_i)
                                             - SLOT_COUNT_WIDTH'(value_release);
      if (value_commit_i) value_write_q <= next_slot(value_write_q);
      if (value_release) value_read_q <= next_slot(value_read_q);
    end
  end
  `LAWCAT_ASSERT(reserves_only_a_free_value_slot, !value_reserve_i || value_room_o)
  `LAWCAT_ASSERT(commits_only_a_reserved_value, !value_commit_i || value_reserved_q > value_committed_q)

  // -------- cycle 0 of a row group: counters of segment, half, group and row. All are 0 between tokens.
  logic [SEGMENT_INDEX_WIDTH-1:0] segment_q;
  logic                           half_q;
  logic [GROUP_INDEX_WIDTH-1:0]   group_q;
  logic [SUB_WIDTH-1:0]           sub_q;
  logic [31:0]                    salt_q;
  logic                           group_ends, half_ends, segment_starts, sub_ends;

  assign group_ends     = group_q == last_group_q;
  assign half_ends      = group_ends & half_q;  // and with it the segment
  assign segment_starts = ~half_q & (group_q == '0);
  assign sub_ends       = group_ends | (sub_q == SUB_WIDTH'(SUBS - 1));
  assign rows_re        = active & (sub_q == '0);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      segment_q    <= '0;
      half_q       <= 1'b0;
      group_q      <= '0;
      sub_q        <= '0;
      rows_index_q <= '0;
      salt_q       <= '0;
    end else if (active) begin
      group_q      <= group_ends ? '0 : group_q + 1'b1;
      sub_q        <= sub_ends ? '0 : sub_q + 1'b1;
      half_q       <= half_q ^ group_ends;
      rows_index_q <= half_ends ? '0 : rows_index_q + ROW_INDEX_WIDTH'(sub_ends);
      salt_q       <= half_ends ? '0 : (group_ends ? half_salt_q : salt_q + SALT * 32'(ROWS));
      if (half_ends) segment_q <= (segment_q == last_segment_q) ? '0 : segment_q + 1'b1;
    end
  end

  logic [ROWS-1:0] row_exists;  // else the row is not written, weighs nothing and is not counted
  for (genvar r = 0; r < ROWS; r++) begin : g_exists
    assign row_exists[r] = ((8'(group_q) << $clog2(ROWS)) | 8'(r)) < 8'(feature_dim_i);
  end

  // What follows a row group through the pipeline: bit or field i belongs to the row group whose cycle 0 was
  // i cycles ago. Those with a reset are off where there is none.
  localparam int LAST_CYCLE = 12;
  localparam int PLACE_WIDTH = 9 + GROUP_INDEX_WIDTH;
  logic [11:1]                       active_q;
  logic [LAST_CYCLE:1]               in_last_q, ends_q, done_q;  // ends: of a segment; done: of a token
  logic [10:1]                       in_first_q;
  logic [9*ROWS-1:0]                 exists_q;    // fields from 1 on
  logic [LAST_CYCLE:1]               later_q;     // in a segment after the first
  logic [10:1]                       starts_q;
  logic [7*SEGMENT_INDEX_WIDTH-1:0]  segments_q;  // fields from 1 on
  logic [LAST_CYCLE*PLACE_WIDTH-1:0] places_q;    // slot, half, group; fields from 1 on

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q   <= '0;
      in_first_q <= '0;
      in_last_q  <= '0;
      ends_q     <= '0;
      done_q     <= '0;
      exists_q   <= '0;
    end else begin
      active_q   <= {active_q[10:1], active};
      in_first_q <= {in_first_q[9:1], active & (segment_q == '0)};
      in_last_q  <= {in_last_q[LAST_CYCLE-1:1], active & (segment_q == last_segment_q)};
      ends_q     <= {ends_q[LAST_CYCLE-1:1], active & half_ends};
      done_q     <= {done_q[LAST_CYCLE-1:1], last};
      exists_q   <= {exists_q[8*ROWS-1:0], row_exists & {ROWS{active}}};
    end
    later_q    <= {later_q[LAST_CYCLE-1:1], segment_q != '0};
    starts_q   <= {starts_q[9:1], segment_starts};
    segments_q <= {segments_q[6*SEGMENT_INDEX_WIDTH-1:0], segment_q};
    places_q   <= {places_q[(LAST_CYCLE-1)*PLACE_WIDTH-1:0], slot, half_q, group_q};
  end

  logic                             clear_1_q;
  logic [ROWS-1:0]                  clear_2_q;  // a row that does not exist reads 0
  logic [SUB_WIDTH-1:0]             sub_1_q;
  logic signed [EXPONENT_WIDTH-1:0] base_state_1_q, base_state_2_q, base_norm_1_q, base_norm_2_q;
  always_ff @(posedge clk_i) begin
    clear_1_q      <= fresh;
    clear_2_q      <= {ROWS{clear_1_q}} | ~exists_q[ROWS-1:0];
    sub_1_q        <= sub_q;
    base_state_1_q <= rows_side[SIDE_WIDTH +: EXPONENT_WIDTH];
    base_state_2_q <= base_state_1_q;
    base_norm_1_q  <= rows_side[SIDE_WIDTH+EXPONENT_WIDTH +: EXPONENT_WIDTH];
    base_norm_2_q  <= base_norm_1_q;
  end

  // -------- addresses: read in cycle 2, written in cycle 9
  function automatic logic [31:0] address(input logic [7:0] of_slot, input logic [3:0] shift,
                                          input logic [15:0] word);
    address = (32'(of_slot) << shift) | 32'(word);
  endfunction

  logic [STATE_ADDRESS-1:0]   state_port_address, state_address_q, state_raddr_q, state_waddr_q;
  logic [6*STATE_ADDRESS-1:0] state_later_q;  // cycles 3 to 8
  logic [NORM_ADDRESS-1:0]    norm_port_address, norm_address_q, norm_raddr_q, norm_waddr_q;
  logic [6*NORM_ADDRESS-1:0]  norm_later_q;
  logic                       state_port_re_q, norm_port_re_q, state_re, norm_re;
  logic [ROWS-1:0]            state_we_q, norm_we_q;

  assign state_port_address = STATE_ADDRESS'(address(state_port_slot_i, state_shift_q, state_port_index_i));
  assign norm_port_address  = NORM_ADDRESS'(address(norm_port_slot_i, norm_shift_q, norm_port_index_i));

  assign state_re = active_q[2] | state_port_re_q;
  assign norm_re  = in_first_q[2] | norm_port_re_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_port_re_q <= 1'b0;
      norm_port_re_q  <= 1'b0;
      state_we_q      <= '0;
      norm_we_q       <= '0;
    end else begin
      state_port_re_q <= state_port_re_i;
      norm_port_re_q  <= norm_port_re_i;
      state_we_q      <= exists_q[7*ROWS +: ROWS] | {ROWS{state_port_we_i}};
      norm_we_q       <= (exists_q[7*ROWS +: ROWS] & {ROWS{in_first_q[8]}}) | {ROWS{norm_port_we_i}};
    end
    state_address_q <= STATE_ADDRESS'(address(slot, state_shift_q, 16'(index)));
    state_raddr_q   <= state_port_re_i ? state_port_address : state_address_q;
    state_later_q   <= {state_later_q[5*STATE_ADDRESS-1:0], state_raddr_q};
    state_waddr_q   <= state_port_we_i ? state_port_address : state_later_q[5*STATE_ADDRESS +: STATE_ADDRESS];
    norm_address_q  <= NORM_ADDRESS'(address(slot, norm_shift_q, 16'(index)));
    norm_raddr_q    <= norm_port_re_i ? norm_port_address : norm_address_q;
    norm_later_q    <= {norm_later_q[5*NORM_ADDRESS-1:0], norm_raddr_q};
    norm_waddr_q    <= norm_port_we_i ? norm_port_address : norm_later_q[5*NORM_ADDRESS +: NORM_ADDRESS];
  end

  // -------- what the lanes of a row share; the number in a name is the cycle
  localparam int AT_EXPONENT = 2;
  localparam int AT_NORM_EXPONENT = AT_EXPONENT + STATE_EXPONENT_WIDTH;
  localparam int AT_SHIFTS = AT_NORM_EXPONENT + NORM_EXPONENT_WIDTH;
  localparam int AT_PHI_K = AT_SHIFTS + 6 * SHIFT_WIDTH;
  localparam int AT_NEAR_ONE = AT_PHI_K + PHI_P;
  localparam int AT_GATE = AT_NEAR_ONE + 1;
  localparam int AT_PHI_Q = AT_GATE + GATE_P;
  localparam int AT_WEIGHT_SHIFT = AT_PHI_Q + PHI_P;
  localparam int AT_NORM_WEIGHT_SHIFT = AT_WEIGHT_SHIFT + EXPONENT_WIDTH;

  // The right shift of a weight, that is base + shift, as lawcat_align wants it.
  function automatic logic [WEIGHT_SHIFT-1:0] weight_shift(input logic signed [EXPONENT_WIDTH-1:0] base,
                                                           input logic signed [EXPONENT_WIDTH-1:0] shift);
    logic signed [EXPONENT_WIDTH+1:0] sum;
    sum = (EXPONENT_WIDTH + 2)'(base) + (EXPONENT_WIDTH + 2)'(shift) + (EXPONENT_WIDTH + 2)'(WEIGHT_LEFT);
    weight_shift = sum[EXPONENT_WIDTH+1] ? '0
                   : ((sum[EXPONENT_WIDTH:WEIGHT_SHIFT] != '0) ? '1 : sum[WEIGHT_SHIFT-1:0]);
  endfunction

  for (genvar r = 0; r < ROWS; r++) begin : g_row
    logic [DESCRIPTOR_WIDTH-1:0] descriptor_2_q;
    logic                        near_one, exists_3_q, read_3_q;
    logic [GATE_P:0]             gate;
    logic [6*SHIFT_WIDTH-1:0]    shifts;
    logic signed [GATE_P:0]      factor_3_q;
    logic [PHI_P-1:0]            phi_3_q, query_3_q;
    logic [KEEP_SHIFT-1:0]       keep_3_q, keep_4_q, keep_5_q;
    logic [DECAY_SHIFT-1:0]      decay_3_q, decay_4_q, decay_5_q;
    logic [ADD_SHIFT-1:0]        add_3_q, add_4_q, add_5_q;
    logic [NORM_KEEP_SHIFT-1:0]  norm_keep_3_q, norm_keep_4_q, norm_keep_5_q;
    logic [NORM_DECAY_SHIFT-1:0] norm_decay_3_q, norm_decay_4_q, norm_decay_5_q;
    logic [NORM_ADD_SHIFT-1:0]   norm_add_3_q, norm_add_4_q, norm_add_5_q;
    logic [WEIGHT_SHIFT-1:0]     weight_right_3_q, norm_weight_right_3_q;
    logic [10*STATE_EXPONENT_WIDTH-1:0] exponents_q;       // cycles 3 to 12
    logic [8*NORM_EXPONENT_WIDTH-1:0]   norm_exponents_q;  // cycles 3 to 10

    assign near_one = descriptor_2_q[AT_NEAR_ONE];
    assign shifts   = descriptor_2_q[AT_SHIFTS +: 6*SHIFT_WIDTH];
    assign gate     = {1'b0, descriptor_2_q[AT_GATE +: GATE_P]};

    `LAWCAT_ASSERT(the_descriptor_knows_the_row, !exists_q[ROWS+r] || descriptor_2_q[0])

    always_ff @(posedge clk_i) begin
      for (int s = 0; s < SUBS; s++)
        if (sub_1_q == SUB_WIDTH'(s))
          descriptor_2_q <= rows_word[(s*ROWS+r)*DESCRIPTOR_WIDTH +: DESCRIPTOR_WIDTH];

      factor_3_q     <= near_one ? -gate : gate;
      phi_3_q        <= descriptor_2_q[AT_PHI_K +: PHI_P];
      query_3_q      <= descriptor_2_q[AT_PHI_Q +: PHI_P];
      // The word itself counts only beside 1 - a.
      keep_3_q       <= near_one ? KEEP_SHIFT'(right_shift(shifts, 0, KEEP_LEFT, KEEP_SHIFT)) : '1;
      decay_3_q      <= DECAY_SHIFT'(right_shift(shifts, 1, DECAY_LEFT, DECAY_SHIFT));
      add_3_q        <= ADD_SHIFT'(right_shift(shifts, 2, ADD_LEFT, ADD_SHIFT));
      norm_keep_3_q  <= near_one ? NORM_KEEP_SHIFT'(right_shift(shifts, 3, NORM_KEEP_LEFT, NORM_KEEP_SHIFT))
                                 : '1;
      norm_decay_3_q <= NORM_DECAY_SHIFT'(right_shift(shifts, 4, NORM_DECAY_LEFT, NORM_DECAY_SHIFT));
      norm_add_3_q   <= NORM_ADD_SHIFT'(right_shift(shifts, 5, NORM_ADD_LEFT, NORM_ADD_SHIFT));
      {keep_5_q, keep_4_q}             <= {keep_4_q, keep_3_q};
      {decay_5_q, decay_4_q}           <= {decay_4_q, decay_3_q};
      {add_5_q, add_4_q}               <= {add_4_q, add_3_q};
      {norm_keep_5_q, norm_keep_4_q}   <= {norm_keep_4_q, norm_keep_3_q};
      {norm_decay_5_q, norm_decay_4_q} <= {norm_decay_4_q, norm_decay_3_q};
      {norm_add_5_q, norm_add_4_q}     <= {norm_add_4_q, norm_add_3_q};

      // An empty row of the state is not read out; the normaliser gets phi, which is never 0.
      exists_3_q            <= descriptor_2_q[0] & exists_q[ROWS+r];
      read_3_q              <= descriptor_2_q[0] & exists_q[ROWS+r] & ~descriptor_2_q[1];
      weight_right_3_q      <= weight_shift(base_state_2_q,
                                            descriptor_2_q[AT_WEIGHT_SHIFT +: EXPONENT_WIDTH]);
      norm_weight_right_3_q <= weight_shift(base_norm_2_q,
                                            descriptor_2_q[AT_NORM_WEIGHT_SHIFT +: EXPONENT_WIDTH]);

      exponents_q      <= {exponents_q[9*STATE_EXPONENT_WIDTH-1:0],
                           descriptor_2_q[AT_EXPONENT +: STATE_EXPONENT_WIDTH]};
      norm_exponents_q <= {norm_exponents_q[7*NORM_EXPONENT_WIDTH-1:0],
                           descriptor_2_q[AT_NORM_EXPONENT +: NORM_EXPONENT_WIDTH]};
    end

    // Weights of the read-out, state and normaliser: aligned, rounded, cut to READOUT_WIDTH bits.
    for (genvar n = 0; n < 2; n++) begin : g_weight
      logic [WEIGHT_SHIFT-1:0]           right;
      logic signed [READOUT_WIDTH+1:0]   whole;  // not negative and at most 2^READOUT_WIDTH
      logic                              half, read, unused;
      logic [READOUT_WIDTH:0]            weight_4_q;
      logic [READOUT_WIDTH-1:0]          weight_5_q, weight_6_q, weight_7_q, weight_8_q;
      assign right  = (n == 0) ? weight_right_3_q : norm_weight_right_3_q;
      assign read   = (n == 0) ? read_3_q : exists_3_q;
      assign unused = whole[READOUT_WIDTH+1];
      lawcat_align #(
        .IN_WIDTH   (PHI_P + 1),
        .OUT_WIDTH  (READOUT_WIDTH + 2),
        .SHIFT_WIDTH(WEIGHT_SHIFT),
        .MAX_LEFT   (WEIGHT_LEFT)
      ) u_align (
        .data_i ({1'b0, query_3_q}),
        .right_i(right),
        .whole_o(whole),
        .half_o (half)
      );
      always_ff @(posedge clk_i) begin
        weight_4_q <= read ? whole[READOUT_WIDTH:0] + (READOUT_WIDTH + 1)'(half) : '0;
        weight_5_q <= weight_4_q[READOUT_WIDTH] ? '1 : weight_4_q[READOUT_WIDTH-1:0];
        weight_6_q <= weight_5_q;
        weight_7_q <= weight_6_q;
        weight_8_q <= weight_7_q;
      end
    end

    // The row's random bits. An element's are the row's, rotated left by its column and flipped; the part of
    // the rotation that depends on the segment is done here.
    logic [31:0] key_7_q;
    if (ROUNDING == 2) begin : g_random
      logic [31:0] key_1_q, key_5, key_6_q;
      logic [4:0]  places;
      lawcat_mix u_mix (
        .clk_i,
        .data_i(key_1_q),
        .data_o(key_5)
      );
      assign places = 5'(32'(segments_q[4*SEGMENT_INDEX_WIDTH +: SEGMENT_INDEX_WIDTH]) * SEGMENT);
      always_ff @(posedge clk_i) begin
        key_1_q <= rows_side[ROWS_SIDE_WIDTH-1 -: 32] + salt_q + SALT * 32'(r);
        key_6_q <= (key_5 << places) | (key_5 >> (6'd32 - 6'(places)));
        key_7_q <= key_6_q;
      end
    end else begin : g_no_random
      assign key_7_q = '0;
      logic unused;
      assign unused = ^{rows_side[ROWS_SIDE_WIDTH-1 -: 32], salt_q};
    end
  end

  // -------- normaliser: its value is 1, its random bits are the row's, inverted
  // It works in the first segment, where the row's key is not rotated.
  logic signed [DENOMINATOR_WIDTH-1:0] denominator_q;
  logic [ROWS-1:0]                     norm_clipped;
  localparam int NORM_SUM_WIDTH = NORM_WIDTH + READOUT_WIDTH + 1;
  logic [ROWS*NORM_SUM_WIDTH-1:0]      norm_sums;

  for (genvar r = 0; r < ROWS; r++) begin : g_norm
    logic [NORM_WIDTH-2:0]         magnitude;
    logic [$clog2(NORM_WIDTH)-1:0] lead, lead_10_q;
    lawcat_state_lane #(
      .WORD_WIDTH   (NORM_WIDTH),
      .DEPTH        (NORM_DEPTH),
      .GUARD        (GUARD),
      .ROUNDING     (ROUNDING),
      .GATE_P       (GATE_P),
      .PHI_P        (PHI_P),
      .UNIT_VALUE   (1),
      .VALUE_WIDTH  (1),
      .READOUT_WIDTH(READOUT_WIDTH),
      .KEEP_LEFT    (NORM_KEEP_LEFT),
      .KEEP_SHIFT   (NORM_KEEP_SHIFT),
      .DECAY_LEFT   (NORM_DECAY_LEFT),
      .DECAY_SHIFT  (NORM_DECAY_SHIFT),
      .ADD_LEFT     (NORM_ADD_LEFT),
      .ADD_SHIFT    (NORM_ADD_SHIFT)
    ) u_lane (
      .clk_i,
      .re_i        (norm_re),
      .raddr_i     (norm_raddr_q),
      .we_i        (norm_we_q[r]),
      .waddr_i     (norm_waddr_q),
      .port_we_i   (norm_port_we_i),
      .port_wdata_i(norm_port_wdata_i[r*NORM_WIDTH +: NORM_WIDTH]),
      .port_rdata_o(norm_port_rdata_o[r*NORM_WIDTH +: NORM_WIDTH]),
      .clear_i     (clear_2_q[r]),
      .outside_i   (1'b0),
      .value_i     (1'b0),
      .factor_i    (g_row[r].factor_3_q),
      .phi_i       (g_row[r].phi_3_q),
      .keep_i      (g_row[r].norm_keep_5_q),
      .decay_i     (g_row[r].norm_decay_5_q),
      .add_i       (g_row[r].norm_add_5_q),
      .random_i    (~g_row[r].key_7_q[31 -: GUARD]),
      .weight_i    (g_row[r].g_weight[1].weight_8_q),
      .first_i     (starts_q[10]),
      .magnitude_o (magnitude),
      .clipped_o   (norm_clipped[r]),
      .sum_o       (norm_sums[r*NORM_SUM_WIDTH +: NORM_SUM_WIDTH])
    );
    lawcat_lead_bits #(
      .WIDTH(NORM_WIDTH - 1)
    ) u_lead (
      .data_i(magnitude),
      .lead_o(lead)
    );
    always_ff @(posedge clk_i) lead_10_q <= exists_q[8*ROWS+r] ? lead : '0;
    assign norm_row_data_o[r*NORM_ROW_WIDTH +: NORM_ROW_WIDTH] =
        {LEAD_WIDTH'(lead_10_q), g_row[r].norm_exponents_q[7*NORM_EXPONENT_WIDTH +: NORM_EXPONENT_WIDTH]};
  end

  function automatic logic signed [DENOMINATOR_WIDTH-1:0] norm_total(
      input logic [ROWS*NORM_SUM_WIDTH-1:0] sums);
    norm_total = '0;
    for (int r = 0; r < ROWS; r++)
      norm_total = norm_total + DENOMINATOR_WIDTH'($signed(sums[r*NORM_SUM_WIDTH +: NORM_SUM_WIDTH]));
  endfunction

  // -------- state lanes, in groups of the columns of one beat
  localparam int VALUE_ADDRESS = SLOT_WIDTH + SEGMENT_INDEX_WIDTH;
  localparam int GROUP_COUNT_WIDTH = $clog2(ELEMENTS * ROWS + 1);
  localparam int STATE_SUM_WIDTH = STATE_WIDTH + READOUT_WIDTH + 1;
  localparam int MAGNITUDE_WIDTH = STATE_WIDTH - 1;

  logic                           value_re;
  logic [SLOT_WIDTH-1:0]          value_read_1_q, value_read_2_q;
  logic [VALUE_ADDRESS-1:0]       value_raddr, value_waddr;
  logic [SEGMENT_INDEX_WIDTH-1:0] segment_7;
  logic                           capture;
  logic [SEGMENT*SUM_WIDTH-1:0]   sums_q;
  logic [COLUMN_GROUPS*ROWS*MAGNITUDE_WIDTH-1:0] any_10_q;  // per group: OR over its columns, clipped words
  logic [COLUMN_GROUPS*GROUP_COUNT_WIDTH-1:0]    counts_10_q;

  assign value_re    = active_q[2] & starts_q[2];
  assign value_raddr = {value_read_2_q, segments_q[SEGMENT_INDEX_WIDTH +: SEGMENT_INDEX_WIDTH]};
  assign value_waddr = {value_write_q, SEGMENT_INDEX_WIDTH'(value_addr_i >> $clog2(COLUMN_GROUPS))};
  assign segment_7   = segments_q[6*SEGMENT_INDEX_WIDTH +: SEGMENT_INDEX_WIDTH];
  assign capture     = ends_q[LAST_CYCLE];

  always_ff @(posedge clk_i) begin
    value_read_1_q <= value_read_q;
    value_read_2_q <= value_read_1_q;
  end

  function automatic logic signed [SUM_WIDTH-1:0] total(input logic [ROWS*STATE_SUM_WIDTH-1:0] sums);
    total = '0;
    for (int r = 0; r < ROWS; r++)
      total = total + SUM_WIDTH'($signed(sums[r*STATE_SUM_WIDTH +: STATE_SUM_WIDTH]));
  endfunction

  function automatic logic [GROUP_COUNT_WIDTH-1:0] ones(input logic [ELEMENTS*ROWS-1:0] bits);
    ones = '0;
    for (int i = 0; i < ELEMENTS * ROWS; i++) ones = ones + GROUP_COUNT_WIDTH'(bits[i]);
  endfunction

  // The flipped random bits of a column, per segment: the top of 0x9e3779b9 * column.
  function automatic logic [SEGMENTS*GUARD-1:0] flips(input int column);
    for (int s = 0; s < SEGMENTS; s++)
      flips[s*GUARD +: GUARD] = GUARD'((32'h9e37_79b9 * 32'(s * SEGMENT + column)) >> (32 - GUARD));
  endfunction

  for (genvar g = 0; g < COLUMN_GROUPS; g++) begin : g_group
    logic [ELEMENTS*VALUE_WIDTH-1:0] values;
    logic [ELEMENTS*ROWS-1:0]        clipped;
    logic                            values_we;

    // Not in the port list: Icarus makes a wire of a genvar there.
    assign values_we = value_we_i & ((32'(value_addr_i) & 32'(COLUMN_GROUPS - 1)) == 32'(g));

    lawcat_memory #(
      .WIDTH(ELEMENTS * VALUE_WIDTH),
      .DEPTH(1 << VALUE_ADDRESS)
    ) u_values (
      .clk_i,
      .we_i   (values_we),
      .waddr_i(value_waddr),
      .wdata_i(value_elements),
      .re_i   (value_re),
      .raddr_i(value_raddr),
      .rdata_o(values)
    );

    for (genvar e = 0; e < ELEMENTS; e++) begin : g_column
      localparam int COLUMN = g * ELEMENTS + e;
      localparam logic [SEGMENTS*GUARD-1:0] FLIPS = flips(COLUMN);
      logic                            in_tail, outside_3_q;
      logic [GUARD-1:0]                flip;
      logic [ROWS*MAGNITUDE_WIDTH-1:0] magnitudes, any_here;
      logic [ROWS*STATE_SUM_WIDTH-1:0] sums;

      if (COLUMN == 0) begin : g_always
        assign in_tail = 1'b1;
      end else begin : g_in_tail
        logic in_tail_q;
        always_ff @(posedge clk_i) in_tail_q <= last_column_q >= COLUMN_WIDTH'(COLUMN);
        assign in_tail = in_tail_q;
      end

      assign flip = FLIPS[32'(segment_7)*GUARD +: GUARD];
      always_ff @(posedge clk_i) begin
        outside_3_q <= in_last_q[2] & ~in_tail;
        if (capture) sums_q[COLUMN*SUM_WIDTH +: SUM_WIDTH] <= total(sums);
      end

      for (genvar r = 0; r < ROWS; r++) begin : g_lane
        localparam int LANE = r * SEGMENT + COLUMN;
        logic [GUARD-1:0] random;
        assign random = GUARD'({2{g_row[r].key_7_q}} >> (64 - COLUMN % 32 - GUARD)) ^ flip;
        lawcat_state_lane #(
          .WORD_WIDTH   (STATE_WIDTH),
          .DEPTH        (STATE_DEPTH),
          .GUARD        (GUARD),
          .ROUNDING     (ROUNDING),
          .GATE_P       (GATE_P),
          .PHI_P        (PHI_P),
          .UNIT_VALUE   (0),
          .VALUE_WIDTH  (VALUE_WIDTH),
          .READOUT_WIDTH(READOUT_WIDTH),
          .KEEP_LEFT    (KEEP_LEFT),
          .KEEP_SHIFT   (KEEP_SHIFT),
          .DECAY_LEFT   (DECAY_LEFT),
          .DECAY_SHIFT  (DECAY_SHIFT),
          .ADD_LEFT     (ADD_LEFT),
          .ADD_SHIFT    (ADD_SHIFT)
        ) u_lane (
          .clk_i,
          .re_i        (state_re),
          .raddr_i     (state_raddr_q),
          .we_i        (state_we_q[r]),
          .waddr_i     (state_waddr_q),
          .port_we_i   (state_port_we_i),
          .port_wdata_i(state_port_wdata_i[LANE*STATE_WIDTH +: STATE_WIDTH]),
          .port_rdata_o(state_port_rdata_o[LANE*STATE_WIDTH +: STATE_WIDTH]),
          .clear_i     (clear_2_q[r]),
          .outside_i   (outside_3_q),
          .value_i     (values[e*VALUE_WIDTH +: VALUE_WIDTH]),
          .factor_i    (g_row[r].factor_3_q),
          .phi_i       (g_row[r].phi_3_q),
          .keep_i      (g_row[r].keep_5_q),
          .decay_i     (g_row[r].decay_5_q),
          .add_i       (g_row[r].add_5_q),
          .random_i    (random),
          .weight_i    (g_row[r].g_weight[0].weight_8_q),
          .first_i     (starts_q[10]),
          .magnitude_o (magnitudes[r*MAGNITUDE_WIDTH +: MAGNITUDE_WIDTH]),
          .clipped_o   (clipped[e*ROWS+r]),
          .sum_o       (sums[r*STATE_SUM_WIDTH +: STATE_SUM_WIDTH])
        );
      end

      if (e == 0) begin : g_first
        assign any_here = magnitudes;
      end else begin : g_next
        assign any_here = magnitudes | g_column[e-1].any_here;
      end
    end

    always_ff @(posedge clk_i) begin
      any_10_q[g*ROWS*MAGNITUDE_WIDTH +: ROWS*MAGNITUDE_WIDTH] <= g_column[ELEMENTS-1].any_here;
      counts_10_q[g*GROUP_COUNT_WIDTH +: GROUP_COUNT_WIDTH] <=
          ones(clipped & {ELEMENTS{exists_q[8*ROWS +: ROWS]}});
    end
  end

  // -------- row scalars: lead bits of the OR over a row, in cycle 11 of all segments so far
  logic [ROWS*MAGNITUDE_WIDTH-1:0] any_11_q, any;

  function automatic logic [ROWS*MAGNITUDE_WIDTH-1:0] any_of(
      input logic [COLUMN_GROUPS*ROWS*MAGNITUDE_WIDTH-1:0] groups);
    any_of = '0;
    for (int g = 0; g < COLUMN_GROUPS; g++)
      any_of = any_of | groups[g*ROWS*MAGNITUDE_WIDTH +: ROWS*MAGNITUDE_WIDTH];
  endfunction

  always_ff @(posedge clk_i) any_11_q <= any_of(any_10_q);

  if (SEGMENTS > 1) begin : g_over_segments
    // A row comes back after 2 cycles at the earliest: what is written in cycle 11 is there when it is read
    // in 10.
    logic [ROWS*MAGNITUDE_WIDTH-1:0] earlier;
    lawcat_memory #(
      .WIDTH(ROWS * MAGNITUDE_WIDTH),
      .DEPTH(2 << GROUP_INDEX_WIDTH)
    ) u_any (
      .clk_i,
      .we_i   (active_q[11]),
      .waddr_i(places_q[10*PLACE_WIDTH +: GROUP_INDEX_WIDTH+1]),
      .wdata_i(any),
      .re_i   (active_q[10] & later_q[10]),
      .raddr_i(places_q[9*PLACE_WIDTH +: GROUP_INDEX_WIDTH+1]),
      .rdata_o(earlier)
    );
    assign any = any_11_q | (earlier & {(ROWS * MAGNITUDE_WIDTH) {later_q[11]}});
  end else begin : g_one_segment
    assign any = any_11_q;
    logic unused;
    assign unused = active_q[11];
  end

  logic [3*ROWS-1:0] exists_later_q;  // cycles 10 to 12
  always_ff @(posedge clk_i) exists_later_q <= {exists_later_q[2*ROWS-1:0], exists_q[8*ROWS +: ROWS]};

  for (genvar r = 0; r < ROWS; r++) begin : g_lead
    logic [$clog2(STATE_WIDTH)-1:0] lead, lead_12_q;
    lawcat_lead_bits #(
      .WIDTH(MAGNITUDE_WIDTH)
    ) u_lead (
      .data_i(any[r*MAGNITUDE_WIDTH +: MAGNITUDE_WIDTH]),
      .lead_o(lead)
    );
    always_ff @(posedge clk_i) lead_12_q <= lead;
    assign state_row_data_o[r*STATE_ROW_WIDTH +: STATE_ROW_WIDTH] =
        {exists_later_q[2*ROWS+r] ? LEAD_WIDTH'(lead_12_q) : '0,
         g_row[r].exponents_q[9*STATE_EXPONENT_WIDTH +: STATE_EXPONENT_WIDTH]};
  end

  assign state_row_we_o = in_last_q[12];
  assign {state_row_slot_o, state_row_half_o, state_row_index_o} = places_q[11*PLACE_WIDTH +: PLACE_WIDTH];
  assign norm_row_we_o  = in_first_q[10];
  assign {norm_row_slot_o, norm_row_half_o, norm_row_index_o}    = places_q[9*PLACE_WIDTH +: PLACE_WIDTH];
  assign update_done_o  = done_q[12];

  // -------- saturations
  logic [STATE_COUNT_WIDTH-1:0] state_saturations_q;
  logic [NORM_COUNT_WIDTH-1:0]  norm_saturations_q, norm_count;
  logic [ROWS-1:0]              norm_clips;
  assign norm_clips = norm_clipped & exists_q[8*ROWS +: ROWS] & {ROWS{in_first_q[9]}};
  always_comb begin
    norm_count = '0;
    for (int r = 0; r < ROWS; r++)
      norm_count = norm_count + NORM_COUNT_WIDTH'(norm_clips[r]);
  end
  function automatic logic [STATE_COUNT_WIDTH-1:0] count_of(
      input logic [COLUMN_GROUPS*GROUP_COUNT_WIDTH-1:0] counts);
    count_of = '0;
    for (int g = 0; g < COLUMN_GROUPS; g++)
      count_of = count_of + STATE_COUNT_WIDTH'(counts[g*GROUP_COUNT_WIDTH +: GROUP_COUNT_WIDTH]);
  endfunction
  always_ff @(posedge clk_i) begin
    state_saturations_q <= count_of(counts_10_q);
    norm_saturations_q  <= norm_count;
  end
  assign state_saturations_o = state_saturations_q;
  assign norm_saturations_o  = norm_saturations_q;

  // -------- sums
  // Token-level values wait for their commit: a token starts every 2 cycles at most, so no more than
  // IN_FLIGHT are under way.
  localparam int IN_FLIGHT = 8;
  localparam int WAITING_WIDTH = 2 * EXPONENT_WIDTH + SIDE_WIDTH;
  logic [WAITING_WIDTH-1:0]       waiting_q [0:IN_FLIGHT-1];
  logic [WAITING_WIDTH-1:0]       waiting;
  logic [2:0]                     waiting_write_q, waiting_read_q;
  logic                           sums_we_q, sums_commit_q;
  logic [SEGMENT_INDEX_WIDTH-1:0] sums_addr_q;

  // The exponent of weight 1 is PHI_P below its base.
  assign waiting = waiting_q[waiting_read_q];
  assign sums_side_o = {waiting[SIDE_WIDTH +: EXPONENT_WIDTH] - EXPONENT_WIDTH'(PHI_P),
                        waiting[SIDE_WIDTH+EXPONENT_WIDTH +: EXPONENT_WIDTH] - EXPONENT_WIDTH'(PHI_P),
                        denominator_q, waiting[SIDE_WIDTH-1:0]};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      waiting_write_q <= '0;
      waiting_read_q  <= '0;
      sums_we_q       <= 1'b0;
      sums_commit_q   <= 1'b0;
      sums_addr_q     <= '0;
    end else begin
      if (start) waiting_write_q <= waiting_write_q + 1'b1;
      if (sums_commit_q) waiting_read_q <= waiting_read_q + 1'b1;
      sums_we_q     <= capture;
      sums_commit_q <= done_q[LAST_CYCLE];
      if (sums_we_q) sums_addr_q <= sums_commit_q ? '0 : sums_addr_q + 1'b1;
    end
    if (start) waiting_q[waiting_write_q] <= rows_side[WAITING_WIDTH-1:0];
    if (capture & ~later_q[LAST_CYCLE]) denominator_q <= norm_total(norm_sums);
  end
  assign sums_we_o     = sums_we_q;
  assign sums_addr_o   = sums_addr_q;
  assign sums_data_o   = sums_q;
  assign sums_commit_o = sums_commit_q;

endmodule

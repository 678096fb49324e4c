// SPDX-License-Identifier: Apache-2.0
// Scalars of a head-token's 2F rows before the lanes touch them: new exponents and shift amounts of update_row, and
// the common scale of align_readout, for the state and for the normaliser (hostlib/backend/datapath.cc).
//
// Pass A (2 exp_words cycles, exp_words = ceil(F / EXP_LANES)) reads phi, gates and stored row scalars of EXP_LANES
// rows per cycle, writes their descriptors and finds the largest exponent of a weight, `top`. Pass B (as long) adds
// the weights' mantissas relative to `top`; the lead of the sum gives the scale.
//   interval  4 exp_words + 1 + 2 LEVELS, LEVELS = 1 for EXP_LANES <= 4, else 2
//   depth     5
// A head-token writes its first descriptor in the cycle after the commit of the one before at the earliest: `rows`
// never holds two open ones.
//
// The scalars of a row come back from the state update, so a head-token starts only when no other of its context slot
// is between its start here and its update_done_i: with that pulse in cycle t it may start in t + 1, and it sees what
// is written back in cycle t.
//
// Words, lsb first. `phi`: EXP_LANES x {mantissa, exponent}; `gates`: EXP_LANES x {mantissa, exponent, near_one};
// index half * exp_words + i. `rows`: EXP_LANES descriptors: valid (a row), empty (not read out), new exponent of the
// state, of the normaliser; keep_shift, decay_shift, add_shift of the state, then of the normaliser (8 each, signed: n
// of the three shift_half_up of aligned_sum, cut to -64..63); phi_k mantissa, near_one, gate mantissa, phi_q mantissa;
// weight_shift, norm_weight_shift (12 each, signed: -(phi_q exponent + new exponent); arbitrary where not read out).
// Side of `rows`: 34 side bits, base_state 12, base_norm 12, token_key 32. The weight of a row is
// min(shift_half_up(phi_q mantissa, base + weight_shift), 2^READOUT_WIDTH - 1), in units of 2^(base - PHI_P).
// Region 2 (rows_port_*): EXP_LANES x {exponent, lead, norm exponent, norm lead}; 4 (count_port_*): tokens seen.
//
// Until they are needed as such, exponents of rows are bounds: exponent + width of a mantissa - 2.
`include "lawcat_assert.svh"

module lawcat_row_prepare #(
  parameter int FLIGHT = 8,  // head-tokens between start and update_done_i, a power of two
  localparam int EXP_LANES = lawcat_arch_pkg::EXP_LANES,
  localparam int ROWS = lawcat_arch_pkg::ROWS,
  localparam int PHI_P = lawcat_arch_pkg::PHI_P,
  localparam int GATE_P = lawcat_arch_pkg::GATE_P,
  localparam int SIDE_WIDTH = lawcat_arch_pkg::SIDE_WIDTH,
  localparam int WORDS = 2 * ((lawcat_arch_pkg::MAX_FEATURE_DIM + EXP_LANES - 1) / EXP_LANES),
  localparam int INDEX_WIDTH = $clog2(WORDS),
  localparam int PHI_WIDTH = PHI_P + lawcat_arch_pkg::PHI_EXPONENT_WIDTH,
  localparam int GATE_WIDTH = 1 + GATE_P + lawcat_arch_pkg::GATE_EXPONENT_WIDTH,
  localparam int STATE_ROW_WIDTH = 6 + lawcat_arch_pkg::STATE_EXPONENT_WIDTH,
  localparam int NORM_ROW_WIDTH = 6 + lawcat_arch_pkg::NORM_EXPONENT_WIDTH,
  localparam int ROW_WIDTH = STATE_ROW_WIDTH + NORM_ROW_WIDTH,
  localparam int ROW_GROUPS = (lawcat_arch_pkg::MAX_FEATURE_DIM + ROWS - 1) / ROWS,  // of one half
  localparam int GROUP_WIDTH = (ROW_GROUPS > 1) ? $clog2(ROW_GROUPS) : 1,
  localparam int DESCRIPTOR_WIDTH = 2 + lawcat_arch_pkg::STATE_EXPONENT_WIDTH + lawcat_arch_pkg::NORM_EXPONENT_WIDTH
                                    + 6 * 8 + 2 * PHI_P + 1 + GATE_P + 2 * 12,
  localparam int ROWS_SIDE_WIDTH = 32 + 2 * 12 + SIDE_WIDTH
) (
  input  logic                                  clk_i,
  input  logic                                  rst_ni,
  input  logic [6:0]                            feature_dim_i,
  // phi of q and k
  output logic                                  phi_room_o,
  input  logic                                  phi_reserve_i,
  input  logic                                  phi_we_i,
  input  logic                                  phi_qk_i,      // 0: q
  input  logic [INDEX_WIDTH-1:0]                phi_addr_i,
  input  logic [EXP_LANES*PHI_WIDTH-1:0]        phi_data_i,
  input  logic                                  phi_commit_i,
  input  logic [SIDE_WIDTH-1:0]                 phi_side_i,
  // Of the group: gates, lead bits of the values
  output logic                                  gates_room_o,
  input  logic                                  gates_reserve_i,
  input  logic                                  gates_we_i,
  input  logic [INDEX_WIDTH-1:0]                gates_addr_i,
  input  logic [EXP_LANES*GATE_WIDTH-1:0]       gates_data_i,
  input  logic                                  gates_commit_i,
  output logic                                  lead_room_o,
  input  logic                                  lead_reserve_i,
  input  logic                                  lead_commit_i,
  input  logic [5:0]                            lead_side_i,
  // To the state update
  input  logic                                  rows_room_i,
  output logic                                  rows_reserve_o,
  output logic                                  rows_we_o,
  output logic [INDEX_WIDTH-1:0]                rows_addr_o,
  output logic [EXP_LANES*DESCRIPTOR_WIDTH-1:0] rows_data_o,
  output logic                                  rows_commit_o,
  output logic [ROWS_SIDE_WIDTH-1:0]            rows_side_o,
  // Scalars of updated rows, from the state update
  input  logic                                  state_row_we_i,
  input  logic [7:0]                            state_row_slot_i,
  input  logic                                  state_row_half_i,
  input  logic [GROUP_WIDTH-1:0]                state_row_index_i,
  input  logic [ROWS*STATE_ROW_WIDTH-1:0]       state_row_data_i,
  input  logic                                  norm_row_we_i,
  input  logic [7:0]                            norm_row_slot_i,
  input  logic                                  norm_row_half_i,
  input  logic [GROUP_WIDTH-1:0]                norm_row_index_i,
  input  logic [ROWS*NORM_ROW_WIDTH-1:0]        norm_row_data_i,
  input  logic                                  update_done_i,
  // Access to the row scalars and token counters, while no head-token is in flight
  input  logic                                  rows_port_we_i,
  input  logic                                  rows_port_re_i,
  input  logic [7:0]                            rows_port_slot_i,
  input  logic [15:0]                           rows_port_index_i,
  input  logic [EXP_LANES*ROW_WIDTH-1:0]        rows_port_wdata_i,
  output logic [EXP_LANES*ROW_WIDTH-1:0]        rows_port_rdata_o,
  input  logic                                  count_port_we_i,
  input  logic                                  count_port_re_i,
  input  logic [7:0]                            count_port_slot_i,
  input  logic [15:0]                           count_port_index_i,
  input  logic [31:0]                           count_port_wdata_i,
  output logic [31:0]                           count_port_rdata_o,
  // For counters; waiting for update_done_i of the same context is a stall
  output logic                                  busy_o,
  output logic                                  stall_o,
  output logic                                  starve_o
);
  localparam int PHI_EXPONENT_WIDTH = lawcat_arch_pkg::PHI_EXPONENT_WIDTH;
  localparam int GATE_EXPONENT_WIDTH = lawcat_arch_pkg::GATE_EXPONENT_WIDTH;
  localparam int STATE_EXPONENT_WIDTH = lawcat_arch_pkg::STATE_EXPONENT_WIDTH;
  localparam int NORM_EXPONENT_WIDTH = lawcat_arch_pkg::NORM_EXPONENT_WIDTH;
  localparam int CONTEXT_SLOTS = lawcat_arch_pkg::CONTEXT_SLOTS;
  localparam int FIFO_TOKENS = lawcat_arch_pkg::FIFO_TOKENS;

  localparam int E = 12;  // bits of sums of exponents
  localparam logic signed [E-1:0] NOT_READ = {1'b1, {(E - 1) {1'b0}}};  // weight exponent: below any real one

  localparam int LANE_WIDTH = $clog2(EXP_LANES);
  localparam int LEVELS = (EXP_LANES <= 4) ? 1 : 2;  // of the maximum and of the sum over the lanes
  localparam int CLUSTER = (EXP_LANES <= 4) ? EXP_LANES : 4;
  localparam int CLUSTERS = EXP_LANES / CLUSTER;
  localparam int TOPS = (CLUSTERS > 4) ? CLUSTERS + 1 : 5;  // most operands of a maximum
  localparam int DEPTH = 5;
  localparam int SUM_WIDTH = PHI_P + $clog2(WORDS * EXP_LANES);
  localparam int LEAD_WIDTH = $clog2(SUM_WIDTH + 1);
  localparam int COUNT_WIDTH = $clog2(2 * WORDS + 8);  // of the cycles of a head-token
  localparam int ROW_DEPTH = CONTEXT_SLOTS * 64 / EXP_LANES;
  localparam int ROW_ADDRESS_WIDTH = (ROW_DEPTH > 1) ? $clog2(ROW_DEPTH) : 1;
  localparam int SLOT_WIDTH = (CONTEXT_SLOTS > 1) ? $clog2(CONTEXT_SLOTS) : 1;
  localparam int FLIGHT_WIDTH = $clog2(FLIGHT);
  localparam int GROUPS = EXP_LANES / ROWS;  // row groups of a word

  localparam int STATE_OFFSET = 2 - lawcat_arch_pkg::STATE_WIDTH;  // exponent - bound
  localparam int STATE_MIN = -(1 << (STATE_EXPONENT_WIDTH - 1)) - STATE_OFFSET;
  localparam int STATE_MAX = (1 << (STATE_EXPONENT_WIDTH - 1)) - 1 - STATE_OFFSET;
  localparam int NORM_OFFSET = 2 - lawcat_arch_pkg::NORM_WIDTH;
  localparam int NORM_MIN = -(1 << (NORM_EXPONENT_WIDTH - 1)) - NORM_OFFSET;
  localparam int NORM_MAX = (1 << (NORM_EXPONENT_WIDTH - 1)) - 1 - NORM_OFFSET;
  localparam int STATE_UNIT = STATE_OFFSET - lawcat_arch_pkg::GUARD;  // last bit of the aligned sum - bound
  localparam int NORM_UNIT = NORM_OFFSET - lawcat_arch_pkg::GUARD;
  localparam logic [31:0] GOLDEN = 32'h9e37_79b9;

  `LAWCAT_REQUIRE((1 << LANE_WIDTH) == EXP_LANES && EXP_LANES <= 32,
                  "lawcat_row_prepare: EXP_LANES is a power of two of at most 32")
  `LAWCAT_REQUIRE((1 << $clog2(ROWS)) == ROWS && ROWS <= EXP_LANES,
                  "lawcat_row_prepare: ROWS is a power of two of at most EXP_LANES")
  `LAWCAT_REQUIRE((1 << FLIGHT_WIDTH) == FLIGHT && FLIGHT >= 2,
                  "lawcat_row_prepare: FLIGHT is a power of two of at least 2")
  `LAWCAT_REQUIRE(CONTEXT_SLOTS <= 256 && SIDE_WIDTH == 34,
                  "lawcat_row_prepare: side bits are other than expected")
  `LAWCAT_REQUIRE(STATE_EXPONENT_WIDTH <= 10 && NORM_EXPONENT_WIDTH <= 10 && PHI_EXPONENT_WIDTH <= 9 &&
                  PHI_P <= 31, "lawcat_row_prepare: exponents do not fit their sums")
  `LAWCAT_REQUIRE(lawcat_arch_pkg::ROUNDING != 3,
                  "lawcat_row_prepare: states with error feedback are not supported")

  // --- Shape ---
  logic [6:0]             half_words, half_words_q;  // exp_words
  logic [2:0]             slot_shift, slot_shift_q;
  logic [EXP_LANES-1:0]   tail_q;  // lanes of a half's last word that are rows
  logic [COUNT_WIDTH-1:0] last_word_q, b_start_q, interval_q;

  assign half_words = 7'((32'(feature_dim_i) + 32'(EXP_LANES - 1)) >> LANE_WIDTH);

  always_comb begin
    slot_shift = 3'd7;
    for (int i = 6; i >= 1; i--) if (32'(half_words) <= (32'd1 << (i - 1))) slot_shift = 3'(i);
  end

  always_ff @(posedge clk_i) begin
    half_words_q <= half_words;
    slot_shift_q <= slot_shift;
    for (int i = 0; i < EXP_LANES; i++)
      tail_q[i] <= 32'(half_words) * 32'(EXP_LANES) - 32'(feature_dim_i) < 32'(EXP_LANES - i);
    last_word_q <= COUNT_WIDTH'({half_words, 1'b0}) - 1'b1;
    b_start_q   <= COUNT_WIDTH'({half_words, 1'b0}) + COUNT_WIDTH'(2 + LEVELS);
    interval_q  <= COUNT_WIDTH'({half_words, 2'b0}) + COUNT_WIDTH'(1 + 2 * LEVELS);
  end

  // --- Input buffers ---
  logic                            phi_valid, gates_valid, lead_valid, last, release_group;
  logic                            a_active;  // address of pass A
  logic [INDEX_WIDTH-1:0]          a_word;
  logic [SIDE_WIDTH-1:0]           side;
  logic [5:0]                      value_lead;
  logic [EXP_LANES*PHI_WIDTH-1:0]  phi_q_word, phi_k_word;
  logic [EXP_LANES*GATE_WIDTH-1:0] gates_word;

  lawcat_token_buffer #(
    .SLOTS(FIFO_TOKENS),
    .WORDS(WORDS),
    .WIDTH(EXP_LANES * PHI_WIDTH),
    .SIDE_WIDTH(SIDE_WIDTH)
  ) u_phi_q (
    .clk_i,
    .rst_ni,
    .room_o(phi_room_o),
    .reserve_i(phi_reserve_i),
    .we_i(phi_we_i & ~phi_qk_i),
    .waddr_i(phi_addr_i),
    .wdata_i(phi_data_i),
    .commit_i(phi_commit_i),
    .side_i(phi_side_i),
    .valid_o(phi_valid),
    .side_o(side),
    .re_i(a_active),
    .raddr_i(a_word),
    .rdata_o(phi_q_word),
    .release_i(last)
  );

  logic unused_room, unused_valid, unused_side;  // as of q
  lawcat_token_buffer #(
    .SLOTS(FIFO_TOKENS),
    .WORDS(WORDS),
    .WIDTH(EXP_LANES * PHI_WIDTH)
  ) u_phi_k (
    .clk_i,
    .rst_ni,
    .room_o(unused_room),
    .reserve_i(phi_reserve_i),
    .we_i(phi_we_i & phi_qk_i),
    .waddr_i(phi_addr_i),
    .wdata_i(phi_data_i),
    .commit_i(phi_commit_i),
    .side_i(1'b0),
    .valid_o(unused_valid),
    .side_o(unused_side),
    .re_i(a_active),
    .raddr_i(a_word),
    .rdata_o(phi_k_word),
    .release_i(last)
  );

  logic unused_gates_side;
  lawcat_token_buffer #(
    .SLOTS(FIFO_TOKENS),
    .WORDS(WORDS),
    .WIDTH(EXP_LANES * GATE_WIDTH)
  ) u_gates (
    .clk_i,
    .rst_ni,
    .room_o(gates_room_o),
    .reserve_i(gates_reserve_i),
    .we_i(gates_we_i),
    .waddr_i(gates_addr_i),
    .wdata_i(gates_data_i),
    .commit_i(gates_commit_i),
    .side_i(1'b0),
    .valid_o(gates_valid),
    .side_o(unused_gates_side),
    .re_i(a_active),
    .raddr_i(a_word),
    .rdata_o(gates_word),
    .release_i(release_group)
  );

  logic unused_lead_word;  // this buffer has no words
  lawcat_token_buffer #(
    .SLOTS(FIFO_TOKENS),
    .WORDS(1),
    .WIDTH(1),
    .SIDE_WIDTH(6)
  ) u_lead (
    .clk_i,
    .rst_ni,
    .room_o(lead_room_o),
    .reserve_i(lead_reserve_i),
    .we_i(1'b0),
    .waddr_i(1'b0),
    .wdata_i(1'b0),
    .commit_i(lead_commit_i),
    .side_i(lead_side_i),
    .valid_o(lead_valid),
    .side_o(value_lead),
    .re_i(1'b0),
    .raddr_i(1'b0),
    .rdata_o(unused_lead_word),
    .release_i(release_group)
  );

  logic [7:0] slot;
  logic       fresh;
  assign slot          = side[7:0];
  assign fresh         = side[32];
  assign release_group = last & side[33];

  // --- Head-tokens whose row scalars are not yet written back ---
  logic                    start, same_slot, flight_full;
  logic [FLIGHT-1:0]       flight_valid_q;
  logic [FLIGHT*8-1:0]     flight_slot_q;
  logic [FLIGHT_WIDTH-1:0] flight_in_q, flight_out_q;

  always_comb begin
    same_slot = 1'b0;
    for (int i = 0; i < FLIGHT; i++)
      same_slot = same_slot | (flight_valid_q[i] & (flight_slot_q[i*8 +: 8] == slot));
  end
  assign flight_full = flight_valid_q[flight_in_q];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      flight_valid_q <= '0;
      flight_in_q    <= '0;
      flight_out_q   <= '0;
    end else begin
      if (update_done_i) begin
        flight_valid_q[flight_out_q] <= 1'b0;
        flight_out_q <= flight_out_q + 1'b1;
      end
      if (start) begin
        flight_valid_q[flight_in_q] <= 1'b1;
        flight_in_q <= flight_in_q + 1'b1;
      end
    end
    if (start) flight_slot_q[flight_in_q*8 +: 8] <= slot;
  end
  `LAWCAT_ASSERT(update_done_follows_a_start, !update_done_i || flight_valid_q[flight_out_q])

  // --- Control ---
  logic [COUNT_WIDTH-1:0] index;
  logic                   b_active;  // address of pass B
  logic [INDEX_WIDTH-1:0] b_word;
  logic [DEPTH-1:0]       commit_q;
  // Bit i: the word is in stage i, i cycles after its address.
  logic [5:1]               a_q, a_first_q;
  logic [2+LEVELS:1]        b_q, b_first_q;
  logic [3:1]               a_half_end_q;
  logic [5*INDEX_WIDTH-1:0] a_word_q;

  lawcat_stage_control #(
    .WIDTH(COUNT_WIDTH)
  ) u_control (
    .clk_i,
    .rst_ni,
    .valid_i(phi_valid & gates_valid & lead_valid),
    .room_i(rows_room_i & ~same_slot & ~flight_full),
    .interval_i(interval_q),
    .start_o(start),
    .active_o(busy_o),
    .last_o(last),
    .index_o(index),
    .stall_o,
    .starve_o
  );

  assign rows_reserve_o = start;
  assign a_active = busy_o & (index <= last_word_q);
  assign a_word   = index[INDEX_WIDTH-1:0];
  assign b_active = busy_o & (index >= b_start_q) & (index <= b_start_q + last_word_q);
  assign b_word   = INDEX_WIDTH'(index - b_start_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      commit_q <= '0;
      a_q      <= '0;
      b_q      <= '0;
    end else begin
      commit_q <= {commit_q[DEPTH-2:0], last};
      a_q      <= {a_q[4:1], a_active};
      b_q      <= {b_q[1+LEVELS:1], b_active};
    end
    a_first_q    <= {a_first_q[4:1], index == '0};
    b_first_q    <= {b_first_q[1+LEVELS:1], index == b_start_q};
    a_half_end_q <= {a_half_end_q[2:1],
                     (index == last_word_q) | (index == COUNT_WIDTH'(half_words_q) - 1'b1)};
    a_word_q     <= {a_word_q[4*INDEX_WIDTH-1:0], a_word};
  end

  // --- Per row ---
  function automatic logic [ROW_ADDRESS_WIDTH-1:0] row_address(
      input logic [7:0] context_slot, input logic [2:0] shift, input logic [15:0] word);
    row_address = ROW_ADDRESS_WIDTH'((32'(context_slot) << shift) | 32'(word));
  endfunction

  // Word of a row group.
  function automatic logic [15:0] group_word(
      input logic half, input logic [6:0] words_of_half, input logic [GROUP_WIDTH-1:0] group);
    group_word = (half ? 16'(words_of_half) : 16'd0) + (16'(group) >> $clog2(GROUPS));
  endfunction

  // n of a shift by 2^-n: beyond +-63 nothing is left of any operand.
  function automatic logic [7:0] limit_shift(input logic signed [E-1:0] n);
    limit_shift = (n[E-1:6] == '0 || n[E-1:6] == '1) ? n[7:0] : {{2{n[E-1]}}, {6{~n[E-1]}}};
  endfunction

  logic [ROW_ADDRESS_WIDTH-1:0] row_raddr, state_row_waddr, norm_row_waddr;
  logic [GROUP_WIDTH-1:0]       state_row_group, norm_row_group;  // within its word
  logic signed [E-1:0]          value_scale_q;  // lead of the values' real sizes
  logic                         value_zero_q;
  logic signed [E-1:0]          state_top_q, norm_top_q;
  logic [EXP_LANES*E-1:0]       state_weights, norm_weights;  // exponents
  logic [EXP_LANES*PHI_P-1:0]   state_parts, norm_parts;      // of the sums

  assign row_raddr = rows_port_re_i ? row_address(rows_port_slot_i, slot_shift_q, rows_port_index_i)
                                    : row_address(slot, slot_shift_q, 16'(a_word));
  assign state_row_waddr =
      rows_port_we_i ? row_address(rows_port_slot_i, slot_shift_q, rows_port_index_i)
                     : row_address(state_row_slot_i, slot_shift_q,
                                   group_word(state_row_half_i, half_words_q, state_row_index_i));
  assign norm_row_waddr =
      rows_port_we_i ? row_address(rows_port_slot_i, slot_shift_q, rows_port_index_i)
                     : row_address(norm_row_slot_i, slot_shift_q,
                                   group_word(norm_row_half_i, half_words_q, norm_row_index_i));
  assign state_row_group = state_row_index_i & GROUP_WIDTH'(GROUPS - 1);
  assign norm_row_group  = norm_row_index_i & GROUP_WIDTH'(GROUPS - 1);

  always_ff @(posedge clk_i) begin
    value_scale_q <= E'($signed({1'b0, value_lead})) - E'(lawcat_arch_pkg::VALUE_FRACTION);
    value_zero_q  <= value_lead == '0;
  end

  for (genvar l = 0; l < EXP_LANES; l++) begin : g_lane
    logic [STATE_ROW_WIDTH-1:0] state_row;
    logic [NORM_ROW_WIDTH-1:0]  norm_row;

    lawcat_memory #(
      .WIDTH(STATE_ROW_WIDTH),
      .DEPTH(ROW_DEPTH)
    ) u_state_rows (
      .clk_i,
      .we_i(rows_port_we_i | (state_row_we_i & (state_row_group == GROUP_WIDTH'(l / ROWS)))),
      .waddr_i(state_row_waddr),
      .wdata_i(rows_port_we_i ? rows_port_wdata_i[l*ROW_WIDTH +: STATE_ROW_WIDTH]
                              : state_row_data_i[(l % ROWS)*STATE_ROW_WIDTH +: STATE_ROW_WIDTH]),
      .re_i(a_active | rows_port_re_i),
      .raddr_i(row_raddr),
      .rdata_o(state_row)
    );

    lawcat_memory #(
      .WIDTH(NORM_ROW_WIDTH),
      .DEPTH(ROW_DEPTH)
    ) u_norm_rows (
      .clk_i,
      .we_i(rows_port_we_i | (norm_row_we_i & (norm_row_group == GROUP_WIDTH'(l / ROWS)))),
      .waddr_i(norm_row_waddr),
      .wdata_i(rows_port_we_i ? rows_port_wdata_i[l*ROW_WIDTH+STATE_ROW_WIDTH +: NORM_ROW_WIDTH]
                              : norm_row_data_i[(l % ROWS)*NORM_ROW_WIDTH +: NORM_ROW_WIDTH]),
      .re_i(a_active | rows_port_re_i),
      .raddr_i(row_raddr),
      .rdata_o(norm_row)
    );

    always_ff @(posedge clk_i) rows_port_rdata_o[l*ROW_WIDTH +: ROW_WIDTH] <= {norm_row, state_row};

    // Stage 1, behind the memories: bounds of the old and of the new content.
    logic [PHI_P-1:0]    phi_q_mantissa, phi_k_mantissa;
    logic [GATE_P-1:0]   gate_mantissa;
    logic                near_one, phi_zero;
    logic signed [E-1:0] phi_q_exponent, phi_k_exponent, gate_exponent, gain;  // gain: of what is kept
    logic signed [E-1:0] state_exponent, norm_exponent;
    logic [5:0]          state_lead, norm_lead;

    assign phi_q_mantissa = phi_q_word[l*PHI_WIDTH +: PHI_P];
    assign phi_q_exponent = E'($signed(phi_q_word[l*PHI_WIDTH+PHI_P +: PHI_EXPONENT_WIDTH]));
    assign phi_k_mantissa = phi_k_word[l*PHI_WIDTH +: PHI_P];
    assign phi_k_exponent = E'($signed(phi_k_word[l*PHI_WIDTH+PHI_P +: PHI_EXPONENT_WIDTH]));
    assign phi_zero       = ~phi_k_mantissa[PHI_P-1];  // mantissas are normalised
    assign gate_mantissa  = gates_word[l*GATE_WIDTH +: GATE_P];
    assign gate_exponent  = gate_mantissa[GATE_P-1]
                                ? E'($signed(gates_word[l*GATE_WIDTH+GATE_P +: GATE_EXPONENT_WIDTH])) : '0;
    assign near_one       = gates_word[l*GATE_WIDTH+GATE_WIDTH-1];
    assign gain           = near_one ? '0 : gate_exponent;
    assign state_exponent = fresh ? E'(STATE_MIN + STATE_OFFSET)
                                  : E'($signed(state_row[STATE_EXPONENT_WIDTH-1:0]));
    assign state_lead     = fresh ? '0 : state_row[STATE_EXPONENT_WIDTH +: 6];
    assign norm_exponent  = fresh ? E'(NORM_MIN + NORM_OFFSET)
                                  : E'($signed(norm_row[NORM_EXPONENT_WIDTH-1:0]));
    assign norm_lead      = fresh ? '0 : norm_row[NORM_EXPONENT_WIDTH +: 6];

    logic [PHI_P-1:0]    phi_q1_q, phi_k1_q;
    logic [GATE_P-1:0]   gate1_q;
    logic                near_one1_q;
    logic                state_old_empty_q, state_new_empty_q, norm_old_empty_q, norm_new_empty_q;
    logic signed [E-1:0] phi_q_exponent1_q, phi_k_exponent1_q;
    logic signed [E-1:0] state_old_q, state_new_q, state_exponent1_q, state_decay1_q;
    logic signed [E-1:0] norm_old_q, norm_new_q, norm_exponent1_q, norm_decay1_q;

    always_ff @(posedge clk_i) begin
      phi_q1_q          <= phi_q_mantissa;
      phi_k1_q          <= phi_k_mantissa;
      gate1_q           <= gate_mantissa;
      near_one1_q       <= near_one;
      phi_q_exponent1_q <= phi_q_exponent;
      phi_k_exponent1_q <= phi_k_exponent;
      state_old_q       <= state_exponent + $signed({6'b0, state_lead}) + gain;
      state_new_q       <= phi_k_exponent + value_scale_q;
      state_old_empty_q <= state_lead == '0;
      state_new_empty_q <= phi_zero | value_zero_q;
      state_exponent1_q <= state_exponent;
      state_decay1_q    <= state_exponent + gate_exponent;
      norm_old_q        <= norm_exponent + $signed({6'b0, norm_lead}) + gain;
      norm_new_q        <= phi_k_exponent + E'(1);
      norm_old_empty_q  <= norm_lead == '0;
      norm_new_empty_q  <= phi_zero;
      norm_exponent1_q  <= norm_exponent;
      norm_decay1_q     <= norm_exponent + gate_exponent;
    end

    // Stage 2: the larger bound, limited to what an exponent can say. All comparisons side by side.
    logic signed [E-1:0] state_larger, norm_larger;
    logic                state_takes_old, state_low, state_high, norm_takes_old, norm_low, norm_high;

    assign state_takes_old = ~state_old_empty_q & (state_new_empty_q | (state_old_q > state_new_q));
    assign state_larger    = state_takes_old ? state_old_q : state_new_q;
    assign state_low       = state_takes_old ? state_old_q < E'(STATE_MIN)
                                             : (state_new_empty_q | (state_new_q < E'(STATE_MIN)));
    assign state_high      = state_takes_old ? state_old_q > E'(STATE_MAX) : state_new_q > E'(STATE_MAX);
    assign norm_takes_old  = ~norm_old_empty_q & (norm_new_empty_q | (norm_old_q > norm_new_q));
    assign norm_larger     = norm_takes_old ? norm_old_q : norm_new_q;
    assign norm_low        = norm_takes_old ? norm_old_q < E'(NORM_MIN)
                                            : (norm_new_empty_q | (norm_new_q < E'(NORM_MIN)));
    assign norm_high       = norm_takes_old ? norm_old_q > E'(NORM_MAX) : norm_new_q > E'(NORM_MAX);

    logic [PHI_P-1:0]    phi_q2_q, phi_k2_q;
    logic [GATE_P-1:0]   gate2_q;
    logic                near_one2_q, empty2_q;
    logic signed [E-1:0] phi_q_exponent2_q, state_bound_q, norm_bound_q;
    logic signed [E-1:0] state_keep2_q, state_decay2_q, state_add2_q;
    logic signed [E-1:0] norm_keep2_q, norm_decay2_q, norm_add2_q;

    always_ff @(posedge clk_i) begin
      phi_q2_q          <= phi_q1_q;
      phi_k2_q          <= phi_k1_q;
      gate2_q           <= gate1_q;
      near_one2_q       <= near_one1_q;
      empty2_q          <= state_old_empty_q & state_new_empty_q;
      phi_q_exponent2_q <= phi_q_exponent1_q;
      state_bound_q     <= state_low ? E'(STATE_MIN) : state_high ? E'(STATE_MAX) : state_larger;
      norm_bound_q      <= norm_low ? E'(NORM_MIN) : norm_high ? E'(NORM_MAX) : norm_larger;
      state_keep2_q     <= E'(STATE_UNIT) - state_exponent1_q;
      state_decay2_q    <= E'(STATE_UNIT + GATE_P) - state_decay1_q;
      state_add2_q      <= E'(STATE_UNIT + PHI_P + lawcat_arch_pkg::VALUE_FRACTION) - phi_k_exponent1_q;
      norm_keep2_q      <= E'(NORM_UNIT) - norm_exponent1_q;
      norm_decay2_q     <= E'(NORM_UNIT + GATE_P) - norm_decay1_q;
      norm_add2_q       <= E'(NORM_UNIT + PHI_P) - phi_k_exponent1_q;
    end

    // Stage 3: all that is relative to the bound.
    logic                            valid, valid3_q, empty3_q, near_one3_q;
    logic [PHI_P-1:0]                phi_q3_q, phi_k3_q;
    logic [GATE_P-1:0]               gate3_q;
    logic [STATE_EXPONENT_WIDTH-1:0] state_exponent3_q;
    logic [NORM_EXPONENT_WIDTH-1:0]  norm_exponent3_q;
    logic signed [E-1:0]             state_weight_q, norm_weight_q;  // exponents
    logic signed [E-1:0] state_keep3_q, state_decay3_q, state_add3_q;
    logic signed [E-1:0] norm_keep3_q, norm_decay3_q, norm_add3_q;

    assign valid = tail_q[l] | ~a_half_end_q[3];

    always_ff @(posedge clk_i) begin
      valid3_q          <= valid;
      empty3_q          <= empty2_q;
      near_one3_q       <= near_one2_q;
      phi_q3_q          <= phi_q2_q;
      phi_k3_q          <= phi_k2_q;
      gate3_q           <= gate2_q;
      state_exponent3_q <= STATE_EXPONENT_WIDTH'(state_bound_q + E'(STATE_OFFSET));
      norm_exponent3_q  <= NORM_EXPONENT_WIDTH'(norm_bound_q + E'(NORM_OFFSET));
      state_weight_q    <= (valid & ~empty2_q) ? state_bound_q + phi_q_exponent2_q : NOT_READ;
      norm_weight_q     <= valid ? norm_bound_q + phi_q_exponent2_q : NOT_READ;
      state_keep3_q     <= state_bound_q + state_keep2_q;
      state_decay3_q    <= state_bound_q + state_decay2_q;
      state_add3_q      <= state_bound_q + state_add2_q;
      norm_keep3_q      <= norm_bound_q + norm_keep2_q;
      norm_decay3_q     <= norm_bound_q + norm_decay2_q;
      norm_add3_q       <= norm_bound_q + norm_add2_q;
    end

    // Stage 4: the descriptor; beside it the maximum begins.
    logic signed [E-1:0] state_weight_shift, norm_weight_shift;
    assign state_weight_shift = E'(-STATE_OFFSET) - state_weight_q;
    assign norm_weight_shift  = E'(-NORM_OFFSET) - norm_weight_q;

    always_ff @(posedge clk_i)
      rows_data_o[l*DESCRIPTOR_WIDTH +: DESCRIPTOR_WIDTH] <= {
          norm_weight_shift, state_weight_shift, phi_q3_q, gate3_q, near_one3_q, phi_k3_q,
          limit_shift(norm_add3_q), limit_shift(norm_decay3_q), limit_shift(norm_keep3_q),
          limit_shift(state_add3_q), limit_shift(state_decay3_q), limit_shift(state_keep3_q),
          norm_exponent3_q, state_exponent3_q, empty3_q, valid3_q};

    // Pass B: mantissas relative to the top.
    logic [PHI_P-1:0]    b_mantissa, b_mantissa_q;
    logic signed [E-1:0] b_state_weight, b_norm_weight, state_below, norm_below;
    logic [4:0]          state_shift_q, norm_shift_q;
    logic                state_none_q, norm_none_q;
    logic [PHI_P-1:0]    state_part_q, norm_part_q;

    lawcat_memory #(
      .WIDTH(2 * E + PHI_P),
      .DEPTH(WORDS)
    ) u_weights (
      .clk_i,
      .we_i(a_q[4]),
      .waddr_i(a_word_q[3*INDEX_WIDTH +: INDEX_WIDTH]),
      .wdata_i({norm_weight_q, state_weight_q, phi_q3_q}),
      .re_i(b_active),
      .raddr_i(b_word),
      .rdata_o({b_norm_weight, b_state_weight, b_mantissa})
    );

    // For rows that are not read out the difference wraps, but stays far from 0.
    assign state_below = state_top_q - b_state_weight;
    assign norm_below  = norm_top_q - b_norm_weight;

    always_ff @(posedge clk_i) begin
      b_mantissa_q  <= b_mantissa;
      state_shift_q <= state_below[4:0];
      state_none_q  <= state_below[E-1:5] != '0;
      norm_shift_q  <= norm_below[4:0];
      norm_none_q   <= norm_below[E-1:5] != '0;
      state_part_q  <= state_none_q ? '0 : b_mantissa_q >> state_shift_q;
      norm_part_q   <= norm_none_q ? '0 : b_mantissa_q >> norm_shift_q;
    end

    assign state_weights[l*E +: E]       = state_weight_q;
    assign norm_weights[l*E +: E]        = norm_weight_q;
    assign state_parts[l*PHI_P +: PHI_P] = state_part_q;
    assign norm_parts[l*PHI_P +: PHI_P]  = norm_part_q;
  end

  assign rows_we_o   = a_q[5];
  assign rows_addr_o = a_word_q[4*INDEX_WIDTH +: INDEX_WIDTH];

  // --- Over the lanes ---
  // Largest of the first `count` exponents; every pair is compared at once, equal ones all win.
  function automatic logic [E-1:0] largest(input logic [TOPS*E-1:0] exponents, input int count);
    logic wins;
    largest = '0;
    for (int i = 0; i < TOPS; i++) begin
      wins = i < count;
      for (int j = 0; j < TOPS; j++)
        wins = wins & (j >= count | $signed(exponents[i*E +: E]) >= $signed(exponents[j*E +: E]));
      largest = largest | (exponents[i*E +: E] & {E{wins}});
    end
  endfunction

  function automatic logic [SUM_WIDTH-1:0] cluster_sum(input logic [CLUSTER*PHI_P-1:0] parts);
    cluster_sum = '0;
    for (int i = 0; i < CLUSTER; i++) cluster_sum = cluster_sum + SUM_WIDTH'(parts[i*PHI_P +: PHI_P]);
  endfunction

  function automatic logic [SUM_WIDTH-1:0] add(
      input logic [SUM_WIDTH-1:0] so_far, input logic [CLUSTERS*SUM_WIDTH-1:0] sums);
    add = so_far;
    for (int i = 0; i < CLUSTERS; i++) add = add + sums[i*SUM_WIDTH +: SUM_WIDTH];
  endfunction

  logic [2*E-1:0] bases;  // exponents of weight 2^PHI_P; 0: state, 1: normaliser
  for (genvar n = 0; n < 2; n++) begin : g_align
    localparam int OFFSET = (n == 0) ? STATE_OFFSET : NORM_OFFSET;
    logic [EXP_LANES*E-1:0]        weights;
    logic [EXP_LANES*PHI_P-1:0]    parts;
    logic [TOPS*E-1:0]             candidates;
    logic [CLUSTERS*SUM_WIDTH-1:0] sums;
    logic signed [E-1:0]           top_q, offset_q;
    logic [SUM_WIDTH-1:0]          sum, sum_q;
    logic [LEAD_WIDTH-1:0]         lead, lead_q;
    logic                          none_q;

    if (n == 0) begin : g_state
      assign weights     = state_weights;
      assign parts       = state_parts;
      assign state_top_q = top_q;
    end else begin : g_norm
      assign weights    = norm_weights;
      assign parts      = norm_parts;
      assign norm_top_q = top_q;
    end

    if (LEVELS == 1) begin : g_one_level
      assign candidates = (TOPS*E)'({a_first_q[4] ? NOT_READ : top_q, weights});
      assign sums = cluster_sum(parts);
    end else begin : g_two_levels
      logic [CLUSTERS*E-1:0]         tops_q;
      logic [CLUSTERS*SUM_WIDTH-1:0] sums_q;
      for (genvar c = 0; c < CLUSTERS; c++) begin : g_cluster
        always_ff @(posedge clk_i) begin
          tops_q[c*E +: E] <= largest((TOPS*E)'(weights[c*CLUSTER*E +: CLUSTER*E]), CLUSTER);
          sums_q[c*SUM_WIDTH +: SUM_WIDTH] <= cluster_sum(parts[c*CLUSTER*PHI_P +: CLUSTER*PHI_P]);
        end
      end
      assign candidates = (TOPS*E)'({a_first_q[5] ? NOT_READ : top_q, tops_q});
      assign sums = sums_q;
    end

    assign sum = add(b_first_q[2+LEVELS] ? '0 : sum_q, sums);

    lawcat_lead_bits #(
      .WIDTH(SUM_WIDTH)
    ) u_lead (
      .data_i(sum_q),
      .lead_o(lead)
    );

    always_ff @(posedge clk_i) begin
      if (a_q[3+LEVELS]) top_q <= largest(candidates, ((LEVELS == 1) ? EXP_LANES : CLUSTERS) + 1);
      if (b_q[2+LEVELS]) sum_q <= sum;
      lead_q   <= lead;
      offset_q <= top_q + E'(OFFSET - lawcat_arch_pkg::READOUT_WIDTH);
      none_q   <= top_q == NOT_READ;
    end
    assign bases[n*E +: E] = none_q ? E'(PHI_P) : offset_q + $signed({{(E - LEAD_WIDTH) {1'b0}}, lead_q});
  end

  // --- Random stream: a token's key is mixed from its head and its place ---
  logic [31:0]           count_read, count_q, head_low_q, head_q, seed_q, key, next_count_q;
  logic [23:0]           head_high_q;
  logic [SIDE_WIDTH-1:0] commit_side_q;

  lawcat_memory #(
    .WIDTH(32),
    .DEPTH(CONTEXT_SLOTS)
  ) u_counts (
    .clk_i,
    .we_i(count_port_we_i | last),
    .waddr_i(count_port_we_i ? count_port_slot_i[SLOT_WIDTH-1:0] : slot[SLOT_WIDTH-1:0]),
    .wdata_i(count_port_we_i ? count_port_wdata_i : next_count_q),
    .re_i(count_port_re_i | start),
    .raddr_i(count_port_re_i ? count_port_slot_i[SLOT_WIDTH-1:0] : slot[SLOT_WIDTH-1:0]),
    .rdata_o(count_read)
  );

  lawcat_mix u_mix (
    .clk_i,
    .data_i(seed_q),
    .data_o(key)
  );

  // Its inputs stay until a head-token's last cycle, 5 cycles before the commit; the way to the key is longer.
  always_ff @(posedge clk_i) begin
    head_low_q   <= {24'b0, side[23:16]} * GOLDEN;
    head_high_q  <= {16'b0, side[31:24]} * GOLDEN[23:0];
    head_q       <= head_low_q + {head_high_q, 8'b0} + GOLDEN;
    count_q      <= fresh ? '0 : count_read;
    seed_q       <= count_q + head_q;
    next_count_q <= count_q + 32'd1;
    if (last) commit_side_q <= side;
    count_port_rdata_o <= count_read;
  end

  assign rows_commit_o = commit_q[DEPTH-1];
  assign rows_side_o   = {key, bases, commit_side_q};

  logic unused;
  assign unused = ^{count_port_index_i, count_port_slot_i, a_first_q[5:3], 1'b0};
endmodule

// SPDX-License-Identifier: Apache-2.0
// Causal depthwise convolution of q and k with 4 taps, saturated to the conv format: all of q, then all of k,
// CHANNELS channels per cycle. Owns the buffers of q (one head) and k (shared by a group: given back after its
// last head), the tails (three past inputs, per context slot, of q and k of each head) and the taps (per weight
// slot). Interval per head-token: max(4, 2 * ceil(head_dim / CHANNELS)) cycles. Depth: 9.
// A tail word is read one cycle after its index, and what replaces it can be read from the fourth on: with an
// interval of 3 or more the next token of the same head may follow at once.
// Derived values of the shape settle 3 cycles after it.
`include "lawcat_assert.svh"

module lawcat_convolution #(
  localparam int CHANNELS = lawcat_arch_pkg::CHANNELS,
  localparam int ELEMENT_WIDTH = lawcat_arch_pkg::ELEMENT_WIDTH,
  localparam int BEAT_WIDTH = lawcat_arch_pkg::STREAM_WIDTH,
  localparam int ELEMENTS = BEAT_WIDTH / ELEMENT_WIDTH,  // per beat
  localparam int BEATS = (lawcat_arch_pkg::MAX_HEAD_DIM + ELEMENTS - 1) / ELEMENTS,
  localparam int BEAT_INDEX_WIDTH = (BEATS > 1) ? $clog2(BEATS) : 1,
  localparam int WORDS = (lawcat_arch_pkg::MAX_HEAD_DIM + CHANNELS - 1) / CHANNELS,
  localparam int INDEX_WIDTH = (WORDS > 1) ? $clog2(WORDS) : 1,
  localparam int SIDE_WIDTH = lawcat_arch_pkg::SIDE_WIDTH,
  localparam int QK_WIDTH = lawcat_arch_pkg::QK_WIDTH,
  localparam int TAP_WIDTH = lawcat_arch_pkg::TAP_WIDTH,
  localparam int CONV_WIDTH = lawcat_arch_pkg::CONV_WIDTH,
  localparam int TAIL_WORD_WIDTH = 3 * CHANNELS * QK_WIDTH,
  localparam int TAP_WORD_WIDTH = 4 * CHANNELS * TAP_WIDTH,
  localparam int COUNT_WIDTH = $clog2(CHANNELS + 1)
) (
  input  logic                           clk_i,
  input  logic                           rst_ni,
  input  logic [7:0]                     head_dim_i,
  // q of one head; k of one group
  output logic                           q_room_o,
  input  logic                           q_reserve_i,
  input  logic                           q_we_i,
  input  logic [BEAT_INDEX_WIDTH-1:0]    q_addr_i,
  input  logic [BEAT_WIDTH-1:0]          q_data_i,
  input  logic                           q_commit_i,
  input  logic [SIDE_WIDTH-1:0]          q_side_i,
  output logic                           k_room_o,
  input  logic                           k_reserve_i,
  input  logic                           k_we_i,
  input  logic [BEAT_INDEX_WIDTH-1:0]    k_addr_i,
  input  logic [BEAT_WIDTH-1:0]          k_data_i,
  input  logic                           k_commit_i,
  // tails and taps from and to outside
  input  logic                           tails_port_we_i,
  input  logic                           tails_port_re_i,
  input  logic [7:0]                     tails_port_slot_i,
  input  logic [15:0]                    tails_port_index_i,
  input  logic [TAIL_WORD_WIDTH-1:0]     tails_port_wdata_i,
  output logic [TAIL_WORD_WIDTH-1:0]     tails_port_rdata_o,
  input  logic                           taps_port_we_i,
  input  logic [7:0]                     taps_port_slot_i,
  input  logic [15:0]                    taps_port_index_i,
  input  logic [TAP_WORD_WIDTH-1:0]      taps_port_wdata_i,
  // result
  input  logic                           conv_room_i,
  output logic                           conv_reserve_o,
  output logic                           conv_we_o,
  output logic                           conv_qk_o,  // 0 q, 1 k
  output logic [INDEX_WIDTH-1:0]         conv_addr_o,
  output logic [CHANNELS*CONV_WIDTH-1:0] conv_data_o,
  output logic                           conv_commit_o,
  output logic [SIDE_WIDTH-1:0]          conv_side_o,
  // counters
  output logic                           busy_o,
  output logic                           stall_o,
  output logic                           starve_o,
  output logic [COUNT_WIDTH-1:0]         saturations_q_o,
  output logic [COUNT_WIDTH-1:0]         saturations_k_o
);
  localparam int DEPTH = 9;
  localparam int MIN_INTERVAL = 4;
  localparam int SHIFT =
      lawcat_arch_pkg::TAP_FRACTION + lawcat_arch_pkg::QK_FRACTION - lawcat_arch_pkg::CONV_FRACTION;
  localparam int CHANNEL_BITS = $clog2(CHANNELS);
  localparam int PARTS = ELEMENTS / CHANNELS;  // words per beat
  localparam int PART_BITS = $clog2(PARTS);
  localparam int PART_WIDTH = (PART_BITS > 0) ? PART_BITS : 1;
  localparam int PART_BEAT_WIDTH = CHANNELS * ELEMENT_WIDTH;
  localparam int WORDS_WIDTH = $clog2(WORDS + 1);
  localparam int INTERVAL_WIDTH = (WORDS_WIDTH + 1 > 3) ? WORDS_WIDTH + 1 : 3;
  localparam int POSITION_WIDTH = $clog2(2 * WORDS);
  localparam int SHIFT_WIDTH = $clog2(POSITION_WIDTH + 1);
  // Sized for head_dim 64; a larger one halves the slots.
  localparam int TAIL_DEPTH = lawcat_arch_pkg::CONTEXT_SLOTS * 2 * 64 / CHANNELS;
  localparam int TAIL_ADDRESS_WIDTH = $clog2(TAIL_DEPTH);
  localparam int TAP_DEPTH = lawcat_arch_pkg::WEIGHT_SLOTS * 2 * 64 / CHANNELS;
  localparam int TAP_ADDRESS_WIDTH = $clog2(TAP_DEPTH);
  localparam int SIDES = 1 << $clog2((DEPTH + MIN_INTERVAL - 1) / MIN_INTERVAL);
  localparam int SIDES_WIDTH = $clog2(SIDES);

  `LAWCAT_REQUIRE((1 << CHANNEL_BITS) == CHANNELS, "lawcat_convolution: CHANNELS is a power of two")
  `LAWCAT_REQUIRE(ELEMENTS % CHANNELS == 0 && (1 << PART_BITS) == PARTS,
                  "lawcat_convolution: a beat holds a power of two of conv words")
  `LAWCAT_REQUIRE(QK_WIDTH <= ELEMENT_WIDTH, "lawcat_convolution: q and k fit into an element")
  `LAWCAT_REQUIRE((1 << TAIL_ADDRESS_WIDTH) == TAIL_DEPTH && (1 << TAP_ADDRESS_WIDTH) == TAP_DEPTH,
                  "lawcat_convolution: CONTEXT_SLOTS and WEIGHT_SLOTS are powers of two")
  `LAWCAT_REQUIRE(SHIFT >= 0, "lawcat_convolution: conv has no more fraction bits than the products")

  function automatic logic [SHIFT_WIDTH-1:0] ceil_log2(input logic [WORDS_WIDTH:0] x);
    ceil_log2 = '0;
    for (int i = 0; i <= WORDS_WIDTH; i++)
      if (x > ((WORDS_WIDTH + 1)'(1) << i)) ceil_log2 = SHIFT_WIDTH'(i + 1);
  endfunction

  // Shape
  logic [WORDS_WIDTH-1:0]    words_q;
  logic [INTERVAL_WIDTH-1:0] interval_q;
  logic [INDEX_WIDTH-1:0]    last_word_q;
  logic [SHIFT_WIDTH-1:0]    slot_shift_q;

  always_ff @(posedge clk_i) begin
    words_q      <= WORDS_WIDTH'((9'(head_dim_i) + 9'(CHANNELS - 1)) >> CHANNEL_BITS);
    interval_q   <= (words_q < WORDS_WIDTH'(MIN_INTERVAL / 2)) ? INTERVAL_WIDTH'(MIN_INTERVAL)
                                                               : INTERVAL_WIDTH'({words_q, 1'b0});
    last_word_q  <= INDEX_WIDTH'(words_q - 1'b1);
    slot_shift_q <= ceil_log2({words_q, 1'b0});
  end

  // Input buffers and control
  logic                      q_valid, k_valid, unused_side, start, active, last;
  logic [SIDE_WIDTH-1:0]     side;
  logic [BEAT_WIDTH-1:0]     q_beat, k_beat;
  logic [INTERVAL_WIDTH-1:0] unused_index;

  logic                      second_q, done_q;  // k's turn; k is through
  logic [INDEX_WIDTH-1:0]    word_q;
  logic [POSITION_WIDTH-1:0] position_q;  // in a slot: k's words follow q's
  logic                      step, word_last;
  assign step      = active & ~done_q;
  assign word_last = word_q == last_word_q;

  lawcat_token_buffer #(
    .SLOTS(lawcat_arch_pkg::FIFO_TOKENS),
    .WORDS(BEATS),
    .WIDTH(BEAT_WIDTH),
    .SIDE_WIDTH(SIDE_WIDTH)
  ) u_q (
    .clk_i,
    .rst_ni,
    .room_o(q_room_o),
    .reserve_i(q_reserve_i),
    .we_i(q_we_i),
    .waddr_i(q_addr_i),
    .wdata_i(q_data_i),
    .commit_i(q_commit_i),
    .side_i(q_side_i),
    .valid_o(q_valid),
    .side_o(side),
    .re_i(step & ~second_q),
    .raddr_i(BEAT_INDEX_WIDTH'(word_q >> PART_BITS)),
    .rdata_o(q_beat),
    .release_i(last)
  );

  lawcat_token_buffer #(
    .SLOTS(lawcat_arch_pkg::FIFO_TOKENS),
    .WORDS(BEATS),
    .WIDTH(BEAT_WIDTH),
    .SIDE_WIDTH(1)
  ) u_k (
    .clk_i,
    .rst_ni,
    .room_o(k_room_o),
    .reserve_i(k_reserve_i),
    .we_i(k_we_i),
    .waddr_i(k_addr_i),
    .wdata_i(k_data_i),
    .commit_i(k_commit_i),
    .side_i(1'b0),
    .valid_o(k_valid),
    .side_o(unused_side),
    .re_i(step & second_q),
    .raddr_i(BEAT_INDEX_WIDTH'(word_q >> PART_BITS)),
    .rdata_o(k_beat),
    .release_i(last & side[33])
  );

  lawcat_stage_control #(
    .WIDTH(INTERVAL_WIDTH)
  ) u_control (
    .clk_i,
    .rst_ni,
    .valid_i(q_valid & k_valid),
    .room_i(conv_room_i),
    .interval_i(interval_q),
    .start_o(start),
    .active_o(active),
    .last_o(last),
    .index_o(unused_index),
    .stall_o,
    .starve_o
  );
  assign conv_reserve_o = start;
  assign busy_o         = active;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || last) begin
      second_q   <= 1'b0;
      done_q     <= 1'b0;
      word_q     <= '0;
      position_q <= '0;
    end else if (step) begin
      second_q   <= second_q | word_last;
      done_q     <= second_q & word_last;
      word_q     <= word_last ? '0 : word_q + 1'b1;
      position_q <= position_q + 1'b1;
    end
  end

  // What travels beside the data: bit or field i belongs to the word that was indexed i + 1 cycles ago.
  logic [DEPTH-1:0]                     step_q, commit_q;
  logic [DEPTH:0]                       k_q;  // one further: the counts come a cycle after the data
  logic [DEPTH*INDEX_WIDTH-1:0]         index_q;
  logic [3*TAIL_ADDRESS_WIDTH-1:0]      tail_address_q;
  logic [TAP_ADDRESS_WIDTH-1:0]         tap_address_q;
  logic [1:0]                           fresh_q;
  logic                                 tail_port_re_q;
  logic [TAIL_ADDRESS_WIDTH-1:0]        tail_port_address;
  logic [TAP_ADDRESS_WIDTH-1:0]         tap_port_address;

  assign tail_port_address = (TAIL_ADDRESS_WIDTH'(tails_port_slot_i) << slot_shift_q)
                             | TAIL_ADDRESS_WIDTH'(tails_port_index_i);
  assign tap_port_address  = (TAP_ADDRESS_WIDTH'(taps_port_slot_i) << slot_shift_q)
                             | TAP_ADDRESS_WIDTH'(taps_port_index_i);
  logic unused_port_index;  // addresses wrap
  assign unused_port_index = ^{tails_port_index_i, taps_port_index_i};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      step_q         <= '0;
      commit_q       <= '0;
      tail_port_re_q <= 1'b0;
    end else begin
      step_q         <= {step_q[DEPTH-2:0], step};
      commit_q       <= {commit_q[DEPTH-2:0], last};
      tail_port_re_q <= tails_port_re_i;
    end
    k_q            <= {k_q[DEPTH-1:0], second_q};
    index_q        <= {index_q[(DEPTH-1)*INDEX_WIDTH-1:0], word_q};
    tail_address_q <= {
      tail_address_q[2*TAIL_ADDRESS_WIDTH-1:0],
      tails_port_re_i ? tail_port_address
          : (TAIL_ADDRESS_WIDTH'(side[7:0]) << slot_shift_q) | TAIL_ADDRESS_WIDTH'(position_q)
    };
    tap_address_q  <= (TAP_ADDRESS_WIDTH'(side[15:8]) << slot_shift_q) | TAP_ADDRESS_WIDTH'(position_q);
    fresh_q        <= {fresh_q[0], side[32]};
  end

  // Memories
  logic [TAIL_WORD_WIDTH-1:0] tail, next_tail;
  logic [TAP_WORD_WIDTH-1:0]  taps;

  lawcat_memory #(
    .WIDTH(TAIL_WORD_WIDTH),
    .DEPTH(TAIL_DEPTH)
  ) u_tails (
    .clk_i,
    .we_i(step_q[2] | tails_port_we_i),
    .waddr_i(step_q[2] ? tail_address_q[2*TAIL_ADDRESS_WIDTH +: TAIL_ADDRESS_WIDTH] : tail_port_address),
    .wdata_i(step_q[2] ? next_tail : tails_port_wdata_i),
    .re_i(step_q[0] | tail_port_re_q),
    .raddr_i(tail_address_q[TAIL_ADDRESS_WIDTH-1:0]),
    .rdata_o(tail)
  );
  assign tails_port_rdata_o = tail;

  lawcat_memory #(
    .WIDTH(TAP_WORD_WIDTH),
    .DEPTH(TAP_DEPTH)
  ) u_taps (
    .clk_i,
    .we_i(taps_port_we_i),
    .waddr_i(tap_port_address),
    .wdata_i(taps_port_wdata_i),
    .re_i(step_q[0]),
    .raddr_i(tap_address_q),
    .rdata_o(taps)
  );

  // The word's part of the beat, while its tail and taps are read
  logic [BEAT_WIDTH-1:0]      beat;
  logic [PART_WIDTH-1:0]      part;
  logic [PART_BEAT_WIDTH-1:0] elements, elements_q;
  assign beat = k_q[0] ? k_beat : q_beat;
  assign part = (PART_BITS > 0) ? PART_WIDTH'(index_q[INDEX_WIDTH-1:0]) : '0;

  always_comb begin
    elements = '0;
    for (int i = 0; i < PARTS; i++)
      if (part == PART_WIDTH'(i)) elements = beat[i*PART_BEAT_WIDTH +: PART_BEAT_WIDTH];
  end
  always_ff @(posedge clk_i) elements_q <= elements;

  // Channels
  logic [CHANNELS-1:0] clipped_q;

  for (genvar c = 0; c < CHANNELS; c++) begin : g_channel
    localparam int PRODUCT_WIDTH = TAP_WIDTH + QK_WIDTH;
    localparam int SUM_WIDTH = PRODUCT_WIDTH + 2;
    localparam int ROUNDED_WIDTH = SUM_WIDTH - SHIFT + 1;
    localparam int RANDOM_WIDTH = (SHIFT > 0) ? SHIFT : 1;
    logic [4*PRODUCT_WIDTH-1:0] products;

    for (genvar j = 0; j < 4; j++) begin : g_tap
      logic signed [QK_WIDTH-1:0]  input_q;
      logic signed [TAP_WIDTH-1:0] tap_q;
      if (j < 3) begin : g_past
        always_ff @(posedge clk_i)
          input_q <= fresh_q[1] ? '0 : $signed(tail[(j*CHANNELS+c)*QK_WIDTH +: QK_WIDTH]);
      end else begin : g_current
        always_ff @(posedge clk_i) input_q <= $signed(elements_q[c*ELEMENT_WIDTH +: QK_WIDTH]);
      end
      always_ff @(posedge clk_i) tap_q <= $signed(taps[(c*4+j)*TAP_WIDTH +: TAP_WIDTH]);
      if (j > 0) begin : g_tail
        assign next_tail[((j-1)*CHANNELS+c)*QK_WIDTH +: QK_WIDTH] = input_q;
      end
      lawcat_multiplier #(
        .A_WIDTH(TAP_WIDTH),
        .B_WIDTH(QK_WIDTH),
        .STAGES(2)
      ) u_multiplier (
        .clk_i,
        .a_i(tap_q),
        .b_i(input_q),
        .product_o(products[j*PRODUCT_WIDTH +: PRODUCT_WIDTH])
      );
    end

    if (QK_WIDTH < ELEMENT_WIDTH) begin : g_unused
      logic unused_sign;
      assign unused_sign = ^elements_q[c*ELEMENT_WIDTH+QK_WIDTH +: ELEMENT_WIDTH-QK_WIDTH];
    end

    logic signed [SUM_WIDTH-1:0]     sum;
    logic signed [ROUNDED_WIDTH-1:0] rounded, rounded_q;
    logic signed [CONV_WIDTH-1:0]    value, value_q;
    logic                            clipped;

    lawcat_adder_tree #(
      .COUNT(4),
      .WIDTH(PRODUCT_WIDTH)
    ) u_sum (
      .clk_i,
      .data_i(products),
      .sum_o(sum)
    );
    lawcat_round #(
      .IN_WIDTH(SUM_WIDTH),
      .SHIFT(SHIFT),
      .MODE(3)
    ) u_round (
      .data_i(sum),
      .random_i({RANDOM_WIDTH{1'b0}}),
      .data_o(rounded)
    );
    lawcat_saturate #(
      .IN_WIDTH(ROUNDED_WIDTH),
      .OUT_WIDTH(CONV_WIDTH)
    ) u_saturate (
      .data_i(rounded_q),
      .data_o(value),
      .clipped_o(clipped)
    );
    always_ff @(posedge clk_i) begin
      rounded_q    <= rounded;
      value_q      <= value;
      clipped_q[c] <= clipped;
    end
    assign conv_data_o[c*CONV_WIDTH +: CONV_WIDTH] = value_q;
  end

  // Result
  logic [SIDE_WIDTH-1:0]  side_q [0:SIDES-1];  // of the tokens between their last word's read and the commit
  logic [SIDES_WIDTH-1:0] side_write_q, side_read_q;
  logic [COUNT_WIDTH-1:0] count, count_q;
  logic                   count_valid_q;

  assign conv_we_o     = step_q[DEPTH-1];
  assign conv_qk_o     = k_q[DEPTH-1];
  assign conv_addr_o   = index_q[(DEPTH-1)*INDEX_WIDTH +: INDEX_WIDTH];
  assign conv_commit_o = commit_q[DEPTH-1];
  assign conv_side_o   = side_q[side_read_q];

  always_comb begin
    count = '0;
    for (int c = 0; c < CHANNELS; c++) count = count + COUNT_WIDTH'(clipped_q[c]);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      side_write_q  <= '0;
      side_read_q   <= '0;
      count_valid_q <= 1'b0;
    end else begin
      side_write_q  <= side_write_q + SIDES_WIDTH'(last);
      side_read_q   <= side_read_q + SIDES_WIDTH'(conv_commit_o);
      count_valid_q <= conv_we_o;
    end
    if (last) side_q[side_write_q] <= side;
    count_q <= count;
  end
  assign saturations_q_o = (count_valid_q & ~k_q[DEPTH]) ? count_q : '0;
  assign saturations_k_o = (count_valid_q & k_q[DEPTH]) ? count_q : '0;

  `LAWCAT_ASSERT(ports_only_between_tokens, !(tails_port_we_i || tails_port_re_i || taps_port_we_i)
                                            || (!active && step_q == '0))
endmodule

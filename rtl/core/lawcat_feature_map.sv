// SPDX-License-Identifier: Apache-2.0
// Feature map z = q~ W and z = k~ W of one head, saturated to the feature format, and the extremes of both z.
// A slice is FEATURE_SEGMENT features: FEATURE_CHANNELS channels of q~ and k~ meet one weight word per cycle;
// each weight serves both. A finished slice leaves, EXP_LANES features per cycle, while the next accumulates.
// Owns the buffers of q~ and k~ and the weights (per weight slot). With
//   drain = FEATURE_SEGMENT / EXP_LANES, the cycles that a slice needs to leave:
// interval per head-token: ceil(feature_dim / FEATURE_SEGMENT)
//                          * max(ceil(head_dim / FEATURE_CHANNELS), drain + log2(EXP_LANES) + 1) cycles,
// depth: 8 + log2(FEATURE_CHANNELS) + drain + log2(EXP_LANES).
// Derived values of the shape settle 4 cycles after it.
`include "lawcat_assert.svh"

module lawcat_feature_map #(
  localparam int CHANNELS = lawcat_arch_pkg::CHANNELS,
  localparam int FEATURE_CHANNELS = lawcat_arch_pkg::FEATURE_CHANNELS,
  localparam int SEGMENT = lawcat_arch_pkg::FEATURE_SEGMENT,
  localparam int LANES = lawcat_arch_pkg::EXP_LANES,
  localparam int CONV_WIDTH = lawcat_arch_pkg::CONV_WIDTH,
  localparam int WEIGHT_WIDTH = lawcat_arch_pkg::WEIGHT_WIDTH,
  localparam int FEATURE_WIDTH = lawcat_arch_pkg::FEATURE_WIDTH,
  localparam int WORDS = (lawcat_arch_pkg::MAX_HEAD_DIM + CHANNELS - 1) / CHANNELS,
  localparam int INDEX_WIDTH = (WORDS > 1) ? $clog2(WORDS) : 1,
  localparam int Z_WORDS = (lawcat_arch_pkg::MAX_FEATURE_DIM + LANES - 1) / LANES,
  localparam int Z_INDEX_WIDTH = (Z_WORDS > 1) ? $clog2(Z_WORDS) : 1,
  localparam int SIDE_WIDTH = lawcat_arch_pkg::SIDE_WIDTH,
  localparam int Z_SIDE_WIDTH = SIDE_WIDTH + 4 * FEATURE_WIDTH,
  localparam int WEIGHT_WORD_WIDTH = FEATURE_CHANNELS * SEGMENT * WEIGHT_WIDTH,
  localparam int COUNT_WIDTH = $clog2(LANES + 1)
) (
  input  logic                             clk_i,
  input  logic                             rst_ni,
  input  logic [7:0]                       head_dim_i,
  input  logic [6:0]                       feature_dim_i,
  // q~ and k~ of one head
  output logic                             conv_room_o,
  input  logic                             conv_reserve_i,
  input  logic                             conv_we_i,
  input  logic                             conv_qk_i,  // 0 q, 1 k
  input  logic [INDEX_WIDTH-1:0]           conv_addr_i,
  input  logic [CHANNELS*CONV_WIDTH-1:0]   conv_data_i,
  input  logic                             conv_commit_i,
  input  logic [SIDE_WIDTH-1:0]            conv_side_i,
  // weights from outside
  input  logic                             feature_port_we_i,
  input  logic [7:0]                       feature_port_slot_i,
  input  logic [15:0]                      feature_port_index_i,
  input  logic [WEIGHT_WORD_WIDTH-1:0]     feature_port_wdata_i,
  // result
  input  logic                             z_room_i,
  output logic                             z_reserve_o,
  output logic                             z_we_o,
  output logic [Z_INDEX_WIDTH-1:0]         z_addr_o,
  output logic [2*LANES*FEATURE_WIDTH-1:0] z_data_o,  // {k, q}
  output logic                             z_commit_o,
  output logic [Z_SIDE_WIDTH-1:0]          z_side_o,  // {k's least, greatest, q's least, greatest, side}
  // counters
  output logic                             busy_o,
  output logic                             stall_o,
  output logic                             starve_o,
  output logic [COUNT_WIDTH-1:0]           saturations_q_o,
  output logic [COUNT_WIDTH-1:0]           saturations_k_o
);
  localparam int DRAIN = SEGMENT / LANES;  // cycles a slice needs to leave
  localparam int SUM_STAGES = $clog2(FEATURE_CHANNELS);
  localparam int TREE_LEVELS = $clog2(LANES);
  localparam int SUMMED = 6 + SUM_STAGES;  // cycles from an index to the sum that holds its products
  localparam int DEPTH = SUMMED + 2 + DRAIN + TREE_LEVELS;
  // A token is committed when its extremes are known, before the next one's first word is written.
  localparam int MIN_SLICE_CYCLES = DRAIN + TREE_LEVELS + 1;
  localparam int SHIFT =
      lawcat_arch_pkg::CONV_FRACTION + lawcat_arch_pkg::WEIGHT_FRACTION - lawcat_arch_pkg::FEATURE_FRACTION;
  localparam int CHANNEL_BITS = $clog2(FEATURE_CHANNELS);
  localparam int SEGMENT_BITS = $clog2(SEGMENT);
  localparam int PARTS = CHANNELS / FEATURE_CHANNELS;  // of a buffer word
  localparam int PART_BITS = $clog2(PARTS);
  localparam int PART_WIDTH = (PART_BITS > 0) ? PART_BITS : 1;
  localparam int READ_WIDTH = FEATURE_CHANNELS * CONV_WIDTH;  // of q or k per cycle
  // Cycles of a slice, slices of a token, cycles of a token
  localparam int STEPS = (lawcat_arch_pkg::MAX_HEAD_DIM + FEATURE_CHANNELS - 1) / FEATURE_CHANNELS;
  localparam int SLICE_CYCLES = (STEPS > MIN_SLICE_CYCLES) ? STEPS : MIN_SLICE_CYCLES;
  localparam int STEP_WIDTH = $clog2(SLICE_CYCLES + 1);
  localparam int SLICES = (lawcat_arch_pkg::MAX_FEATURE_DIM + SEGMENT - 1) / SEGMENT;
  localparam int SLICES_WIDTH = $clog2(SLICES + 1);
  localparam int INTERVAL_WIDTH = STEP_WIDTH + SLICES_WIDTH;
  // Sized for head_dim 64 and feature_dim 32; a larger shape has fewer slots.
  localparam int WEIGHT_DEPTH = lawcat_arch_pkg::WEIGHT_SLOTS * 64 * 32 / (FEATURE_CHANNELS * SEGMENT);
  localparam int ADDRESS_WIDTH = $clog2(WEIGHT_DEPTH);
  localparam int SHIFT_WIDTH = $clog2(INTERVAL_WIDTH + 1);
  localparam int PRODUCT_WIDTH = CONV_WIDTH + WEIGHT_WIDTH;
  localparam int SUM_WIDTH = PRODUCT_WIDTH + SUM_STAGES;
  localparam int TOTAL_WIDTH = PRODUCT_WIDTH + $clog2(lawcat_arch_pkg::MAX_HEAD_DIM);
  localparam int ROUNDED_WIDTH = TOTAL_WIDTH - SHIFT;
  localparam logic signed [TOTAL_WIDTH-1:0] HALF = (TOTAL_WIDTH'(1) << SHIFT) >> 1;  // of a result's last bit
  localparam int SIDES = 1 << $clog2((DEPTH + MIN_SLICE_CYCLES - 1) / MIN_SLICE_CYCLES);
  localparam int SIDES_WIDTH = $clog2(SIDES);
  localparam int Z_COUNT_WIDTH = $clog2(SLICES * DRAIN + 1);
  localparam int DRAIN_WIDTH = (DRAIN > 1) ? $clog2(DRAIN) : 1;

  `LAWCAT_REQUIRE((1 << CHANNEL_BITS) == FEATURE_CHANNELS && FEATURE_CHANNELS * PARTS == CHANNELS
                  && (1 << PART_BITS) == PARTS,
                  "lawcat_feature_map: CHANNELS and FEATURE_CHANNELS are powers of two, CHANNELS the larger")
  `LAWCAT_REQUIRE((1 << SEGMENT_BITS) == SEGMENT && (1 << TREE_LEVELS) == LANES && SEGMENT >= LANES,
                  "lawcat_feature_map: FEATURE_SEGMENT and EXP_LANES are powers of two, the first the larger")
  `LAWCAT_REQUIRE((1 << ADDRESS_WIDTH) == WEIGHT_DEPTH, "lawcat_feature_map: WEIGHT_SLOTS is a power of two")
  `LAWCAT_REQUIRE(SHIFT >= 0 && SHIFT < PRODUCT_WIDTH,
                  "lawcat_feature_map: features have no more fraction bits than the products")

  function automatic logic [SHIFT_WIDTH-1:0] ceil_log2(input logic [INTERVAL_WIDTH-1:0] x);
    ceil_log2 = '0;
    for (int i = 0; i < INTERVAL_WIDTH; i++)
      if (x > (INTERVAL_WIDTH'(1) << i)) ceil_log2 = SHIFT_WIDTH'(i + 1);
  endfunction

  // Shape
  logic [STEP_WIDTH-1:0]     steps_q, slice_cycles_q, slice_last_q;
  logic [SLICES_WIDTH-1:0]   slices_q;
  logic [INTERVAL_WIDTH-1:0] interval_q, slot_words_q;
  logic [SHIFT_WIDTH-1:0]    slot_shift_q;
  logic [Z_COUNT_WIDTH-1:0]  z_full_q;     // words of z without padding
  logic [LANES-1:0]          z_partial_q;  // features of the next one

  always_ff @(posedge clk_i) begin
    steps_q        <= STEP_WIDTH'((9'(head_dim_i) + 9'(FEATURE_CHANNELS - 1)) >> CHANNEL_BITS);
    slices_q       <= SLICES_WIDTH'((9'(feature_dim_i) + 9'(SEGMENT - 1)) >> SEGMENT_BITS);
    slice_cycles_q <= (steps_q < STEP_WIDTH'(MIN_SLICE_CYCLES)) ? STEP_WIDTH'(MIN_SLICE_CYCLES) : steps_q;
    slice_last_q   <= slice_cycles_q - 1'b1;
    interval_q     <= INTERVAL_WIDTH'(slices_q) * INTERVAL_WIDTH'(slice_cycles_q);
    slot_words_q   <= INTERVAL_WIDTH'(slices_q) * INTERVAL_WIDTH'(steps_q);
    slot_shift_q   <= ceil_log2(slot_words_q);
    z_full_q       <= Z_COUNT_WIDTH'(feature_dim_i >> TREE_LEVELS);
    for (int i = 0; i < LANES; i++) z_partial_q[i] <= (feature_dim_i & 7'(LANES - 1)) >= 7'(i + 1);
  end

  // Input buffers and control
  logic                           valid, start, active, last, present, first, slice_end;
  logic [SIDE_WIDTH-1:0]          side;
  logic [CHANNELS*CONV_WIDTH-1:0] q_word, k_word;
  logic                           unused_room, unused_valid, unused_side;
  logic [INTERVAL_WIDTH-1:0]      unused_index;
  logic [STEP_WIDTH-1:0]          step_q;  // in a slice
  logic [ADDRESS_WIDTH-1:0]       word_q;  // of weights, in a slot
  assign present   = active & (step_q < steps_q);
  assign first     = step_q == '0;
  assign slice_end = active & (step_q == slice_last_q);

  lawcat_token_buffer #(
    .SLOTS(lawcat_arch_pkg::FIFO_TOKENS),
    .WORDS(WORDS),
    .WIDTH(CHANNELS * CONV_WIDTH),
    .SIDE_WIDTH(SIDE_WIDTH)
  ) u_q (
    .clk_i,
    .rst_ni,
    .room_o(conv_room_o),
    .reserve_i(conv_reserve_i),
    .we_i(conv_we_i & ~conv_qk_i),
    .waddr_i(conv_addr_i),
    .wdata_i(conv_data_i),
    .commit_i(conv_commit_i),
    .side_i(conv_side_i),
    .valid_o(valid),
    .side_o(side),
    .re_i(present),
    .raddr_i(INDEX_WIDTH'(step_q >> PART_BITS)),
    .rdata_o(q_word),
    .release_i(last)
  );

  lawcat_token_buffer #(
    .SLOTS(lawcat_arch_pkg::FIFO_TOKENS),
    .WORDS(WORDS),
    .WIDTH(CHANNELS * CONV_WIDTH),
    .SIDE_WIDTH(1)
  ) u_k (
    .clk_i,
    .rst_ni,
    .room_o(unused_room),
    .reserve_i(conv_reserve_i),
    .we_i(conv_we_i & conv_qk_i),
    .waddr_i(conv_addr_i),
    .wdata_i(conv_data_i),
    .commit_i(conv_commit_i),
    .side_i(1'b0),
    .valid_o(unused_valid),
    .side_o(unused_side),
    .re_i(present),
    .raddr_i(INDEX_WIDTH'(step_q >> PART_BITS)),
    .rdata_o(k_word),
    .release_i(last)
  );

  lawcat_stage_control #(
    .WIDTH(INTERVAL_WIDTH)
  ) u_control (
    .clk_i,
    .rst_ni,
    .valid_i(valid),
    .room_i(z_room_i),
    .interval_i(interval_q),
    .start_o(start),
    .active_o(active),
    .last_o(last),
    .index_o(unused_index),
    .stall_o,
    .starve_o
  );
  assign z_reserve_o = start;
  assign busy_o      = active;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || last) begin
      step_q <= '0;
      word_q <= '0;
    end else if (active) begin
      step_q <= slice_end ? '0 : step_q + 1'b1;
      word_q <= word_q + ADDRESS_WIDTH'(present);
    end
  end

  // What travels beside the data: bit i belongs to the index of i + 1 cycles ago.
  logic [SUMMED-2:0]        present_q, first_q;
  logic [SUMMED-1:0]        slice_end_q;
  logic [DEPTH-1:0]         last_q;
  logic [ADDRESS_WIDTH-1:0] address_q;
  logic [PART_WIDTH-1:0]    part_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      present_q   <= '0;
      slice_end_q <= '0;
      last_q      <= '0;
    end else begin
      present_q   <= {present_q[SUMMED-3:0], present};
      slice_end_q <= {slice_end_q[SUMMED-2:0], slice_end};
      last_q      <= {last_q[DEPTH-2:0], last};
    end
    first_q   <= {first_q[SUMMED-3:0], first};
    address_q <= (ADDRESS_WIDTH'(side[15:8]) << slot_shift_q) | word_q;
    part_q    <= (PART_BITS > 0) ? PART_WIDTH'(step_q) : '0;
  end

  // Weights; meanwhile the channels of this step
  logic [WEIGHT_WORD_WIDTH-1:0] weights;
  logic [2*READ_WIDTH-1:0]      read, read_q, channels_q;  // {k, q}
  logic [ADDRESS_WIDTH-1:0]     port_address;

  assign port_address = (ADDRESS_WIDTH'(feature_port_slot_i) << slot_shift_q)
                        | ADDRESS_WIDTH'(feature_port_index_i);
  logic unused_port_index;  // addresses wrap
  assign unused_port_index = ^feature_port_index_i;

  lawcat_memory #(
    .WIDTH(WEIGHT_WORD_WIDTH),
    .DEPTH(WEIGHT_DEPTH)
  ) u_weights (
    .clk_i,
    .we_i(feature_port_we_i),
    .waddr_i(port_address),
    .wdata_i(feature_port_wdata_i),
    .re_i(present_q[0]),
    .raddr_i(address_q),
    .rdata_o(weights)
  );

  always_comb begin
    read = '0;
    for (int i = 0; i < PARTS; i++)
      if (part_q == PART_WIDTH'(i))
        read = {k_word[i*READ_WIDTH +: READ_WIDTH], q_word[i*READ_WIDTH +: READ_WIDTH]};
  end
  always_ff @(posedge clk_i) begin
    read_q     <= read;
    channels_q <= read_q;
  end

  // Sums of a slice; starting from one half, they are rounded by dropping bits.
  logic [2*SEGMENT*ROUNDED_WIDTH-1:0] rounded;  // {k, q}
  for (genvar o = 0; o < SEGMENT; o++) begin : g_output
    logic [FEATURE_CHANNELS*WEIGHT_WIDTH-1:0] weights_q;
    for (genvar c = 0; c < FEATURE_CHANNELS; c++) begin : g_weight
      always_ff @(posedge clk_i)
        weights_q[c*WEIGHT_WIDTH +: WEIGHT_WIDTH] <= weights[(c*SEGMENT+o)*WEIGHT_WIDTH +: WEIGHT_WIDTH];
    end
    for (genvar s = 0; s < 2; s++) begin : g_side
      logic [FEATURE_CHANNELS*PRODUCT_WIDTH-1:0] products;
      logic signed [SUM_WIDTH-1:0]               sum;
      logic signed [TOTAL_WIDTH-1:0]             total_q;
      for (genvar c = 0; c < FEATURE_CHANNELS; c++) begin : g_channel
        lawcat_multiplier #(
          .A_WIDTH(WEIGHT_WIDTH),
          .B_WIDTH(CONV_WIDTH),
          .STAGES(2)
        ) u_multiplier (
          .clk_i,
          .a_i(weights_q[c*WEIGHT_WIDTH +: WEIGHT_WIDTH]),
          .b_i(channels_q[(s*FEATURE_CHANNELS+c)*CONV_WIDTH +: CONV_WIDTH]),
          .product_o(products[c*PRODUCT_WIDTH +: PRODUCT_WIDTH])
        );
      end
      lawcat_adder_tree #(
        .COUNT(FEATURE_CHANNELS),
        .WIDTH(PRODUCT_WIDTH)
      ) u_sum (
        .clk_i,
        .data_i(products),
        .sum_o(sum)
      );
      always_ff @(posedge clk_i)
        if (present_q[SUMMED-2]) total_q <= (first_q[SUMMED-2] ? HALF : total_q) + TOTAL_WIDTH'(sum);
      assign rounded[(s*SEGMENT+o)*ROUNDED_WIDTH +: ROUNDED_WIDTH] = total_q[TOTAL_WIDTH-1:SHIFT];
      logic unused_fraction;
      assign unused_fraction = ^total_q;
    end
  end

  // A finished slice leaves, the next LANES features of q and k always being the lowest ones.
  logic [SEGMENT*ROUNDED_WIDTH-1:0] hold_k_q, hold_q_q;
  logic                             drain_q, restart_q;
  logic [DRAIN_WIDTH-1:0]           drain_word_q;
  logic [Z_COUNT_WIDTH-1:0]         z_word_q;
  logic                             slice_ready;
  assign slice_ready = slice_end_q[SUMMED-1];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      drain_q   <= 1'b0;
      restart_q <= 1'b1;
    end else begin
      if (slice_ready) begin
        drain_q   <= 1'b1;
        restart_q <= last_q[SUMMED-1];
      end else if (drain_word_q == DRAIN_WIDTH'(DRAIN - 1)) begin
        drain_q <= 1'b0;
      end
    end
    if (slice_ready) begin
      drain_word_q         <= '0;
      {hold_k_q, hold_q_q} <= rounded;
    end else if (drain_q) begin
      drain_word_q <= drain_word_q + 1'b1;
      hold_k_q     <= hold_k_q >> (LANES * ROUNDED_WIDTH);
      hold_q_q     <= hold_q_q >> (LANES * ROUNDED_WIDTH);
    end
    if (slice_ready && restart_q) z_word_q <= '0;
    else if (drain_q) z_word_q <= z_word_q + 1'b1;
  end

  // Bit i of the last two: i cycles after the word is in the output register.
  logic [LANES-1:0]         mask, mask_q;  // lanes that hold a feature
  logic                     z_we_q;
  logic [Z_INDEX_WIDTH-1:0] z_addr_q;
  logic [TREE_LEVELS:0]     drained_q, opening_q;  // a word; the first word of a token
  always_comb begin
    mask = '0;
    if (z_word_q < z_full_q) mask = '1;
    else if (z_word_q == z_full_q) mask = z_partial_q;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      drained_q <= '0;
      z_we_q    <= 1'b0;
    end else begin
      drained_q <= (TREE_LEVELS + 1)'({drained_q, drain_q});
      z_we_q    <= drain_q & (mask != '0);
    end
    opening_q <= (TREE_LEVELS + 1)'({opening_q, z_word_q == '0});
    mask_q    <= mask;
    z_addr_q  <= Z_INDEX_WIDTH'(z_word_q);
  end
  assign z_we_o   = z_we_q;
  assign z_addr_o = z_addr_q;

  logic [2*LANES-1:0] clipped_q;  // {k, q}
  for (genvar s = 0; s < 2; s++) begin : g_z
    for (genvar l = 0; l < LANES; l++) begin : g_lane
      logic signed [ROUNDED_WIDTH-1:0] lane;
      logic signed [FEATURE_WIDTH-1:0] value, value_q;
      logic                            clipped;
      if (s == 0) begin : g_q
        assign lane = $signed(hold_q_q[l*ROUNDED_WIDTH +: ROUNDED_WIDTH]);
      end else begin : g_k
        assign lane = $signed(hold_k_q[l*ROUNDED_WIDTH +: ROUNDED_WIDTH]);
      end
      lawcat_saturate #(
        .IN_WIDTH(ROUNDED_WIDTH),
        .OUT_WIDTH(FEATURE_WIDTH)
      ) u_saturate (
        .data_i(lane),
        .data_o(value),
        .clipped_o(clipped)
      );
      always_ff @(posedge clk_i) begin
        value_q              <= mask[l] ? value : '0;
        clipped_q[s*LANES+l] <= clipped & mask[l];
      end
      assign z_data_o[(s*LANES+l)*FEATURE_WIDTH +: FEATURE_WIDTH] = value_q;
    end
  end

  // Extremes over a token; the least is the greatest of the inverted values, inverted. A tree with a register
  // per level, node n above 2n and 2n + 1, then the running extreme.
  logic [4*FEATURE_WIDTH-1:0] extremes;  // {k's least, k's greatest, q's least, q's greatest}
  for (genvar e = 0; e < 4; e++) begin : g_extreme
    localparam logic [FEATURE_WIDTH-1:0] INVERT = {FEATURE_WIDTH{e % 2 == 1}};
    localparam logic [FEATURE_WIDTH-1:0] LOWEST = FEATURE_WIDTH'(1) << (FEATURE_WIDTH - 1);
    for (genvar n = 1; n < 2 * LANES; n++) begin : g_node
      logic signed [FEATURE_WIDTH-1:0] value;
      if (n >= LANES) begin : g_leaf
        localparam int LANE = n - LANES;
        assign value = mask_q[LANE] ? z_data_o[((e/2)*LANES+LANE)*FEATURE_WIDTH +: FEATURE_WIDTH] ^ INVERT
                                    : LOWEST;
      end else begin : g_greater
        always_ff @(posedge clk_i)
          value <= (g_node[2*n].value > g_node[2*n+1].value) ? g_node[2*n].value : g_node[2*n+1].value;
      end
    end
    logic signed [FEATURE_WIDTH-1:0] running_q;
    always_ff @(posedge clk_i)
      if (drained_q[TREE_LEVELS] && (opening_q[TREE_LEVELS] || g_node[1].value > running_q))
        running_q <= g_node[1].value;
    assign extremes[e*FEATURE_WIDTH +: FEATURE_WIDTH] = running_q ^ $signed(INVERT);
  end

  // Hand-over
  logic [SIDE_WIDTH-1:0]  side_q [0:SIDES-1];  // of the tokens between their last step and the commit
  logic [SIDES_WIDTH-1:0] side_write_q, side_read_q;
  assign z_commit_o = last_q[DEPTH-1];
  assign z_side_o   = {extremes, side_q[side_read_q]};

  logic [COUNT_WIDTH-1:0] q_count, k_count, q_count_q, k_count_q;
  logic                   count_valid_q;
  always_comb begin
    q_count = '0;
    k_count = '0;
    for (int i = 0; i < LANES; i++) begin
      q_count = q_count + COUNT_WIDTH'(clipped_q[i]);
      k_count = k_count + COUNT_WIDTH'(clipped_q[LANES+i]);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      side_write_q  <= '0;
      side_read_q   <= '0;
      count_valid_q <= 1'b0;
    end else begin
      side_write_q  <= side_write_q + SIDES_WIDTH'(last);
      side_read_q   <= side_read_q + SIDES_WIDTH'(z_commit_o);
      count_valid_q <= drained_q[0];
    end
    if (last) side_q[side_write_q] <= side;
    q_count_q <= q_count;
    k_count_q <= k_count;
  end
  assign saturations_q_o = count_valid_q ? q_count_q : '0;
  assign saturations_k_o = count_valid_q ? k_count_q : '0;

  `LAWCAT_ASSERT(slice_has_left_before_the_next, !(slice_ready && drain_q))
endmodule

// SPDX-License-Identifier: Apache-2.0
// One column of the state: its memory, the row update of backend/datapath.cc (update_row, block formats) and
// the read-out's product and sum. One word per cycle, never stalls. With t the cycle of raddr_i:
//   t      raddr_i, clear_i
//   t + 1  memory data; outside_i, value_i, factor_i, phi_i
//   t + 3  keep_i, decay_i, add_i
//   t + 4  the two products; the word beside them
//   t + 5  three aligned terms; random_i
//   t + 6  their sum; weight_i
//   t + 7  new word: magnitude_o, clipped_o, written with we_i and waddr_i
//   t + 8  first_i
//   t + 10 sum_o: weight x new word, added since first_i
// What the lanes of a row share comes in the cycle in which it is needed and is registered here first, so
// that no wire from outside drives more than one register per lane; the kept hierarchy keeps synthesis from
// merging those registers again.
//
// Widths. TERM = WORD_WIDTH + GUARD bits hold each aligned term: row_prepare chooses the new exponent so that
// old content and new term are at most 2^(WORD_WIDTH - 2) of its units, that is 2^(TERM - 2) of the guard
// unit; only when the format's largest exponent cuts it, the old content may be twice that, and its shift is
// then word << GUARD. The sum of three terms has TERM + 2 bits, with rounding WORD_WIDTH + 3. The weights of
// a token sum to less than 2^(READOUT_WIDTH + 1) (align_readout), so WORD_WIDTH + READOUT_WIDTH + 1 bits hold
// every partial sum.
`include "lawcat_assert.svh"

(* keep_hierarchy *)
module lawcat_state_lane #(
  parameter int WORD_WIDTH    = 16,
  parameter int DEPTH         = 4096,
  parameter int GUARD         = 8,
  parameter int ROUNDING      = 2,   // as lawcat_round's MODE
  parameter int GATE_P        = 12,
  parameter int PHI_P         = 12,
  parameter int UNIT_VALUE    = 0,   // 1: the value is the constant 1 (normaliser)
  parameter int VALUE_WIDTH   = 12,
  parameter int READOUT_WIDTH = 15,
  // Of the three shifters, see lawcat_align.
  parameter int KEEP_LEFT     = 21,
  parameter int KEEP_SHIFT    = 6,
  parameter int DECAY_LEFT    = 9,
  parameter int DECAY_SHIFT   = 6,
  parameter int ADD_LEFT      = 9,
  parameter int ADD_SHIFT     = 6,
  localparam int ADDRESS_WIDTH = (DEPTH > 1) ? $clog2(DEPTH) : 1,
  localparam int SUM_WIDTH = WORD_WIDTH + READOUT_WIDTH + 1
) (
  input  logic                          clk_i,
  // memory
  input  logic                          re_i,
  input  logic [ADDRESS_WIDTH-1:0]      raddr_i,
  input  logic                          we_i,
  input  logic [ADDRESS_WIDTH-1:0]      waddr_i,
  input  logic                          port_we_i,     // the word written next is port_wdata_i
  input  logic [WORD_WIDTH-1:0]         port_wdata_i,
  output logic [WORD_WIDTH-1:0]         port_rdata_o,
  // row
  input  logic                          clear_i,       // the old word counts as 0
  input  logic                          outside_i,     // the column does not exist: word and value count as 0
  input  logic signed [VALUE_WIDTH-1:0] value_i,
  input  logic signed [GATE_P:0]        factor_i,      // a, or -(1 - a) beside the word itself
  input  logic [PHI_P-1:0]              phi_i,
  input  logic [KEEP_SHIFT-1:0]         keep_i,
  input  logic [DECAY_SHIFT-1:0]        decay_i,
  input  logic [ADD_SHIFT-1:0]          add_i,
  input  logic [GUARD-1:0]              random_i,
  input  logic [READOUT_WIDTH-1:0]      weight_i,
  input  logic                          first_i,
  // results
  output logic [WORD_WIDTH-2:0]         magnitude_o,
  output logic                          clipped_o,
  output logic signed [SUM_WIDTH-1:0]   sum_o
);
  localparam int TERM_WIDTH = WORD_WIDTH + GUARD;
  localparam int DECAYED_WIDTH = WORD_WIDTH + GATE_P + 1;
  localparam int ADDED_WIDTH = PHI_P + 1 + ((UNIT_VALUE != 0) ? 0 : VALUE_WIDTH);

  logic                            clear_q, first_q, clipped_q, clipped;
  logic        [WORD_WIDTH-1:0]    rdata;
  logic signed [WORD_WIDTH-1:0]    word_q, word_3_q, word_4_q, new_word, new_q;
  logic signed [GATE_P:0]          factor_q;
  logic        [PHI_P-1:0]         phi_q;
  logic signed [DECAYED_WIDTH-1:0] decayed_product;
  logic signed [ADDED_WIDTH-1:0]   added_product;
  logic        [KEEP_SHIFT-1:0]    keep_q;
  logic        [DECAY_SHIFT-1:0]   decay_q;
  logic        [ADD_SHIFT-1:0]     add_q;
  logic signed [TERM_WIDTH-1:0]    kept, decayed, added, kept_q, decayed_q, added_q;
  logic                            kept_half, decayed_half, added_half;
  logic                            kept_half_q, decayed_half_q, added_half_q;
  logic signed [TERM_WIDTH+1:0]    sum_q;
  logic        [GUARD-1:0]         random_q;
  logic signed [WORD_WIDTH+2:0]    rounded;
  logic        [READOUT_WIDTH-1:0] weight_q;
  logic signed [WORD_WIDTH+READOUT_WIDTH:0] product;
  logic signed [SUM_WIDTH-1:0]     total_q;

  lawcat_memory #(
    .WIDTH(WORD_WIDTH),
    .DEPTH(DEPTH)
  ) u_memory (
    .clk_i,
    .we_i,
    .waddr_i,
    .wdata_i(new_q),
    .re_i,
    .raddr_i,
    .rdata_o(rdata)
  );

  lawcat_multiplier #(
    .A_WIDTH(WORD_WIDTH),
    .B_WIDTH(GATE_P + 1),
    .STAGES (2)
  ) u_decay (
    .clk_i,
    .a_i      (word_q),
    .b_i      (factor_q),
    .product_o(decayed_product)
  );

  if (UNIT_VALUE != 0) begin : g_unit
    logic [PHI_P-1:0] phi_3_q, phi_4_q;
    always_ff @(posedge clk_i) begin
      phi_3_q <= phi_q;
      phi_4_q <= phi_3_q;
    end
    assign added_product = {1'b0, phi_4_q};
    logic unused;
    assign unused = ^value_i;
  end else begin : g_value
    logic signed [VALUE_WIDTH-1:0] value_q;
    always_ff @(posedge clk_i) value_q <= outside_i ? '0 : value_i;
    lawcat_multiplier #(
      .A_WIDTH(VALUE_WIDTH),
      .B_WIDTH(PHI_P + 1),
      .STAGES (2)
    ) u_add (
      .clk_i,
      .a_i      (value_q),
      .b_i      ({1'b0, phi_q}),
      .product_o(added_product)
    );
  end

  lawcat_align #(
    .IN_WIDTH   (WORD_WIDTH),
    .OUT_WIDTH  (TERM_WIDTH),
    .SHIFT_WIDTH(KEEP_SHIFT),
    .MAX_LEFT   (KEEP_LEFT)
  ) u_align_kept (
    .data_i (word_4_q),
    .right_i(keep_q),
    .whole_o(kept),
    .half_o (kept_half)
  );
  lawcat_align #(
    .IN_WIDTH   (DECAYED_WIDTH),
    .OUT_WIDTH  (TERM_WIDTH),
    .SHIFT_WIDTH(DECAY_SHIFT),
    .MAX_LEFT   (DECAY_LEFT)
  ) u_align_decayed (
    .data_i (decayed_product),
    .right_i(decay_q),
    .whole_o(decayed),
    .half_o (decayed_half)
  );
  lawcat_align #(
    .IN_WIDTH   (ADDED_WIDTH),
    .OUT_WIDTH  (TERM_WIDTH),
    .SHIFT_WIDTH(ADD_SHIFT),
    .MAX_LEFT   (ADD_LEFT)
  ) u_align_added (
    .data_i (added_product),
    .right_i(add_q),
    .whole_o(added),
    .half_o (added_half)
  );

  lawcat_round #(
    .IN_WIDTH(TERM_WIDTH + 2),
    .SHIFT   (GUARD),
    .MODE    (ROUNDING)
  ) u_round (
    .data_i  (sum_q),
    .random_i(random_q),
    .data_o  (rounded)
  );
  lawcat_saturate #(
    .IN_WIDTH (WORD_WIDTH + 3),
    .OUT_WIDTH(WORD_WIDTH)
  ) u_saturate (
    .data_i   (rounded),
    .data_o   (new_word),
    .clipped_o(clipped)
  );

  lawcat_multiplier #(
    .A_WIDTH(WORD_WIDTH),
    .B_WIDTH(READOUT_WIDTH + 1),
    .STAGES (2)
  ) u_read_out (
    .clk_i,
    .a_i      (new_q),
    .b_i      ({1'b0, weight_q}),
    .product_o(product)
  );

  always_ff @(posedge clk_i) begin
    clear_q  <= clear_i;
    word_q   <= (clear_q | outside_i) ? '0 : rdata;
    factor_q <= factor_i;
    phi_q    <= phi_i;
    word_3_q <= word_q;
    word_4_q <= word_3_q;

    keep_q         <= keep_i;
    decay_q        <= decay_i;
    add_q          <= add_i;
    kept_q         <= kept;
    kept_half_q    <= kept_half;
    decayed_q      <= decayed;
    decayed_half_q <= decayed_half;
    added_q        <= added;
    added_half_q   <= added_half;
    sum_q          <= (TERM_WIDTH + 2)'(kept_q) + (TERM_WIDTH + 2)'(decayed_q) + (TERM_WIDTH + 2)'(added_q)
                      + $signed({{(TERM_WIDTH + 1) {1'b0}}, kept_half_q})
                      + $signed({{(TERM_WIDTH + 1) {1'b0}}, decayed_half_q})
                      + $signed({{(TERM_WIDTH + 1) {1'b0}}, added_half_q});

    random_q  <= random_i;
    new_q     <= port_we_i ? port_wdata_i : new_word;
    clipped_q <= clipped;

    weight_q <= weight_i;
    first_q  <= first_i;
    total_q  <= SUM_WIDTH'(product) + (first_q ? '0 : total_q);
  end

  lawcat_magnitude_bits #(
    .WIDTH(WORD_WIDTH)
  ) u_magnitude (
    .data_i(new_q),
    .bits_o(magnitude_o)
  );

  assign port_rdata_o = rdata;
  assign clipped_o    = clipped_q;
  assign sum_o        = total_q;
endmodule

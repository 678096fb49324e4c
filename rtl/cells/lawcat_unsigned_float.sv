// SPDX-License-Identifier: Apache-2.0
// to_unsigned_float of numerics/functions.h: integer_i * 2^exponent_i as a float of precision P, ties up; 0 for
// 0 and, with FLUSH, for results whose leading one lies below 2^MIN_EXPONENT. What the caller knows of its
// integers saves stages:
//   MIN_LEAD = 1             anything: latency 4 (search, shift, round, select)
//   MIN_LEAD = IN_WIDTH - 1  0 or at least IN_WIDTH - 1 bits: latency 3 (shift by one, round, select)
//   MIN_LEAD = IN_WIDTH      2^(IN_WIDTH-2) to 2^(IN_WIDTH-1), both included: latency 2 (round, select), as the
//                            upper end looks like the carry of a rounding
// One result per cycle.
`include "lawcat_assert.svh"

module lawcat_unsigned_float #(
  parameter int IN_WIDTH       = 24,
  parameter int MIN_LEAD       = 1,
  parameter int P              = 12,
  parameter int EXPONENT_WIDTH = 12,
  parameter int FLUSH          = 1,
  parameter int MIN_EXPONENT   = -62
) (
  input  logic                             clk_i,
  input  logic        [IN_WIDTH-1:0]       integer_i,
  input  logic signed [EXPONENT_WIDTH-1:0] exponent_i,
  output logic        [P-1:0]              mantissa_o,
  output logic signed [EXPONENT_WIDTH-1:0] exponent_o
);
  `LAWCAT_REQUIRE(IN_WIDTH >= 2 && P >= 2, "lawcat_unsigned_float: IN_WIDTH and P are at least 2")
  `LAWCAT_REQUIRE(MIN_LEAD == 1 || MIN_LEAD == IN_WIDTH - 1 || MIN_LEAD == IN_WIDTH,
                  "lawcat_unsigned_float: MIN_LEAD is 1, IN_WIDTH - 1 or IN_WIDTH")

  localparam int CARRIED = (MIN_LEAD == IN_WIDTH) ? 1 : 0;  // the integer has a place for a carry
  localparam int PLACES = IN_WIDTH - CARRIED;
  localparam int PAD = (PLACES > P) ? 0 : P + 1 - PLACES;   // so that a rounding bit exists
  localparam int WIDE = PLACES + PAD + 1;
  localparam int OFFSET = (CARRIED != 0) ? PLACES : 0;
  localparam logic signed [EXPONENT_WIDTH-1:0] LEAST = EXPONENT_WIDTH'(MIN_EXPONENT - OFFSET);

  logic [PLACES:0]                  normal;    // leading one at place PLACES - 1 (at PLACES only if CARRIED)
  logic signed [EXPONENT_WIDTH-1:0] exponent;  // and the exponent that belongs to it, less OFFSET

  if (CARRIED != 0) begin : g_one_place
    assign normal   = integer_i;
    assign exponent = exponent_i;
  end else if (MIN_LEAD != 1) begin : g_two_places
    logic [IN_WIDTH-1:0]              normal_q;
    logic signed [EXPONENT_WIDTH-1:0] exponent_q;
    always_ff @(posedge clk_i) begin
      normal_q   <= integer_i[IN_WIDTH-1] ? integer_i : integer_i << 1;
      exponent_q <= exponent_i + EXPONENT_WIDTH'(IN_WIDTH - 1) + EXPONENT_WIDTH'(integer_i[IN_WIDTH-1]);
    end
    assign normal   = {1'b0, normal_q};
    assign exponent = exponent_q;
  end else begin : g_search
    localparam int LEAD_WIDTH = $clog2(IN_WIDTH + 1);
    logic [LEAD_WIDTH-1:0]            lead, lead_q, left_q;
    logic [IN_WIDTH-1:0]              integer_q, normal_q;
    logic signed [EXPONENT_WIDTH-1:0] before_q, exponent_q;

    lawcat_lead_bits #(.WIDTH(IN_WIDTH)) u_lead (.data_i(integer_i), .lead_o(lead));
    always_ff @(posedge clk_i) begin
      lead_q     <= lead;
      left_q     <= LEAD_WIDTH'(IN_WIDTH) - lead;
      integer_q  <= integer_i;
      before_q   <= exponent_i;
      normal_q   <= integer_q << left_q;
      exponent_q <= before_q + $signed(EXPONENT_WIDTH'(lead_q));
    end
    assign normal   = {1'b0, normal_q};
    assign exponent = exponent_q;
  end

  logic [WIDE-1:0]                  wide;
  logic [P:0]                       rounded_q;
  logic signed [EXPONENT_WIDTH-1:0] plain_q, carried_q;
  logic                             drop_plain_q, drop_carried_q;
  logic                             carry, drop;

  if (PAD > 0) begin : g_pad
    assign wide = {normal, {PAD{1'b0}}};
  end else begin : g_no_pad
    assign wide = normal;
  end
  assign carry = rounded_q[P];
  assign drop  = carry ? drop_carried_q : drop_plain_q;

  always_ff @(posedge clk_i) begin
    rounded_q  <= wide[WIDE-1 -: P + 1] + (P + 1)'(wide[WIDE-2-P]);
    plain_q    <= exponent + EXPONENT_WIDTH'(OFFSET);
    carried_q  <= exponent + EXPONENT_WIDTH'(OFFSET + 1);
    mantissa_o <= drop ? '0 : carry ? {1'b1, {(P - 1) {1'b0}}} : rounded_q[P-1:0];
    exponent_o <= drop ? '0 : carry ? carried_q : plain_q;
  end
  if (FLUSH != 0) begin : g_flush
    always_ff @(posedge clk_i) begin
      drop_plain_q   <= wide[WIDE-1:WIDE-2] == 2'b00 || exponent <= LEAST;
      drop_carried_q <= exponent < LEAST;
    end
  end else begin : g_keep
    always_ff @(posedge clk_i) begin
      drop_plain_q   <= wide[WIDE-1:WIDE-2] == 2'b00;
      drop_carried_q <= 1'b0;
    end
  end

  if (WIDE > P + 2) begin : g_unused
    logic unused;
    assign unused = ^wide[WIDE-P-3:0];
  end
endmodule

// SPDX-License-Identifier: Apache-2.0
// reciprocal of numerics/functions.h: 1 / (integer_i * 2^exponent_i) for integer_i > 0 as a float of
// precision P. The integer is cut to 30 places behind its leading one, as there. Exponents must not leave 12
// bits (they wrap).
// Latency 9 cycles (search, shift, table 5, float 2), one result per cycle, never stalls.
`include "lawcat_assert.svh"

module lawcat_reciprocal #(
  parameter int IN_WIDTH   = 32,
  parameter int P          = 12,
  parameter int TABLE_BITS = 7,
  parameter int SELECT     = 2
) (
  input  logic                clk_i,
  input  logic                table_we_i,
  input  logic [1:0]          table_select_i,
  input  logic [9:0]          table_index_i,
  input  logic [63:0]         table_data_i,
  input  logic [IN_WIDTH-1:0] integer_i,
  input  logic signed [11:0]  exponent_i,
  output logic [P-1:0]        mantissa_o,
  output logic signed [11:0]  exponent_o
);
  `LAWCAT_REQUIRE(IN_WIDTH >= 2 && IN_WIDTH <= 63, "lawcat_reciprocal: IN_WIDTH is 2 to 63")
  `LAWCAT_REQUIRE(P >= 2 && P <= 24, "lawcat_reciprocal: P is 2 to 24")
  `LAWCAT_REQUIRE(TABLE_BITS >= 1 && TABLE_BITS <= 10, "lawcat_reciprocal: TABLE_BITS is 1 to 10")

  localparam int NORMAL = 30;  // binary places of the normalised integer
  localparam int REST_BITS = NORMAL - TABLE_BITS;
  localparam int FRACTION = lawcat_arch_pkg::TABLE_FRACTION;
  localparam int LEAD_WIDTH = $clog2(IN_WIDTH + 1);
  localparam int WIDE = (IN_WIDTH > NORMAL + 1) ? IN_WIDTH : NORMAL + 1;
  localparam int EXPONENT_STAGES = 6;  // from the sum to the float

  logic [LEAD_WIDTH-1:0] lead, lead_q, left_q;
  logic [IN_WIDTH-1:0]   integer_q, normal_q;
  logic [WIDE-1:0]       wide;
  logic [FRACTION:0]     value;
  logic signed [11:0]    exponent_q;
  logic [EXPONENT_STAGES*12-1:0] minus_q;

  lawcat_lead_bits #(.WIDTH(IN_WIDTH)) u_lead (.data_i(integer_i), .lead_o(lead));

  always_ff @(posedge clk_i) begin
    lead_q     <= lead;
    left_q     <= LEAD_WIDTH'(IN_WIDTH) - lead;
    integer_q  <= integer_i;
    exponent_q <= exponent_i;
    normal_q   <= integer_q << left_q;
    // -FRACTION - (lead - 1) - exponent in two additions: -(x + 1) is ~x.
    minus_q <= {minus_q[0 +: (EXPONENT_STAGES-1)*12], 12'(exponent_q + $signed(12'(lead_q)))};
    minus_q[12 +: 12] <= ~minus_q[0 +: 12] + 12'(2 - FRACTION);
  end

  if (WIDE > IN_WIDTH) begin : g_pad
    assign wide = {normal_q, {(WIDE - IN_WIDTH) {1'b0}}};
  end else begin : g_whole
    assign wide = normal_q;
  end

  // From 2^(FRACTION-1) for the largest integer to 2^FRACTION for the smallest.
  lawcat_table #(
    .INDEX_WIDTH(TABLE_BITS),
    .SELECT(SELECT),
    .VALUE_WIDTH(FRACTION + 1),
    .DELTA_WIDTH(FRACTION + 1 - TABLE_BITS),
    .REST_BITS(REST_BITS)
  ) u_table (
    .clk_i,
    .table_we_i,
    .table_select_i,
    .table_index_i,
    .table_data_i,
    .index_i(wide[WIDE-2 -: TABLE_BITS]),
    .rest_i(wide[WIDE-2-TABLE_BITS -: REST_BITS]),
    .value_o(value)
  );

  lawcat_unsigned_float #(
    .IN_WIDTH(FRACTION + 1),
    .MIN_LEAD(FRACTION + 1),
    .P(P),
    .EXPONENT_WIDTH(12),
    .FLUSH(0)
  ) u_float (
    .clk_i,
    .integer_i(value),
    .exponent_i(minus_q[(EXPONENT_STAGES-1)*12 +: 12]),
    .mantissa_o,
    .exponent_o
  );

  logic unused;  // the leading one itself; places behind the 30th
  assign unused = ^wide;
endmodule

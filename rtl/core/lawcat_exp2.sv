// SPDX-License-Identifier: Apache-2.0
// exp2_negative of numerics/functions.h: 2^-y_i, y_i >= 0 in units of 2^-FRACTION, as a float of precision P;
// 0 where its leading one would lie below 2^MIN_EXPONENT (the earlier test of the definition drops a part of
// those).
// Latency 8 cycles (negate, table 5, float 2), one result per cycle, never stalls.
`include "lawcat_assert.svh"

module lawcat_exp2 #(
  parameter int Y_WIDTH        = 19,
  parameter int FRACTION       = 12,
  parameter int TABLE_BITS     = 6,
  parameter int P              = 12,
  parameter int EXPONENT_WIDTH = 7,
  parameter int MIN_EXPONENT   = -62,
  parameter int SELECT         = 0
) (
  input  logic                             clk_i,
  input  logic                             table_we_i,
  input  logic [1:0]                       table_select_i,
  input  logic [9:0]                       table_index_i,
  input  logic [63:0]                      table_data_i,
  input  logic [Y_WIDTH-1:0]               y_i,
  output logic [P-1:0]                     mantissa_o,
  output logic signed [EXPONENT_WIDTH-1:0] exponent_o
);
  `LAWCAT_REQUIRE(FRACTION >= TABLE_BITS && TABLE_BITS >= 1 && TABLE_BITS <= 10,
                  "lawcat_exp2: TABLE_BITS is 1 to 10 and at most FRACTION")
  `LAWCAT_REQUIRE(Y_WIDTH > FRACTION && P >= 2 && P <= 24,
                  "lawcat_exp2: Y_WIDTH exceeds FRACTION; P is 2 to 24")
  `LAWCAT_REQUIRE(MIN_EXPONENT >= -(1 << (EXPONENT_WIDTH - 1)) && EXPONENT_WIDTH >= 2,
                  "lawcat_exp2: EXPONENT_WIDTH holds MIN_EXPONENT to 1")

  localparam int TABLE_FRACTION = lawcat_arch_pkg::TABLE_FRACTION;
  localparam int VALUE_WIDTH = TABLE_FRACTION + 2;  // 2^TABLE_FRACTION to its double
  localparam int REST_BITS = FRACTION - TABLE_BITS;
  localparam int INTEGER_WIDTH = Y_WIDTH - FRACTION + 1;
  localparam int LARGER = (INTEGER_WIDTH > EXPONENT_WIDTH) ? INTEGER_WIDTH : EXPONENT_WIDTH;
  localparam int WIDE = ((LARGER > 6) ? LARGER : 6) + 1;  // holds the integer part less TABLE_FRACTION

  logic [Y_WIDTH:0]         t_q;         // -y
  logic [5*WIDE-1:0]        exponent_q;  // beside the table
  logic [VALUE_WIDTH-1:0]   value;
  logic signed [WIDE-1:0]   result;

  always_ff @(posedge clk_i) begin
    t_q        <= -{1'b0, y_i};
    exponent_q <= {exponent_q[4*WIDE-1:0], WIDE'($signed(t_q[Y_WIDTH:FRACTION])) - WIDE'(TABLE_FRACTION)};
  end
  assign exponent_o = result[EXPONENT_WIDTH-1:0];

  logic [((REST_BITS > 0) ? REST_BITS : 1)-1:0] rest;
  if (REST_BITS > 0) begin : g_rest
    assign rest = t_q[REST_BITS-1:0];
  end else begin : g_no_rest
    assign rest = '0;
  end

  lawcat_table #(
    .INDEX_WIDTH(TABLE_BITS),
    .SELECT(SELECT),
    .VALUE_WIDTH(VALUE_WIDTH),
    .DELTA_WIDTH(VALUE_WIDTH - TABLE_BITS),
    .REST_BITS(REST_BITS)
  ) u_table (
    .clk_i,
    .table_we_i,
    .table_select_i,
    .table_index_i,
    .table_data_i,
    .index_i(t_q[FRACTION-1 -: TABLE_BITS]),
    .rest_i(rest),
    .value_o(value)
  );

  lawcat_unsigned_float #(
    .IN_WIDTH(VALUE_WIDTH),
    .MIN_LEAD(VALUE_WIDTH),
    .P(P),
    .EXPONENT_WIDTH(WIDE),
    .MIN_EXPONENT(MIN_EXPONENT)
  ) u_float (
    .clk_i,
    .integer_i(value),
    .exponent_i(exponent_q[4*WIDE +: WIDE]),
    .mantissa_o,
    .exponent_o(result)
  );

  logic unused;  // what the flush to zero keeps from the exponent
  assign unused = ^result[WIDE-1:EXPONENT_WIDTH];
endmodule

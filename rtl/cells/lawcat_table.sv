// SPDX-License-Identifier: Apache-2.0
// Loadable function table, linear between entries: value_o = entry + shift_half_up(delta * rest_i,
// REST_BITS), where delta is the next entry less this one, stored beside it, so that one read serves. The
// load port is a broadcast to all tables; an entry can be read from the second cycle after its write.
// Latency 5 cycles (read, register, multiply, multiply, add), one value per cycle.
`include "lawcat_assert.svh"

module lawcat_table #(
  parameter int INDEX_WIDTH       = 6,
  parameter int SELECT            = 0,   // the table's number on the load port
  parameter int VALUE_WIDTH       = 26,  // bits of entries and results, which are not negative
  parameter int DELTA_WIDTH       = 20,  // signed
  parameter int REST_BITS         = 10,  // 0: entries only
  parameter int TABLE_INDEX_WIDTH = 10
) (
  input  logic                         clk_i,
  input  logic                         table_we_i,
  input  logic [1:0]                   table_select_i,
  input  logic [TABLE_INDEX_WIDTH-1:0] table_index_i,
  input  logic [63:0]                  table_data_i,  // {delta, entry}
  input  logic [INDEX_WIDTH-1:0]       index_i,
  input  logic [((REST_BITS > 0) ? REST_BITS : 1)-1:0] rest_i,
  output logic [VALUE_WIDTH-1:0]       value_o
);
  `LAWCAT_REQUIRE(INDEX_WIDTH >= 1 && INDEX_WIDTH <= TABLE_INDEX_WIDTH,
                  "lawcat_table: the load port addresses every entry")
  `LAWCAT_REQUIRE(VALUE_WIDTH <= 32 && DELTA_WIDTH >= 1 && DELTA_WIDTH <= 32,
                  "lawcat_table: entries and deltas have at most 32 bits")

  localparam int WORD_WIDTH = DELTA_WIDTH + VALUE_WIDTH;

  logic                   we_q;
  logic [INDEX_WIDTH-1:0] windex_q;
  logic [WORD_WIDTH-1:0]  wdata_q, word, word_q;
  logic [VALUE_WIDTH-1:0] value_q;

  always_ff @(posedge clk_i) begin
    we_q     <= table_we_i && table_select_i == 2'(SELECT);
    windex_q <= table_index_i[INDEX_WIDTH-1:0];
    wdata_q  <= {table_data_i[32 +: DELTA_WIDTH], table_data_i[0 +: VALUE_WIDTH]};
  end

  lawcat_memory #(
    .WIDTH(WORD_WIDTH),
    .DEPTH(1 << INDEX_WIDTH)
  ) u_entries (
    .clk_i,
    .we_i(we_q),
    .waddr_i(windex_q),
    .wdata_i(wdata_q),
    .re_i(1'b1),
    .raddr_i(index_i),
    .rdata_o(word)
  );

  logic [2*VALUE_WIDTH-1:0] entry_q;  // beside the multiplier
  always_ff @(posedge clk_i) begin
    word_q  <= word;
    entry_q <= {entry_q[VALUE_WIDTH-1:0], word_q[VALUE_WIDTH-1:0]};
  end
  assign value_o = value_q;

  if (REST_BITS > 0) begin : g_interpolate
    localparam int PRODUCT_WIDTH = DELTA_WIDTH + REST_BITS + 1;
    localparam int ENTRY_WIDTH = VALUE_WIDTH + REST_BITS;
    localparam int SUM_WIDTH = ((PRODUCT_WIDTH > ENTRY_WIDTH) ? PRODUCT_WIDTH : ENTRY_WIDTH) + 1;
    logic [2*REST_BITS-1:0]   rest_q;
    logic [PRODUCT_WIDTH-1:0] product;
    logic [SUM_WIDTH-1:0]     sum;

    always_ff @(posedge clk_i) rest_q <= {rest_q[REST_BITS-1:0], rest_i};
    lawcat_multiplier #(
      .A_WIDTH(DELTA_WIDTH),
      .B_WIDTH(REST_BITS + 1),
      .STAGES(2)
    ) u_multiplier (
      .clk_i,
      .a_i(word_q[VALUE_WIDTH +: DELTA_WIDTH]),
      .b_i({1'b0, rest_q[REST_BITS +: REST_BITS]}),
      .product_o(product)
    );
    // The entry stands above the binary places of the product, the rounding's half in their first: one adder.
    assign sum = SUM_WIDTH'($signed(product)) +
                 SUM_WIDTH'({entry_q[VALUE_WIDTH +: VALUE_WIDTH], 1'b1, {(REST_BITS - 1) {1'b0}}});
    always_ff @(posedge clk_i) value_q <= sum[REST_BITS +: VALUE_WIDTH];

    logic unused;  // binary places that the rounding drops; the sign, which is never set
    assign unused = ^{sum[SUM_WIDTH-1:VALUE_WIDTH+REST_BITS], sum[REST_BITS-1:0]};
  end else begin : g_entries_only
    always_ff @(posedge clk_i) value_q <= entry_q[VALUE_WIDTH +: VALUE_WIDTH];
    logic unused;
    assign unused = ^{rest_i, word_q[VALUE_WIDTH +: DELTA_WIDTH]};
  end

  logic unused_load;  // bits beyond this table's widths
  assign unused_load = ^{table_data_i, table_index_i};
endmodule

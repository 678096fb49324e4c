// SPDX-License-Identifier: Apache-2.0
// Sum of COUNT signed numbers, number i in data_i[i*WIDTH +: WIDTH], exact. A register after each level of two-input
// adders: latency ceil(log2(COUNT)) (0 for one number), one sum per cycle.
`include "lawcat_assert.svh"

module lawcat_adder_tree #(
  parameter int COUNT = 8,
  parameter int WIDTH = 16,
  localparam int LEVELS = $clog2(COUNT),
  localparam int SUM_WIDTH = WIDTH + LEVELS
) (
  input  logic                          clk_i,
  input  logic        [COUNT*WIDTH-1:0] data_i,
  output logic signed [SUM_WIDTH-1:0]   sum_o
);
  `LAWCAT_REQUIRE(COUNT >= 1 && WIDTH >= 1, "lawcat_adder_tree: COUNT and WIDTH are at least 1")

  for (genvar level = 0; level <= LEVELS; level++) begin : g_level
    localparam int NODES = (COUNT + (1 << level) - 1) >> level;
    localparam int BELOW = (level > 0) ? (COUNT + (1 << level) / 2 - 1) >> (level - 1) : 0;
    localparam int BITS = WIDTH + level;
    for (genvar i = 0; i < NODES; i++) begin : g_node
      logic signed [BITS-1:0] sum;
      if (level == 0) begin : g_input
        assign sum = $signed(data_i[i*WIDTH +: WIDTH]);
      end else if (2 * i + 1 < BELOW) begin : g_add
        always_ff @(posedge clk_i)
          sum <= BITS'(g_level[level-1].g_node[2*i].sum) + BITS'(g_level[level-1].g_node[2*i+1].sum);
      end else begin : g_pass
        always_ff @(posedge clk_i) sum <= BITS'(g_level[level-1].g_node[2*i].sum);
      end
    end
  end
  assign sum_o = g_level[LEVELS].g_node[0].sum;

  if (LEVELS == 0) begin : g_unused
    logic unused;
    assign unused = clk_i;
  end
endmodule

// SPDX-License-Identifier: Apache-2.0
// Assertions in the subset that Verilator, Icarus and Yosys share. Conditions hold in every cycle out of reset;
// parameter checks stop the elaboration with a sentence.
`ifndef LAWCAT_ASSERT_SVH
`define LAWCAT_ASSERT_SVH

// LAWCAT_REQUIRE(condition on parameters, "sentence"): at module level.
// LAWCAT_ASSERT(name, condition): at module level; needs clk_i and rst_ni.
`ifdef FORMAL
`define LAWCAT_REQUIRE(condition, sentence)
`define LAWCAT_ASSERT(name, condition) \
  always @(posedge clk_i) if (rst_ni) name: assert (condition);
`elsif SYNTHESIS
`define LAWCAT_REQUIRE(condition, sentence)
`define LAWCAT_ASSERT(name, condition)
`else
`ifdef __ICARUS__
`define LAWCAT_REQUIRE(condition, sentence) \
  initial if (!(condition)) $fatal(1, sentence);
`else
`define LAWCAT_REQUIRE(condition, sentence) \
  if (!(condition)) $fatal(1, sentence);
`endif
`define LAWCAT_ASSERT(name, condition) \
  always @(posedge clk_i) if (rst_ni && !(condition)) $error(`"%m: name does not hold`");
`endif

`endif

// SPDX-License-Identifier: Apache-2.0
// One tile in four-state simulation: plays the beats of lawcat-rtl-vectors with random stalls and compares every
// answer; an X that reaches an output is an error of the protocol checkers. Memories and data registers start as X;
// inputs are X whenever their valid is low, so nothing may depend on what is not there.
// The stream is begun three times: it is cut by a reset, cut by a soft reset, then played to its end.
//   +in=FILE +expected=FILE     beats
//   +seed=N +in_stall=P +out_stall=P    percent of cycles held back
//   +reset_at=N +soft_reset_at=N        beats after which the streams are cut, 0 for never
// Last line: PASS with cycles and beats, or FAIL with the reason. A run is good when it ends with PASS and no ERROR, of a
// checker or an assertion, comes before.
module lawcat_icarus_tb;
  localparam int WIDTH = lawcat_arch_pkg::STREAM_WIDTH;
  localparam int PATIENCE = 20000;  // cycles without a beat
  localparam int COUNTERS = 39;
  localparam logic [11:0] ID = 12'h000, CONTROL = 12'h020, STATUS = 12'h024, SHAPE = 12'h028, ERROR = 12'h02c,
                          COUNTER = 12'h200;

  logic clk = 0, rst_n = 0;
  logic [11:0] awaddr, araddr;
  logic [31:0] wdata, rdata;
  logic awvalid = 0, awready, wvalid = 0, wready, bvalid, bready = 0, arvalid = 0, arready, rvalid, rready = 0;
  logic [1:0] bresp, rresp;
  logic in_valid = 0, in_ready, in_last, out_valid, out_ready = 0, out_last, out_user, irq;
  logic [WIDTH-1:0] in_data, out_data;

  always #5 clk = ~clk;

  // One tile with the protocol checkers on its ports.
  lawcat_checked_top #(
    .ENGINES(1)
  ) u_top (
    .clk_i(clk), .rst_ni(rst_n), .s_axil_awaddr_i(awaddr), .s_axil_awvalid_i(awvalid),
    .s_axil_awready_o(awready), .s_axil_wdata_i(wdata), .s_axil_wstrb_i(wvalid ? 4'hf : 4'hx),
    .s_axil_wvalid_i(wvalid), .s_axil_wready_o(wready), .s_axil_bresp_o(bresp), .s_axil_bvalid_o(bvalid),
    .s_axil_bready_i(bready), .s_axil_araddr_i(araddr), .s_axil_arvalid_i(arvalid),
    .s_axil_arready_o(arready), .s_axil_rdata_o(rdata), .s_axil_rresp_o(rresp), .s_axil_rvalid_o(rvalid),
    .s_axil_rready_i(rready), .s_axis_tvalid_i(in_valid), .s_axis_tready_o(in_ready),
    .s_axis_tdata_i(in_data), .s_axis_tlast_i(in_last), .m_axis_tvalid_o(out_valid),
    .m_axis_tready_i(out_ready), .m_axis_tdata_o(out_data), .m_axis_tlast_o(out_last),
    .m_axis_tuser_o(out_user), .irq_o(irq)
  );

  int seed, in_stall, out_stall, reset_at, soft_reset_at;
  int in_file, expected_file, code, cycles = 0, quiet = 0, resets = 0;
  int head_dim, feature_dim, beats_in = 0, beats_out = 0, answers, limit = 0;
  logic playing = 0, accepted = 0, in_done = 0;
  logic [31:0] next_last, expected_last, value;
  logic [WIDTH-1:0] next_data, expected_data;
  string in_name, expected_name;

  task fail(input string why);
    begin
      $display("FAIL %0s, cycle %0d, %0d beats in, %0d out", why, cycles, beats_in, beats_out);
      $finish;
    end
  endtask

  function automatic int draw(input int unused);
    draw = $unsigned($random(seed)) % 100;
  endfunction

  // Inputs change on the falling edge only.
  always @(negedge clk) begin
    if (in_valid && accepted) in_valid = 0;
    if (playing && !in_valid && !in_done && (limit == 0 || beats_in < limit) && draw(0) >= in_stall) begin
      if ($fscanf(in_file, "%d %h", next_last, next_data) == 2) in_valid = 1;
      else in_done = 1;
    end
    in_data = in_valid ? next_data : {WIDTH{1'bx}};
    in_last = in_valid ? next_last[0] : 1'bx;
    out_ready = playing && draw(0) >= out_stall;
  end

  always @(posedge clk) begin
    cycles <= cycles + 1;
    quiet <= quiet + 1;
    accepted = in_valid && in_ready === 1'b1;
    if (rst_n && irq === 1'bx) fail("X on the interrupt");
    if (playing && accepted) begin
      beats_in = beats_in + 1;
      quiet <= 0;
    end
    if (playing && out_valid === 1'b1 && out_ready) begin
      quiet <= 0;
      if ($fscanf(expected_file, "%d %h", expected_last, expected_data) != 2) fail("an answer too many");
      else if (out_last !== expected_last[0] || out_data !== expected_data) begin
        $display("expected %0d %h\n     got %0d %h", expected_last[0], expected_data, out_last, out_data);
        fail("another answer");
      end
      if (out_user !== 1'b0) fail("an answer says that its packet was malformed");
      beats_out = beats_out + 1;
    end
    if (playing && quiet > PATIENCE) fail("nothing moves");
  end

  task write(input logic [11:0] address, input logic [31:0] data);
    begin
      @(negedge clk);
      awaddr = address; wdata = data; awvalid = 1; wvalid = 1; bready = 1;
      while (awvalid || wvalid) begin
        @(posedge clk);
        code = {30'd0, awready, wready};
        @(negedge clk);
        if (code[1]) awvalid = 0;
        if (code[0]) wvalid = 0;
        if (!awvalid) awaddr = 'x;
        if (!wvalid) wdata = 'x;
      end
      while (bvalid !== 1'b1) @(posedge clk);
      if (bresp !== 2'b00) fail("a register write is refused");
      @(negedge clk) bready = 0;
    end
  endtask

  task read(input logic [11:0] address);
    begin
      @(negedge clk);
      araddr = address; arvalid = 1; rready = 1;
      while (arready !== 1'b1) @(negedge clk);
      @(negedge clk);
      arvalid = 0; araddr = 'x;
      while (rvalid !== 1'b1) @(negedge clk);
      value = rdata;
      if (rresp !== 2'b00) fail("a register read is refused");
      @(negedge clk) rready = 0;
    end
  endtask

  task begin_stream(input int beats);
    begin
      // Answers there will be.
      answers = 0;
      expected_file = $fopen(expected_name, "r");
      code = $fscanf(expected_file, "shape %d %d", head_dim, feature_dim);
      while ($fscanf(expected_file, "%d %h", expected_last, expected_data) == 2) answers = answers + 1;
      $fclose(expected_file);
      in_file = $fopen(in_name, "r");
      expected_file = $fopen(expected_name, "r");
      if (in_file == 0 || expected_file == 0 ||
          $fscanf(in_file, "shape %d %d", head_dim, feature_dim) != 2 ||
          $fscanf(expected_file, "shape %d %d", head_dim, feature_dim) != 2)
        fail("no beats: +in and +expected name files of lawcat-rtl-vectors");
      write(SHAPE, {17'd0, feature_dim[6:0], head_dim[7:0]});
      write(CONTROL, 32'h11);  // enable, counters from zero
      beats_in = 0; beats_out = 0; quiet = 0; in_done = 0; limit = beats;
      playing = 1;
    end
  endtask

  // Lets the work of the last beats begin, then stops in the middle of it.
  task cut_stream;
    begin
      while (!in_done && beats_in < limit) @(negedge clk);
      if (in_done) fail("the stream ends before it is cut");
      repeat (draw(0)) @(negedge clk);
      playing = 0;
      $fclose(in_file); $fclose(expected_file);
      resets = resets + 1;
      @(negedge clk);
    end
  endtask

  task hard_reset;
    begin
      rst_n = 0; in_valid = 0;
      repeat (8) @(negedge clk);
      rst_n = 1;
    end
  endtask

  initial begin
    if ($value$plusargs("in=%s", in_name) == 0 || $value$plusargs("expected=%s", expected_name) == 0)
      fail("+in and +expected are needed");
    if ($value$plusargs("seed=%d", seed) == 0) seed = 1;
    if ($value$plusargs("in_stall=%d", in_stall) == 0) in_stall = 0;
    if ($value$plusargs("out_stall=%d", out_stall) == 0) out_stall = 0;
    if ($value$plusargs("reset_at=%d", reset_at) == 0) reset_at = 0;
    if ($value$plusargs("soft_reset_at=%d", soft_reset_at) == 0) soft_reset_at = 0;
    hard_reset;
    if (reset_at > 0) begin
      begin_stream(reset_at);
      cut_stream;
      hard_reset;
    end
    if (soft_reset_at > 0) begin
      begin_stream(soft_reset_at);
      cut_stream;
      write(CONTROL, 32'h9);
      in_valid = 0;
      value = 1;
      while (value[0]) read(STATUS);
    end
    begin_stream(0);
    while (!in_done || beats_out < answers) @(negedge clk);
    value = 1;
    while (value[0]) read(STATUS);
    playing = 0;
    for (int i = 0; i < 14; i++) if (i != 7) read(12'(4 * i));
    for (int i = 0; i < 2 * COUNTERS; i++) read(COUNTER + 12'(4 * i));
    read(ID);
    if (value != 32'h4c415743) fail("another ID");
    read(ERROR);
    if (value != 0) fail("an error is registered");
    read(COUNTER + 12'(8 * 30));
    if (value != beats_in) fail("beats in are counted wrong");
    read(COUNTER + 12'(8 * 31));
    if (value != beats_out) fail("beats out are counted wrong");
    $display("PASS %0d cycles, %0d beats in, %0d out, %0d resets", cycles, beats_in, beats_out, resets);
    $finish;
  end
endmodule

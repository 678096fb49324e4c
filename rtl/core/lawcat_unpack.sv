// SPDX-License-Identifier: Apache-2.0
// Parser of the input stream: takes packets apart and fills the buffers of the stages that read them; LOAD
// and STORE go to lawcat_access. A malformed packet never stops the stream: a bad header drops the packet, a
// short TOKEN packet is completed with zeros, a short LOAD leaves the missing words unwritten, an excess is
// dropped; error_o tells (one pulse with the code and the tag of the packet).
// Function: packets -> channels q (per head), k, logits, value, lead (per packet), records for lawcat_pack.
// Latency: with the last beat of a part transferred on the port in cycle t, q, k, logits and value are
// committed in t + 2, lead in t + 4. A slot is reserved 1 cycle after the transfer of the part's first beat.
// Throughput: one beat per cycle, headers included, while the buffers have room.
`include "lawcat_assert.svh"

module lawcat_unpack #(
  localparam int STREAM_WIDTH  = lawcat_arch_pkg::STREAM_WIDTH,
  localparam int ELEMENTS      = STREAM_WIDTH / lawcat_arch_pkg::ELEMENT_WIDTH,  // per beat
  localparam int HEAD_WORDS    = (lawcat_arch_pkg::MAX_HEAD_DIM + ELEMENTS - 1) / ELEMENTS,
  localparam int LOGIT_WORDS   = 2 * ((lawcat_arch_pkg::MAX_FEATURE_DIM + ELEMENTS - 1) / ELEMENTS),
  localparam int HEAD_ADDRESS  = (HEAD_WORDS > 1) ? $clog2(HEAD_WORDS) : 1,
  localparam int LOGIT_ADDRESS = $clog2(LOGIT_WORDS),
  localparam int SIDE_WIDTH    = lawcat_arch_pkg::SIDE_WIDTH
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     enable_i,      // 0: the port takes nothing
  input  logic [7:0]               head_dim_i,
  input  logic [6:0]               feature_dim_i,
  // Clears context slots: state and tails count as zero for the slot's next head-token. It holds for the
  // packets whose header is parsed after it.
  input  logic                     clear_i,       // all slots
  input  logic                     clear_one_i,
  input  logic [7:0]               clear_slot_i,
  // stream
  input  logic                     s_axis_tvalid_i,
  output logic                     s_axis_tready_o,
  input  logic [STREAM_WIDTH-1:0]  s_axis_tdata_i,
  input  logic                     s_axis_tlast_i,
  // convolution
  input  logic                     q_room_i,
  output logic                     q_reserve_o,
  output logic                     q_we_o,
  output logic [HEAD_ADDRESS-1:0]  q_addr_o,
  output logic [STREAM_WIDTH-1:0]  q_data_o,
  output logic                     q_commit_o,
  output logic [SIDE_WIDTH-1:0]    q_side_o,
  input  logic                     k_room_i,
  output logic                     k_reserve_o,
  output logic                     k_we_o,
  output logic [HEAD_ADDRESS-1:0]  k_addr_o,
  output logic [STREAM_WIDTH-1:0]  k_data_o,
  output logic                     k_commit_o,
  // gate
  input  logic                     logits_room_i,
  output logic                     logits_reserve_o,
  output logic                     logits_we_o,
  output logic [LOGIT_ADDRESS-1:0] logits_addr_o,
  output logic [STREAM_WIDTH-1:0]  logits_data_o,
  output logic                     logits_commit_o,
  // state_update
  input  logic                     value_room_i,
  output logic                     value_reserve_o,
  output logic                     value_we_o,
  output logic [HEAD_ADDRESS-1:0]  value_addr_o,
  output logic [STREAM_WIDTH-1:0]  value_data_o,
  output logic                     value_commit_o,
  // row_prepare
  input  logic                     lead_room_i,
  output logic                     lead_reserve_o,
  output logic                     lead_commit_o,
  output logic [5:0]               lead_side_o,
  // pack: the header of a TOKEN packet when it is parsed; at the end of its payload whether it was malformed
  input  logic                     record_ready_i,
  output logic                     record_valid_o,
  output logic [95:0]              record_data_o,
  output logic                     end_valid_o,
  output logic                     end_error_o,
  input  logic                     head_done_i,
  // access: header and excess hold from access_start_o until the last word of a LOAD or store_done_i
  output logic                     access_start_o,
  output logic [95:0]              access_header_o,
  output logic                     access_excess_o,  // the STORE packet goes on behind its header
  output logic                     load_valid_o,
  output logic [STREAM_WIDTH-1:0]  load_data_o,
  input  logic                     load_last_i,      // the LOAD ends with this beat
  input  logic                     store_done_i,
  // status
  output logic                     error_o,
  output logic [3:0]               error_code_o,  // see BAD_KIND to LONG
  output logic [31:0]              error_tag_o,
  output logic                     idle_o,        // no packet begun, no head-token on its way to pack's port
  output logic                     busy_o,        // exactly one of the three holds in every cycle
  output logic                     stall_o,
  output logic                     starve_o
);
  `LAWCAT_REQUIRE(STREAM_WIDTH >= 128, "lawcat_unpack: a header is one beat of at least 128 bits")
  `LAWCAT_REQUIRE((ELEMENTS & (ELEMENTS - 1)) == 0, "lawcat_unpack: elements per beat are a power of two")
  // Six buffers of FIFO_TOKENS and one of 2 are on the path.
  `LAWCAT_REQUIRE(6 * lawcat_arch_pkg::FIFO_TOKENS + 2 < 1024, "lawcat_unpack: FIFO_TOKENS is at most 170")

  localparam int CONTEXT_SLOTS =
      (lawcat_arch_pkg::CONTEXT_SLOTS > 256) ? 256 : lawcat_arch_pkg::CONTEXT_SLOTS;
  localparam int WEIGHT_SLOTS  = (lawcat_arch_pkg::WEIGHT_SLOTS > 256) ? 256 : lawcat_arch_pkg::WEIGHT_SLOTS;
  localparam int SLOT_WIDTH    = (CONTEXT_SLOTS > 1) ? $clog2(CONTEXT_SLOTS) : 1;
  localparam int VALUE_WIDTH   = lawcat_arch_pkg::VALUE_WIDTH;
  localparam int ELEMENT_WIDTH = lawcat_arch_pkg::ELEMENT_WIDTH;
  localparam int BEAT_SHIFT    = $clog2(ELEMENTS);
  localparam int FLIGHT_WIDTH  = 10;  // more head-tokens than all buffers of the path hold

  localparam logic [2:0] HEADER = 3'd0, TOKEN = 3'd1, QUIESCE = 3'd2, LOAD = 3'd3, STORE = 3'd4, DROP = 3'd5;
  localparam logic [2:0] KEY = 3'd0, FIRST_QUERY = 3'd1, GATE_LOW = 3'd2, GATE_HIGH = 3'd3, VALUE = 3'd4,
                         QUERY = 3'd5;
  localparam logic [3:0] BAD_KIND = 4'd1, BAD_HEADS = 4'd2, BAD_REGION = 4'd3, BAD_WORDS = 4'd4,
                         BAD_SLOT = 4'd5, SHORT = 4'd6, LONG = 4'd7;

  // ------------------------------------------------------------------------------------------------- port
  logic enable_q, skid_ready;
  logic in_valid, in_ready, in_last;
  logic [STREAM_WIDTH-1:0] in_data;

  assign s_axis_tready_o = skid_ready & enable_q;

  lawcat_skid_buffer #(
    .WIDTH(STREAM_WIDTH + 1)
  ) u_port (
    .clk_i,
    .rst_ni,
    .valid_i(s_axis_tvalid_i & enable_q),
    .ready_o(skid_ready),
    .data_i({s_axis_tlast_i, s_axis_tdata_i}),
    .valid_o(in_valid),
    .ready_i(in_ready),
    .data_o({in_last, in_data})
  );

  // ---------------------------------------------------------------------------------------- configuration
  logic [7:0] head_last_q, feature_last_q;  // index of the last beat of a part

  always_ff @(posedge clk_i) begin
    head_last_q    <= 8'((9'(head_dim_i) + 9'(ELEMENTS - 1)) >> BEAT_SHIFT) - 1'b1;
    feature_last_q <= ((8'(feature_dim_i) + 8'(ELEMENTS - 1)) >> BEAT_SHIFT) - 1'b1;
  end

  // ----------------------------------------------------------------------------------------------- header
  // Slots are checked as those of heads up to D = 64, F = 32: larger ones have fewer, which is for software to keep.
  logic       is_token, is_load, is_store;
  logic [7:0] region, weight_first;
  logic [9:0] span, context_end, weight_end;
  logic [3:0] header_code;
  logic       no_heads, no_words;

  assign is_token    = in_data[7:0] == 8'd1;
  assign is_load     = in_data[7:0] == 8'd2;
  assign is_store    = in_data[7:0] == 8'd3;
  assign region      = in_data[15:8];
  assign no_heads    = in_data[15:8] == '0;
  assign no_words    = in_data[63:48] == '0;
  assign span        = is_token ? 10'(region) : 10'd1;
  assign context_end = 10'(in_data[23:16]) + span;

  assign weight_first = is_token ? in_data[31:24] : in_data[23:16];
  assign weight_end   = 10'(weight_first) + span;

  always_comb begin
    header_code = '0;
    if (!(is_token || is_load || is_store)) header_code = BAD_KIND;
    else if (is_token && no_heads) header_code = BAD_HEADS;
    else if (!is_token && region > (is_store ? 8'd4 : 8'd9)) header_code = BAD_REGION;
    else if (!is_token && no_words) header_code = BAD_WORDS;
    else if ((is_token || region <= 8'd4) && context_end > 10'(CONTEXT_SLOTS)) header_code = BAD_SLOT;
    else if ((is_token || region == 8'd5 || region == 8'd6) && weight_end > 10'(WEIGHT_SLOTS))
      header_code = BAD_SLOT;
  end

  // ----------------------------------------------------------------------------------------------- parser
  logic [2:0]  state_q, part_q;
  logic [7:0]  beat_q;       // of the part
  logic        fill_q;       // the packet ended early: zeros stand for the rest
  logic        excess_q;
  logic [95:0] header_q;
  logic [7:0]  heads_q;      // heads whose q is not complete
  logic [7:0]  slot_q, weight_slot_q;
  logic [15:0] id_q;
  logic [FLIGHT_WIDTH-1:0] flight_q;

  logic is_query, part_room, free, fire, first_beat, last_beat, packet_end, header_fire, quiet;
  logic [3:0] code;

  assign is_query   = part_q == FIRST_QUERY || part_q == QUERY;
  assign first_beat = beat_q == '0;
  assign last_beat  = beat_q == ((part_q == GATE_LOW || part_q == GATE_HIGH) ? feature_last_q : head_last_q);
  assign packet_end = last_beat &&
                      ((part_q == VALUE && heads_q == '0) || (part_q == QUERY && heads_q == 8'd1));
  assign quiet      = flight_q == '0;

  always_comb begin
    case (part_q)
      KEY:       part_room = k_room_i;
      GATE_LOW:  part_room = logits_room_i;
      GATE_HIGH: part_room = 1'b1;  // goes on in the slot of the other half
      VALUE:     part_room = value_room_i & lead_room_i;
      default:   part_room = q_room_i;
    endcase
  end

  assign free        = !first_beat || part_room;
  assign fire        = state_q == TOKEN && (fill_q || in_valid) && free;
  assign header_fire = state_q == HEADER && in_valid && record_ready_i;

  always_comb begin
    case (state_q)
      HEADER:     in_ready = record_ready_i;
      TOKEN:      in_ready = !fill_q && free;
      LOAD, DROP: in_ready = 1'b1;
      default:    in_ready = 1'b0;
    endcase
  end

  always_comb begin
    code = '0;
    if (header_fire) begin
      code = header_code;
      if (header_code == '0 && in_last && !is_store) code = SHORT;
      if (header_code == '0 && !in_last && is_store) code = LONG;
    end else if (fire && !fill_q) begin
      if (in_last && !packet_end) code = SHORT;
      if (!in_last && packet_end) code = LONG;
    end else if (state_q == LOAD && in_valid) begin
      if (in_last && !load_last_i) code = SHORT;
      if (!in_last && load_last_i) code = LONG;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      enable_q <= 1'b0;
      state_q  <= HEADER;
      fill_q   <= 1'b0;
      part_q   <= KEY;
      beat_q   <= '0;
      flight_q <= '0;
    end else begin
      enable_q <= enable_i;
      flight_q <= flight_q + FLIGHT_WIDTH'(q_reserve_o) - FLIGHT_WIDTH'(head_done_i);
      case (state_q)
        HEADER: if (header_fire) begin
          fill_q <= is_token && header_code == '0 && in_last;
          if (header_code != '0) state_q <= in_last ? HEADER : DROP;
          else if (is_token) state_q <= TOKEN;
          else if (is_store || !in_last) state_q <= QUIESCE;
        end
        TOKEN: if (fire) begin
          beat_q <= last_beat ? '0 : beat_q + 1'b1;
          if (last_beat && part_q != QUERY) part_q <= part_q + 1'b1;
          if (in_last) fill_q <= 1'b1;
          if (packet_end) begin
            part_q  <= KEY;
            fill_q  <= 1'b0;
            state_q <= (fill_q || in_last) ? HEADER : DROP;
          end
        end
        QUIESCE: if (quiet) state_q <= header_q[0] ? STORE : LOAD;
        LOAD: if (in_valid) begin
          if (in_last) state_q <= HEADER;
          else if (load_last_i) state_q <= DROP;
        end
        STORE: if (store_done_i) state_q <= excess_q ? DROP : HEADER;
        default: if (in_valid && in_last) state_q <= HEADER;
      endcase
    end
    if (header_fire) begin
      header_q      <= in_data[95:0];
      excess_q      <= !in_last;
      heads_q       <= in_data[15:8];
      slot_q        <= in_data[23:16];
      weight_slot_q <= in_data[31:24];
      id_q          <= in_data[47:32];
    end else if (fire && is_query && last_beat) begin
      heads_q       <= heads_q - 1'b1;
      slot_q        <= slot_q + 1'b1;
      weight_slot_q <= weight_slot_q + 1'b1;
      id_q          <= id_q + 1'b1;
    end
  end

  // ------------------------------------------------------------------------------------------ fresh slots
  // A clear in the middle of a packet waits in pending_q for the next header: a packet sees one moment. A
  // LOAD that ends with its header loads nothing and leaves the slot as it was.
  logic [CONTEXT_SLOTS-1:0] fresh_q, pending_q, set, spend;
  logic                     slot_used;

  assign slot_used = (fire && is_query && last_beat) ||
                     (access_start_o && !header_q[0] && header_q[11:8] <= 4'd4);  // a context is loaded

  for (genvar i = 0; i < CONTEXT_SLOTS; i++) begin : g_slot
    assign set[i]   = clear_i || (clear_one_i && clear_slot_i == 8'(i));
    assign spend[i] = slot_used && slot_q == 8'(i);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      fresh_q   <= '1;
      pending_q <= '0;
    end else begin
      fresh_q   <= (fresh_q | ((state_q == HEADER) ? pending_q : '0)) & ~spend;
      pending_q <= ((state_q == HEADER) ? '0 : pending_q) | set;
    end
  end

  // --------------------------------------------------------------------------------------------- channels
  logic [STREAM_WIDTH-1:0]  data_q;
  logic [LOGIT_ADDRESS-1:0] logit_addr_q;
  logic [HEAD_ADDRESS-1:0]  addr_q;
  logic [SIDE_WIDTH-1:0]    side_q;
  logic                     q_we_q, k_we_q, logits_we_q, value_we_q, first_q;
  logic                     q_commit_q, k_commit_q, logits_commit_q, value_commit_q;

  assign q_reserve_o      = fire && first_beat && is_query;
  assign k_reserve_o      = fire && first_beat && part_q == KEY;
  assign logits_reserve_o = fire && first_beat && part_q == GATE_LOW;
  assign value_reserve_o  = fire && first_beat && part_q == VALUE;
  assign lead_reserve_o   = value_reserve_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      q_we_q          <= 1'b0;
      k_we_q          <= 1'b0;
      logits_we_q     <= 1'b0;
      value_we_q      <= 1'b0;
      q_commit_q      <= 1'b0;
      k_commit_q      <= 1'b0;
      logits_commit_q <= 1'b0;
      value_commit_q  <= 1'b0;
    end else begin
      q_we_q          <= fire && is_query;
      k_we_q          <= fire && part_q == KEY;
      logits_we_q     <= fire && (part_q == GATE_LOW || part_q == GATE_HIGH);
      value_we_q      <= fire && part_q == VALUE;
      q_commit_q      <= fire && last_beat && is_query;
      k_commit_q      <= fire && last_beat && part_q == KEY;
      logits_commit_q <= fire && last_beat && part_q == GATE_HIGH;
      value_commit_q  <= fire && last_beat && part_q == VALUE;
    end
    if (fire) begin
      data_q       <= fill_q ? '0 : in_data;
      addr_q       <= HEAD_ADDRESS'(beat_q);
      logit_addr_q <= (part_q == GATE_HIGH) ? logit_addr_q + 1'b1 : LOGIT_ADDRESS'(beat_q);
      first_q      <= first_beat;
      side_q       <= {heads_q == 8'd1, fresh_q[SLOT_WIDTH'(slot_q)], id_q, weight_slot_q, slot_q};
    end
  end

  assign q_we_o          = q_we_q;
  assign q_addr_o        = addr_q;
  assign q_data_o        = data_q;
  assign q_commit_o      = q_commit_q;
  assign q_side_o        = side_q;
  assign k_we_o          = k_we_q;
  assign k_addr_o        = addr_q;
  assign k_data_o        = data_q;
  assign k_commit_o      = k_commit_q;
  assign logits_we_o     = logits_we_q;
  assign logits_addr_o   = logit_addr_q;
  assign logits_data_o   = data_q;
  assign logits_commit_o = logits_commit_q;
  assign value_we_o      = value_we_q;
  assign value_addr_o    = addr_q;
  assign value_data_o    = data_q;
  assign value_commit_o  = value_commit_q;

  // Lead bits of the OR over the elements; what containers hold above the format is its sign.
  localparam int LEAD_WIDTH = $clog2(VALUE_WIDTH);

  logic [ELEMENTS*(VALUE_WIDTH-1)-1:0] magnitudes;
  logic [VALUE_WIDTH-2:0]              any, any_q;
  logic [LEAD_WIDTH-1:0]               lead, lead_q;
  logic                                lead_due_q, lead_commit_q;

  for (genvar e = 0; e < ELEMENTS; e++) begin : g_element
    lawcat_magnitude_bits #(
      .WIDTH(VALUE_WIDTH)
    ) u_magnitude (
      .data_i(data_q[e*ELEMENT_WIDTH +: VALUE_WIDTH]),
      .bits_o(magnitudes[e*(VALUE_WIDTH-1) +: VALUE_WIDTH-1])
    );
  end

  always_comb begin
    any = first_q ? '0 : any_q;
    for (int e = 0; e < ELEMENTS; e++) any = any | magnitudes[e*(VALUE_WIDTH-1) +: VALUE_WIDTH-1];
  end

  lawcat_lead_bits #(
    .WIDTH(VALUE_WIDTH - 1)
  ) u_lead (
    .data_i(any_q),
    .lead_o(lead)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      lead_due_q    <= 1'b0;
      lead_commit_q <= 1'b0;
    end else begin
      lead_due_q    <= value_commit_q;
      lead_commit_q <= lead_due_q;
    end
    if (value_we_q) any_q <= any;
    lead_q <= lead;
  end

  assign lead_commit_o = lead_commit_q;
  assign lead_side_o   = 6'(lead_q);

  // ------------------------------------------------------------------------- pack, access, errors, status
  logic       record_valid_q, end_valid_q, end_error_q, error_q;
  logic [3:0] code_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      record_valid_q <= 1'b0;
      end_valid_q    <= 1'b0;
      error_q        <= 1'b0;
    end else begin
      record_valid_q <= header_fire && is_token && header_code == '0;
      end_valid_q    <= fire && packet_end;
      error_q        <= code != '0;
    end
    end_error_q <= fill_q || !in_last;
    code_q      <= code;
  end

  assign record_valid_o  = record_valid_q;
  assign record_data_o   = header_q;
  assign end_valid_o     = end_valid_q;
  assign end_error_o     = end_error_q;
  assign access_start_o  = state_q == QUIESCE && quiet;
  assign access_header_o = header_q;
  assign access_excess_o = excess_q;
  assign load_valid_o    = state_q == LOAD && in_valid;
  assign load_data_o     = in_data;
  assign error_o         = error_q;
  assign error_code_o    = code_q;
  assign error_tag_o     = header_q[95:64];
  assign idle_o          = state_q == HEADER && !in_valid && quiet;
  assign busy_o          = fire || (in_valid && in_ready) || state_q == STORE;
  assign starve_o        = !in_valid && !fill_q && state_q != QUIESCE && state_q != STORE;
  assign stall_o         = !busy_o && !starve_o;

  `LAWCAT_ASSERT(head_done_belongs_to_a_head, !head_done_i || !quiet)
endmodule

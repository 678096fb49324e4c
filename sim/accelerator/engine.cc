// SPDX-License-Identifier: Apache-2.0
// See engine.h.
#include "sim/accelerator/engine.h"

#include <algorithm>
#include <utility>

namespace lawcat {

Engine::Engine(sc_core::sc_module_name name, std::unique_ptr<Tile> tile, Dma& dma, int output_channel,
               int block_tokens, Timeline& timeline)
    : sc_module(name),
      stream_buffer("stream_buffer", dma, output_channel),
      tile_(tile ? std::move(tile) : std::make_unique<TileModel>()),
      unpack_("unpack"),
      convolution_("convolution"),
      feature_map_("feature_map"),
      dual_softmax_("dual_softmax"),
      gate_("gate"),
      row_prepare_("row_prepare"),
      state_update_("state_update"),
      normalise_("normalise"),
      pack_("pack"),
      stages_{&unpack_,      &convolution_,  &feature_map_, &dual_softmax_, &gate_,
              &row_prepare_, &state_update_, &normalise_,   &pack_},
      block_tokens_(block_tokens),
      timeline_(timeline) {
  SC_HAS_PROCESS(Engine);
  SC_METHOD(advance);
  sensitive << stream_buffer.changed << again_;
  dont_initialize();
}

void Engine::begin(const UnitPlan& plan, const EngineShare& share, int tokens, Cycle at, BlockSink values,
                   std::function<void(Cycle)> done) {
  tile_->begin(plan.timing, at);
  tile_->observe(timeline_.enabled());
  state_update_.begin(std::move(values), share.first_head, share.heads);
  done_ = std::move(done);
  tokens_ = tokens;
  groups_.clear();
  for (const PacketHeads& packet : packets_of(share, plan.shape.group(), share.heads))
    groups_.push_back({packet.heads, packet.first_head - share.first_head, 0});
  context_known_ = false;
  in_ = out_ = {};
}

void Engine::context_ready(Cycle at) {
  context_known_ = true;
  context_ready_ = at;
  again_.notify(sc_core::SC_ZERO_TIME);
}

void Engine::advance() {
  if (stream_buffer.drained >= 0 && done_) {
    for (PipelineStage* stage : stages_) stage->record(timeline_);
    std::exchange(done_, nullptr)(stream_buffer.drained);
    return;
  }
  budget_ = block_tokens_;
  const std::optional<Cycle> again = tile_->run(*this, now_cycle());
  state_update_.passed_all_before(
      static_cast<int>(tile_->updated_packets() / static_cast<std::int64_t>(groups_.size())));
  if (again) again_.notify(to_sc_time(*again - now_cycle()));
  if (budget_ == 0 && knows_input()) again_.notify(sc_core::SC_ZERO_TIME);
}

bool Engine::knows_input() const {
  return context_known_ && in_.token < tokens_ && stream_buffer.has_input(in_.chunk);
}

bool Engine::ends_chunk(const Place& place) const {
  return place.group + 1 == groups_.size() && place.index + 1 == stream_buffer.tokens_of(place.chunk);
}

void Engine::step(Place& place) const {
  const bool next_chunk = ends_chunk(place);
  if (++place.group < groups_.size()) return;
  place.group = 0;
  ++place.token;
  ++place.index;
  if (!next_chunk) return;
  place.index = 0;
  ++place.chunk;
}

std::optional<TilePacket> Engine::next_packet() {
  if (!knows_input() || (in_.group == 0 && budget_ == 0)) return std::nullopt;
  if (in_.group == 0) --budget_;
  TilePacket packet = groups_[in_.group];
  packet.offered = std::max(stream_buffer.arrival(in_.chunk, in_.index), context_ready_);
  release_ = ends_chunk(in_);
  return packet;
}

void Engine::taken(Cycle at) {
  if (release_) stream_buffer.release(in_.chunk, at + 1);
  step(in_);
}

std::optional<Cycle> Engine::answer_room() {
  if (out_.group > 0 || out_.index > 0) return 0;
  if (!stream_buffer.knows_room(out_.chunk)) return std::nullopt;
  return stream_buffer.room(out_.chunk);
}

void Engine::answered(Cycle at) {
  if (ends_chunk(out_)) stream_buffer.complete(out_.chunk, at + 1);
  step(out_);
}

void Engine::passed(Stage stage, std::int64_t packet, Cycle start, Cycle end) {
  const auto token = packet / static_cast<std::int64_t>(groups_.size());
  stages_[static_cast<std::size_t>(stage)]->passed(static_cast<int>(token / stream_buffer.chunk_tokens()),
                                                   start, end, timeline_);
}

}  // namespace lawcat

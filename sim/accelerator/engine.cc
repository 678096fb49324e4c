// SPDX-License-Identifier: Apache-2.0
// See engine.h.
#include "sim/accelerator/engine.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace lawcat {

Engine::Engine(sc_core::sc_module_name name, Dma& dma, int output_channel, int fifo_tokens, int block_tokens,
               Timeline& timeline)
    : sc_module(name),
      stream_buffer("stream_buffer", dma, output_channel),
      convolution_("convolution"),
      feature_map_("feature_map"),
      dual_softmax_("dual_softmax"),
      gate_("gate"),
      state_update_("state_update"),
      normalise_("normalise"),
      fifo_tokens_(fifo_tokens),
      block_tokens_(block_tokens),
      timeline_(timeline),
      read_out_(std::bit_ceil(static_cast<std::size_t>(fifo_tokens))) {
  SC_HAS_PROCESS(Engine);
  SC_METHOD(advance);
  sensitive << stream_buffer.changed << again_;
  dont_initialize();
}

const PipelineStage& Engine::stage_of(Stage stage) const {
  const std::array<const PipelineStage*, kStageCount> stages{&convolution_, &feature_map_,  &dual_softmax_,
                                                             &gate_,        &state_update_, &normalise_};
  return *stages[static_cast<std::size_t>(stage)];
}

void Engine::begin(const UnitPlan& plan, const EngineShare& share, int tokens, Cycle at, BlockSink values,
                   std::function<void(Cycle)> done) {
  const auto timing = [&](Stage stage) { return plan.timing[static_cast<std::size_t>(stage)]; };
  convolution_.begin(timing(Stage::convolution), fifo_tokens_, at);
  feature_map_.begin(timing(Stage::feature_map), fifo_tokens_, at);
  dual_softmax_.begin(timing(Stage::dual_softmax), fifo_tokens_, at);
  gate_.begin(timing(Stage::gate), fifo_tokens_, at);
  state_update_.begin(timing(Stage::state_update), fifo_tokens_, at, std::move(values), share.first_head,
                      share.heads);
  normalise_.begin(timing(Stage::normalise), fifo_tokens_, at);

  done_ = std::move(done);
  heads_ = share.heads;
  tokens_ = tokens;
  first_of_group_.assign(static_cast<std::size_t>(heads_), false);
  last_of_group_.assign(static_cast<std::size_t>(heads_), false);
  const int group = plan.shape.group();
  for (int h = 0; h < heads_; ++h) {
    const int at_head = share.first_head + h;
    first_of_group_[static_cast<std::size_t>(h)] = h == 0 || at_head % group == 0;
    last_of_group_[static_cast<std::size_t>(h)] = h == heads_ - 1 || at_head % group == group - 1;
  }
  context_known_ = false;
  updated_ = normalised_ = 0;
  token_ = head_ = chunk_ = index_ = 0;
  out_head_ = out_chunk_ = out_index_ = 0;
}

void Engine::context_ready(Cycle at) {
  context_known_ = true;
  context_ready_ = at;
  again_.notify(sc_core::SC_ZERO_TIME);
}

void Engine::advance() {
  if (stream_buffer.drained >= 0 && done_) {
    std::exchange(done_, nullptr)(stream_buffer.drained);
    return;
  }
  for (int budget = block_tokens_;;) {
    while (normalised_ < updated_ && normalise_head()) {
    }
    // The state update needs a slot behind it; when it comes free is not known before normalise has gone on.
    if (token_ == tokens_ || updated_ - normalised_ == fifo_tokens_) break;
    if (head_ == 0) {
      if (!context_known_ || !stream_buffer.has_input(chunk_)) break;
      if (budget-- == 0) {
        again_.notify(sc_core::SC_ZERO_TIME);
        break;
      }
      arrival_ = std::max(stream_buffer.arrival(chunk_, index_), context_ready_);
    }
    start_head();
  }
  state_update_.passed(token_);
}

void Engine::start_head() {
  const auto head = static_cast<std::size_t>(head_);
  const std::int64_t n = updated_;
  if (first_of_group_[head]) gates_ = gate_.start(arrival_);
  const Cycle convolved = convolution_.start(arrival_, feature_map_.room(n));
  if (timeline_.enabled() && index_ == 0 && head_ == 0) {
    span_start_[0] = convolution_.started();
    span_start_[static_cast<std::size_t>(Stage::gate)] = gate_.started();
  }
  const Cycle mapped = feature_map_.start(convolved, dual_softmax_.room(n));
  const Cycle features = dual_softmax_.start(mapped, state_update_.room(n));
  const Cycle read_out = state_update_.start(std::max(features, gates_), normalise_.room(n));
  read_out_[static_cast<std::size_t>(n) & (read_out_.size() - 1)] = read_out;
  if (last_of_group_[head]) gate_.free_slot(state_update_.read_done());
  if (timeline_.enabled() && index_ == 0 && head_ == 0) {
    span_start_[static_cast<std::size_t>(Stage::feature_map)] = feature_map_.started();
    span_start_[static_cast<std::size_t>(Stage::dual_softmax)] = dual_softmax_.started();
    span_start_[static_cast<std::size_t>(Stage::state_update)] = state_update_.started();
  }
  ++updated_;
  if (++head_ < heads_) return;
  head_ = 0;
  ++token_;
  if (++index_ < stream_buffer.tokens_of(chunk_)) return;
  // v is the last of the inputs to be read.
  stream_buffer.release(chunk_, state_update_.read_done());
  if (timeline_.enabled()) record(0);
  index_ = 0;
  ++chunk_;
}

bool Engine::normalise_head() {
  const bool first = out_index_ == 0 && out_head_ == 0;
  if (first && !stream_buffer.knows_room(out_chunk_)) return false;
  const Cycle read_out = read_out_[static_cast<std::size_t>(normalised_) & (read_out_.size() - 1)];
  const Cycle result = normalise_.start(read_out, first ? stream_buffer.room(out_chunk_) : 0);
  if (first) span_start_[static_cast<std::size_t>(Stage::normalise)] = normalise_.started();
  ++normalised_;
  if (++out_head_ < heads_) return true;
  out_head_ = 0;
  if (++out_index_ < stream_buffer.tokens_of(out_chunk_)) return true;
  stream_buffer.complete(out_chunk_, result);
  if (timeline_.enabled()) record(1);
  out_index_ = 0;
  ++out_chunk_;
  return true;
}

/// One span per stage and chunk: side 0 up to the state update, side 1 normalise.
void Engine::record(int chunk_side) {
  for (int s = 0; s < kStageCount; ++s) {
    if ((s == static_cast<int>(Stage::normalise)) != (chunk_side == 1)) continue;
    const PipelineStage& stage = stage_of(static_cast<Stage>(s));
    timeline_.record(std::string(basename()) + "." + std::string(to_string(stage.stage)),
                     span_start_[static_cast<std::size_t>(s)], stage.read_done());
  }
}

}  // namespace lawcat

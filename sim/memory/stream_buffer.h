// SPDX-License-Identifier: Apache-2.0
// Stream buffer of an engine: two halves of input and two of output tokens; and the DMA's input channel.
#pragma once

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <systemc>

#include "sim/memory/dma.h"

namespace lawcat {

class StreamBuffer;

/// Reads the inputs of the engines of one cluster, chunk after chunk, each chunk once for all of them. A
/// chunk is asked for when every engine has room for it.
class InputChannel : public TransferClient {
 public:
  InputChannel(Dma& dma, int channel) : dma_(dma), channel_(channel) {}

  void begin(Cycle at, int tokens, int chunk_tokens, std::int64_t dram_bytes, std::int64_t bus_bytes,
             std::vector<StreamBuffer*> receivers);
  /// One receiver has read all of `chunk` in cycle `at`.
  void release(int chunk, Cycle at);
  void granted(int chunk, Cycle start, Cycle end) override;

 private:
  void request(Cycle at, int chunk);

  Dma& dma_;
  const int channel_;
  int tokens_ = 0;
  int chunk_tokens_ = 0;
  std::int64_t dram_bytes_ = 0;  ///< per token
  std::int64_t bus_bytes_ = 0;   ///< per token
  std::vector<StreamBuffer*> receivers_;
  struct Half {
    std::size_t releases = 0;
    Cycle free = 0;
  };
  std::array<Half, 2> halves_;
};

class StreamBuffer : public sc_core::sc_module, public TransferClient {
 public:
  sc_core::sc_event changed;  ///< input has come, or room for output

  StreamBuffer(sc_core::sc_module_name name, Dma& dma, int channel)
      : sc_module(name), dma_(dma), channel_(channel) {}

  void begin(InputChannel& input, int tokens, int chunk_tokens, std::int64_t dram_bytes,
             std::int64_t bus_bytes) {
    input_channel_ = &input;
    tokens_ = tokens;
    chunk_tokens_ = chunk_tokens;
    chunks_ = (tokens + chunk_tokens - 1) / chunk_tokens;
    dram_bytes_ = dram_bytes;
    bus_bytes_ = bus_bytes;
    arrived_ = written_ = 0;
    drained = -1;
  }

  int chunk_tokens() const { return chunk_tokens_; }
  int tokens_of(int chunk) const { return std::min(chunk_tokens_, tokens_ - chunk * chunk_tokens_); }

  bool has_input(int chunk) const { return chunk < arrived_; }
  /// Cycle in which token `index` of the chunk is complete here: a chunk streams in evenly.
  Cycle arrival(int chunk, int index) const {
    const auto& [start, end] = input_[static_cast<std::size_t>(chunk & 1)];
    const Cycle count = tokens_of(chunk);
    return start + ((index + 1) * (end - start) + count - 1) / count;
  }
  void release(int chunk, Cycle at) { input_channel_->release(chunk, at); }

  /// Whether it is known when there is room for an output chunk; and when.
  bool knows_room(int chunk) const { return chunk < written_ + 2; }
  Cycle room(int chunk) const { return chunk < 2 ? 0 : output_free_[static_cast<std::size_t>(chunk & 1)]; }
  /// All outputs of the chunk are here in cycle `at`.
  void complete(int chunk, Cycle at) {
    const std::int64_t tokens = tokens_of(chunk);
    dma_.request(at, {true, tokens * dram_bytes_, tokens * bus_bytes_, channel_, chunk, this});
  }

  Cycle drained = -1;  ///< the last output is in DRAM; -1 while that is unknown

  void input_granted(Cycle start, Cycle end) {
    input_[static_cast<std::size_t>(arrived_++ & 1)] = {start, end};
    changed.notify(sc_core::SC_ZERO_TIME);
  }
  void granted(int chunk, Cycle, Cycle end) override {
    output_free_[static_cast<std::size_t>(chunk & 1)] = end;
    if (++written_ == chunks_) drained = end;
    changed.notify(sc_core::SC_ZERO_TIME);
  }

 private:
  Dma& dma_;
  const int channel_;
  InputChannel* input_channel_ = nullptr;
  int tokens_ = 0;
  int chunk_tokens_ = 1;
  int chunks_ = 0;
  std::int64_t dram_bytes_ = 0;  ///< of outputs, per token
  std::int64_t bus_bytes_ = 0;
  int arrived_ = 0;  ///< chunks whose input transfer is fixed
  int written_ = 0;  ///< chunks whose output transfer is fixed
  std::array<std::pair<Cycle, Cycle>, 2> input_{};
  std::array<Cycle, 2> output_free_{};
};

inline void InputChannel::begin(Cycle at, int tokens, int chunk_tokens, std::int64_t dram_bytes,
                                std::int64_t bus_bytes, std::vector<StreamBuffer*> receivers) {
  tokens_ = tokens;
  chunk_tokens_ = chunk_tokens;
  dram_bytes_ = dram_bytes;
  bus_bytes_ = bus_bytes;
  receivers_ = std::move(receivers);
  halves_ = {};
  request(at, 0);
  request(at, 1);
}

inline void InputChannel::request(Cycle at, int chunk) {
  const std::int64_t left = tokens_ - static_cast<std::int64_t>(chunk) * chunk_tokens_;
  if (left <= 0) return;
  const std::int64_t tokens = std::min<std::int64_t>(left, chunk_tokens_);
  dma_.request(at, {false, tokens * dram_bytes_, tokens * bus_bytes_, channel_, chunk, this});
}

inline void InputChannel::release(int chunk, Cycle at) {
  Half& half = halves_[static_cast<std::size_t>(chunk & 1)];
  half.free = std::max(half.free, at);
  if (++half.releases < receivers_.size()) return;
  half.releases = 0;
  request(half.free, chunk + 2);
}

inline void InputChannel::granted(int, Cycle start, Cycle end) {
  for (StreamBuffer* receiver : receivers_) receiver->input_granted(start, end);
}

}  // namespace lawcat

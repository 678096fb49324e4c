// SPDX-License-Identifier: Apache-2.0
// See model_work.h.
#include "kernels/measure/model_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>
#include <vector>

namespace lawcat::cuda {
namespace {

constexpr int kBlockTokens = 8192;
constexpr int kPrompts = 4;         // that calls take in turn
constexpr int kRoomForSteps = 256;  // decode steps from one position before it is set back
constexpr std::uint64_t kSeed = 1;

bool is_torch(Attention attention) {
  return attention == Attention::torch_cudnn || attention == Attention::torch_flash;
}

SequencesOptions options_of(const ModelCall& call) {
  SequencesOptions options;
  options.attention = call.attention;
  options.sequences = call.is_prefill ? 1 : call.batch;
  options.max_tokens = call.tokens + (call.is_prefill ? 0 : kRoomForSteps);
  if (call.is_prefill)
    options.block_tokens =
        call.whole_model && !is_torch(call.attention) ? std::min(call.tokens, kBlockTokens) : call.tokens;
  else
    options.block_tokens = 1;
  return options;
}

}  // namespace

ModelWork::ModelWork(const CudaModel& model, const ModelCall& call, cudaStream_t stream)
    : model_(model), call_(call), sequences_(model, options_of(call)) {
  sequences_.reset(stream);
  sequences_.fill_working_memory(kSeed, stream);
  if (!call.is_prefill) {
    sequences_.assume_context(call.tokens, kSeed, stream);
    if (call.whole_model)
      for (int i = 0; i < 2; ++i)
        this->call(i, stream);  // the first step runs as it is, the second is captured
  } else if (call.whole_model) {
    std::mt19937 engine(kSeed);
    std::uniform_int_distribution<int> id(0, model.config().vocab_size - 1);
    std::vector<int> ids(static_cast<std::size_t>(kPrompts) * static_cast<std::size_t>(call.tokens));
    std::generate(ids.begin(), ids.end(), [&] { return id(engine); });
    tokens_ = DeviceBuffer(ids.size() * sizeof(int));
    check(cudaMemcpy(tokens_.data(), ids.data(), tokens_.bytes(), cudaMemcpyHostToDevice),
          "tokens to the device");
  }
  check(cudaStreamSynchronize(stream), "model");
}

void ModelWork::call(int index, cudaStream_t stream) {
  const int layer = index % model_.config().layers;
  if (call_.whole_model && call_.is_prefill) {
    sequences_.set_position(0, stream);
    const std::size_t first =
        static_cast<std::size_t>(index % kPrompts) * static_cast<std::size_t>(call_.tokens);
    sequences_.prefill(tokens_.as<int>() + first, call_.tokens, 0, stream);
  } else if (call_.whole_model) {
    // A step of PyTorch's attention is a graph for one position only.
    if (is_torch(call_.attention) || sequences_.position(0) >= call_.tokens + kRoomForSteps)
      sequences_.set_position(call_.tokens, stream);
    sequences_.decode_graph(stream);
  } else if (call_.is_prefill) {
    sequences_.layer_prefill(layer, call_.tokens, stream);
  } else {
    sequences_.layer_decode(layer, stream);
  }
}

Work ModelWork::work() {
  Work work{.call = [this](int index, cudaStream_t stream) { call(index, stream); },
            .sets = 1,
            .capture = false,
            .is_graph = false};
  if (!call_.whole_model) {
    // A layer's weights may stay in the cache; the next layer's are others.
    work.sets = model_.config().layers;
    work.capture = true;
  } else if (!call_.is_prefill) {
    work.is_graph = sequences_.decode_is_graph();
  }
  return work;
}

void ModelWork::check_outputs(cudaStream_t stream) {
  const bool whole = call_.whole_model;
  const int rows = !call_.is_prefill ? call_.batch : whole ? 1 : call_.tokens;
  const int width = whole ? model_.config().vocab_size : model_.config().hidden_size;
  sequences_.poison(stream);
  call(0, stream);
  std::vector<float> values(static_cast<std::size_t>(rows) * static_cast<std::size_t>(width));
  check(cudaMemcpyAsync(values.data(), whole ? sequences_.logits() : sequences_.residual(),
                        values.size() * sizeof(float), cudaMemcpyDeviceToHost, stream),
        "outputs");
  check(cudaStreamSynchronize(stream), "model");
  const auto bad = std::find_if(values.begin(), values.end(), [](float x) { return !std::isfinite(x); });
  if (bad != values.end())
    throw std::runtime_error(fmt::format("{}: element {} was not written or is not finite",
                                         whole ? "logits" : "residual stream of a layer",
                                         bad - values.begin()));
}

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// See sequences.h. The residual stream is fp32: products into it add their fp32 sums to it directly, so that
// no layer rounds it (in bf16, 2 x 16 or 2 x 32 additions of 8 significant bits each would cost about 1 % of
// the logits), and no kernel of its own adds. Only operands of products are bf16.
#include "kernels/model/sequences.h"

#include <fmt/format.h>

#include <algorithm>

#include "hostlib/io/error.h"
#include "kernels/dense/dense.h"
#include "kernels/dense/gate_up.h"

namespace lawcat::cuda {
namespace {

using Bf16 = __nv_bfloat16;

// The MLP's working memory does not grow beyond this. Fewer rows were expected to keep the two wide products
// in the L2 cache and save up to 7 % of a layer; the products themselves lost more: Llama-3.2-1B's shape at
// 16,384 tokens on an H100 took 58.1 ms with 8,192 rows, 59.3 with 2,048, 61.4 with 1,024
// (`lawcat-sim gpu --shape llama3.2-1b --operations model --tokens 16384`). Only the wide product and SwiGLU
// in pieces, under one product down of 16,384 rows: 59.2, 59.1, 59.9 and 61.5 ms with 4,096 to 512 rows, when
// 8,192 took 58.6 to 58.8. The wide products and SwiGLU in one kernel (gate_up.cu): 53.8 to 54.5 ms.
constexpr int kMostMlpRows = 8192;
constexpr std::int64_t kCapacityStep = 256;

Precision precision_of(Attention attention) {
  return attention == Attention::unit ? Precision::bf16 : Precision::fp32;
}

}  // namespace

const char* name_of(Attention attention) {
  switch (attention) {
    case Attention::unit:
      return "unit";
    case Attention::unit_fp32:
      return "unit-fp32";
    case Attention::softmax:
      return "softmax";
    case Attention::torch_cudnn:
      return "torch-cudnn";
    case Attention::torch_flash:
      return "torch-flash";
  }
  return "";
}

std::string why_not(Attention attention, const ModelConfig& config) {
  if (attention == Attention::unit || attention == Attention::unit_fp32) {
    if (!config.lawcat) return "the model has softmax attention";
    return why_not(precision_of(attention),
                   UnitShape{config.heads, config.kv_heads, config.head_dim, config.lawcat->feature_dim});
  }
  if (config.lawcat) return "the model has LAWCAT attention";
  if (attention == Attention::softmax) return why_no_softmax(config.heads, config.kv_heads, config.head_dim);
  if (std::string why = why_no_torch(); !why.empty()) return why;
  if (config.sliding_window) return "PyTorch's kernels are called without a sliding window";
  if (config.head_dim % 16 != 0) return "head_dim is no multiple of 16";
  return "";
}

CudaSequences::Impl::Impl(const CudaModel::Impl& model_weights, const SequencesOptions& sequences_options)
    : model(model_weights), options(sequences_options) {
  const ModelConfig& c = model.config;
  if (const std::string why = why_not(options.attention, c); !why.empty())
    throw InputError(fmt::format("attention {} of model {}: {}", name_of(options.attention), c.name, why));
  if (options.sequences < 1 || options.block_tokens < 1 || options.max_tokens < 0)
    throw InputError(
        "sequences, tokens of a block, longest sequence", "at least 1, 1 and 0",
        fmt::format("{}, {} and {}", options.sequences, options.block_tokens, options.max_tokens));

  position.resize(static_cast<std::size_t>(options.sequences));
  const auto rows = static_cast<std::size_t>(std::max(options.block_tokens, options.sequences));
  const auto b = static_cast<std::size_t>(options.sequences);
  const auto layers = static_cast<std::size_t>(c.layers);
  const Widths& w = model.widths;
  const auto matrix = [](std::size_t height, int width, std::size_t element) {
    return DeviceBuffer(height * static_cast<std::size_t>(width) * element);
  };
  mlp_rows_ = static_cast<int>(std::min<std::size_t>(rows, kMostMlpRows));
  x = matrix(rows, c.hidden_size, sizeof(float));
  normed = matrix(rows, c.hidden_size, sizeof(Bf16));
  qkv = matrix(rows, w.qkv(), sizeof(Bf16));
  o = matrix(rows, w.q, sizeof(Bf16));
  mlp_both = matrix(static_cast<std::size_t>(mlp_rows_), 2 * c.intermediate_size, sizeof(Bf16));
  mlp = matrix(static_cast<std::size_t>(mlp_rows_), c.intermediate_size, sizeof(Bf16));
  logits = matrix(b, c.vocab_size, sizeof(float));
  positions = DeviceBuffer(b * sizeof(int));
  next = DeviceBuffer(b * sizeof(int));
  check(cudaMemset(positions.data(), 0, positions.bytes()), "sequences");
  check(cudaMemset(next.data(), 0, next.bytes()), "sequences");
  if (c.lawcat) {
    const UnitShape shape = model.unit_shape();
    const Precision precision = precision_of(options.attention);
    gates = matrix(rows, w.gates, sizeof(Bf16));
    state = DeviceBuffer(layers * b * state_bytes(shape));
    check(cudaMemset(state.data(), 0, state.bytes()), "sequences");
    workspace = precision == Precision::bf16
                    ? DeviceBuffer(prefill_workspace_bytes(precision, shape, options.block_tokens))
                    : matrix(rows, 2 * w.q + 2 * w.kv + w.gates, sizeof(float));
  } else {
    const Rope rotation(c.head_dim, c.rope_theta, c.rope_scaling);
    frequencies = DeviceBuffer(rotation.frequencies().size() * sizeof(double));
    check(cudaMemcpy(frequencies.data(), rotation.frequencies().data(), frequencies.bytes(),
                     cudaMemcpyHostToDevice),
          "sequences");
    turns = matrix(rows, c.head_dim / 2, sizeof(float2));
    if (options.attention == Attention::softmax)
      for (const int at_once : {options.sequences, 1})  // fewer sequences may be split more
        workspace.reserve(softmax_workspace_bytes(at_once, c.heads, c.kv_heads, c.head_dim));
    grow(std::max<std::int64_t>(options.max_tokens, 1), nullptr);
  }
  check(cudaDeviceSynchronize(), "sequences");  // other streams do not wait for these
}

void CudaSequences::Impl::drop_graph() {
  graph_.reset();
  graph_key_ = warm_key_ = -1;
}

std::size_t CudaSequences::Impl::bytes() const {
  std::size_t sum = Matmul::kWorkspaceBytes;
  for (const DeviceBuffer* buffer : {&x, &normed, &qkv, &gates, &o, &mlp_both, &mlp, &logits, &workspace,
                                     &state, &keys, &values, &frequencies, &turns, &positions, &next})
    sum += buffer->bytes();
  return sum;
}

void CudaSequences::Impl::require_length(std::int64_t tokens) const {
  const std::int64_t most = model.config.lawcat ? INT32_MAX : capacity;  // positions are 32-bit on the GPU
  if (tokens < 0 || tokens > most)
    throw InputError("tokens of a sequence",
                     fmt::format("0 to {}{}", most, model.config.lawcat ? "" : " in the key-value cache"),
                     fmt::format("{}", tokens));
}

void CudaSequences::Impl::require_room(int sequence, std::int64_t count) const {
  if (sequence < 0 || sequence >= options.sequences)
    throw InputError("sequence", fmt::format("0 to {}", options.sequences - 1), fmt::format("{}", sequence));
  require_length(position[static_cast<std::size_t>(sequence)] + count);
}

void CudaSequences::Impl::require_step() const {
  for (int i = 0; i < options.sequences; ++i) {
    require_room(i, 1);
    const std::int64_t at = position[static_cast<std::size_t>(i)];
    if (is_torch() && at != position[0])
      throw InputError(fmt::format("decode by PyTorch's attention: position of sequence {}", i),
                       fmt::format("that of sequence 0, {}", position[0]), fmt::format("{}", at));
  }
}

void CudaSequences::Impl::require_layer(int layer) const {
  if (layer < 0 || layer >= model.config.layers)
    throw InputError("layer", fmt::format("0 to {}", model.config.layers - 1), fmt::format("{}", layer));
}

void CudaSequences::Impl::require_block(int count) const {
  if (count < 1 || count > options.block_tokens)
    throw InputError("tokens at once", fmt::format("at most the {} of a block", options.block_tokens),
                     fmt::format("{}", count));
  require_room(0, count);
  require_whole_prompt(0, count);
}

void CudaSequences::Impl::require_whole_prompt(int sequence, int count) const {
  const std::int64_t at = position[static_cast<std::size_t>(sequence)];
  if (is_torch() && (at != 0 || count > options.block_tokens))
    throw InputError(
        "prefill by PyTorch's attention",
        fmt::format("a whole prompt from position 0, at most the {} tokens of a block", options.block_tokens),
        fmt::format("{} tokens from position {}", count, at));
}

void CudaSequences::Impl::grow(std::int64_t tokens, cudaStream_t stream) {
  if (tokens <= capacity) return;
  const std::int64_t longer = (tokens + kCapacityStep - 1) / kCapacityStep * kCapacityStep;
  const std::size_t token = static_cast<std::size_t>(model.widths.kv) * sizeof(Bf16);
  const std::size_t sequences =
      static_cast<std::size_t>(model.config.layers) * static_cast<std::size_t>(options.sequences);
  for (DeviceBuffer* cache : {&keys, &values}) {
    DeviceBuffer larger(sequences * static_cast<std::size_t>(longer) * token);
    const std::size_t old_pitch = static_cast<std::size_t>(capacity) * token;
    if (capacity > 0)
      check(cudaMemcpy2DAsync(larger.data(), static_cast<std::size_t>(longer) * token, cache->data(),
                              old_pitch, old_pitch, sequences, cudaMemcpyDeviceToDevice, stream),
            "key-value cache");
    check(cudaStreamSynchronize(stream), "key-value cache");  // before the old one is freed
    std::swap(*cache, larger);
  }
  capacity = longer;
  drop_graph();  // it has the old addresses
}

void CudaSequences::Impl::project(const void* from, std::int64_t x_stride, const DeviceBuffer& w, void* y,
                                  std::int64_t y_stride, int tokens, int in, int out, bool accumulate,
                                  cudaStream_t stream) {
  matmul({.x = static_cast<const Bf16*>(from),
          .x_stride = x_stride,
          .w = w.as<Bf16>(),
          .y = y,
          .y_stride = y_stride,
          .tokens = tokens,
          .in = in,
          .out = out,
          .y_is_fp32 = accumulate,
          .accumulate = accumulate},
         stream);
}

void CudaSequences::Impl::run(const int* ids, const Rows& rows, const Attend& attend_with,
                              cudaStream_t stream) {
  const ModelConfig& c = model.config;
  check(embed(ids, rows.count, model.embedding.as<Bf16>(), c.hidden_size, x.as<float>(), stream),
        "embedding");
  for (int l = 0; l < c.layers; ++l) layer(l, rows, attend_with, stream);
}

void CudaSequences::Impl::layer(int l, const Rows& rows, const Attend& attend_with, cudaStream_t stream) {
  const ModelConfig& c = model.config;
  const Widths& w = model.widths;
  const CudaModel::Impl::Layer& weights = model.layers.at(static_cast<std::size_t>(l));
  const auto epsilon = static_cast<float>(c.rms_norm_eps);
  check(rms_norm(x.as<float>(), weights.input_norm.as<float>(), epsilon, rows.count, c.hidden_size,
                 normed.as<Bf16>(), stream),
        "norm");
  project(normed.data(), c.hidden_size, weights.qkv, qkv.data(), w.qkv(), rows.count, c.hidden_size, w.qkv(),
          false, stream);
  if (c.lawcat)
    project(qkv.as<Bf16>() + w.q + 2 * w.kv, w.qkv(), weights.gate_up, gates.data(), w.gates, rows.count,
            w.rank, w.gates, false, stream);
  const Bf16* const attended = attend_with(l, rows, stream);
  project(attended, w.q, weights.o, x.data(), c.hidden_size, rows.count, w.q, c.hidden_size, true, stream);

  for (int first = 0; first < rows.count; first += mlp_rows_) {
    const int count = std::min(mlp_rows_, rows.count - first);
    float* const part = x.as<float>() + std::int64_t{first} * c.hidden_size;
    check(rms_norm(part, weights.attention_norm.as<float>(), epsilon, count, c.hidden_size, normed.as<Bf16>(),
                   stream),
          "norm");
    const GateUpCall both{.x = normed.as<Bf16>(),
                          .x_stride = c.hidden_size,
                          .w = weights.mlp_gate_up.as<Bf16>(),
                          .h = mlp.as<Bf16>(),
                          .rows = count,
                          .in = c.hidden_size,
                          .channels = c.intermediate_size};
    if (is_profitable(both)) {
      check(gate_up(both, stream), "gates of the MLP");
    } else {
      project(normed.data(), c.hidden_size, weights.mlp_gate_up, mlp_both.data(), 2 * c.intermediate_size,
              count, c.hidden_size, 2 * c.intermediate_size, false, stream);
      check(swiglu(mlp_both.as<Bf16>(), count, c.intermediate_size, mlp.as<Bf16>(), stream), "swiglu");
    }
    project(mlp.data(), c.intermediate_size, weights.mlp_down, part, c.hidden_size, count,
            c.intermediate_size, c.hidden_size, true, stream);
  }
}

void CudaSequences::Impl::head(const float* from, int rows, float* to, cudaStream_t stream) {
  const ModelConfig& c = model.config;
  check(rms_norm(from, model.final_norm.as<float>(), static_cast<float>(c.rms_norm_eps), rows, c.hidden_size,
                 normed.as<Bf16>(), stream),
        "norm");
  matmul({.x = normed.as<Bf16>(),
          .x_stride = c.hidden_size,
          .w = model.head(),
          .y = to,
          .y_stride = c.vocab_size,
          .tokens = rows,
          .in = c.hidden_size,
          .out = c.vocab_size,
          .y_is_fp32 = true,
          .accumulate = false},
         stream);
}

const Bf16* CudaSequences::Impl::attend(int l, const Rows& rows, cudaStream_t stream) {
  if (!model.config.lawcat) prepare_turns(rows, stream);
  const EventPair* pair = nullptr;
  if (options.time_unit) {
    if (capturing_) {
      pair = &graph_events_.emplace_back();
    } else {
      if (events_used_ == events_.size()) events_.emplace_back();
      pair = &events_[events_used_++];
    }
  }
  // In a graph an event is recorded by a node of its own, at every launch.
  const unsigned flags = capturing_ ? cudaEventRecordExternal : cudaEventRecordDefault;
  if (pair) pair->start.record(stream, flags);
  const Bf16* const result =
      model.config.lawcat ? attend_unit(l, rows, stream) : attend_softmax(l, rows, stream);
  if (pair) pair->stop.record(stream, flags);
  return result;
}

const Bf16* CudaSequences::Impl::attend_unit(int l, const Rows& rows, cudaStream_t stream) {
  const Widths& w = model.widths;
  const UnitShape shape = model.unit_shape();
  const CudaModel::Impl::Layer& weights = model.layers.at(static_cast<std::size_t>(l));
  const Precision precision = precision_of(options.attention);
  const std::size_t block = state_bytes(shape);
  std::byte* const own_state =
      state.data() + block * (static_cast<std::size_t>(l) * position.size() +
                              static_cast<std::size_t>(rows.decode ? 0 : rows.sequence));
  Tensors tensors;
  tensors.gate_bias = weights.gate_bias.as<float>();
  float* const o_fp32 = workspace.as<float>() + std::int64_t{rows.count} * (w.q + 2 * w.kv + w.gates);
  if (precision == Precision::bf16) {
    const Bf16* const from = qkv.as<Bf16>();
    tensors.q = from;
    tensors.k = from + w.q;
    tensors.v = from + w.q + w.kv;
    tensors.gk = gates.data();
    tensors.o = o.data();
    tensors.q_stride = tensors.k_stride = tensors.v_stride = w.qkv();
  } else {
    const int width = w.q + 2 * w.kv;
    float* const from = workspace.as<float>();
    float* const gk = from + std::int64_t{rows.count} * width;
    check(to_fp32(qkv.as<Bf16>(), w.qkv(), rows.count, width, nullptr, from, width, stream), "conversion");
    check(to_fp32(gates.as<Bf16>(), w.gates, rows.count, w.gates, nullptr, gk, w.gates, stream),
          "conversion");
    tensors.q = from;
    tensors.k = from + w.q;
    tensors.v = from + w.q + w.kv;
    tensors.gk = gk;
    tensors.o = o_fp32;
    tensors.q_stride = tensors.k_stride = tensors.v_stride = width;
  }
  tensors.gk_stride = w.gates;
  tensors.o_stride = w.q;
  // The decode kernels take a few tokens of a sequence too.
  if (rows.tokens() <= kMostDecodeTokens) {
    check(cuda::decode(precision, shape, weights.unit.data(), own_state, block, tensors, rows.tokens(),
                       rows.sequences(), stream),
          "unit, decode");
  } else {
    check(cuda::prefill(precision, shape, weights.unit.data(), own_state, tensors, rows.count,
                        precision == Precision::bf16 ? workspace.data() : nullptr, stream),
          "unit, prefill");
  }
  if (precision == Precision::fp32)
    check(to_bf16(o_fp32, w.q, rows.count, w.q, o.as<Bf16>(), w.q, stream), "conversion");
  return o.as<Bf16>();
}

void CudaSequences::Impl::prepare_turns(const Rows& rows, cudaStream_t stream) {
  const std::array<std::int64_t, 4> wanted = {
      position[static_cast<std::size_t>(rows.decode ? 0 : rows.sequence)], rows.count, rows.sequence,
      rows.decode};
  if (turns_of_ == wanted) return;
  check(rope_table(frequencies.as<double>(), model.config.head_dim / 2,
                   positions.as<int>() + (rows.decode ? 0 : rows.sequence), rows.tokens(), rows.count,
                   turns.as<float2>(), stream),
        "rope");
  turns_of_ = wanted;
}

const Bf16* CudaSequences::Impl::attend_softmax(int l, const Rows& rows, cudaStream_t stream) {
  const ModelConfig& c = model.config;
  const Widths& w = model.widths;
  const int sequence = rows.decode ? 0 : rows.sequence;
  const std::int64_t kv_sequence = capacity * w.kv;
  const std::int64_t cache = (static_cast<std::int64_t>(l) * options.sequences + sequence) * kv_sequence;
  Bf16* const k = keys.as<Bf16>() + cache;
  Bf16* const v = values.as<Bf16>() + cache;
  const int* const at = positions.as<int>() + sequence;
  check(cuda::rope({.qkv = qkv.as<Bf16>(),
                    .stride = w.qkv(),
                    .table = turns.as<float2>(),
                    .positions = at,
                    .tokens = rows.tokens(),
                    .rows = rows.count,
                    .heads = c.heads,
                    .kv_heads = c.kv_heads,
                    .head_dim = c.head_dim,
                    .keys = k,
                    .values = v,
                    .capacity = capacity},
                   stream),
        "rope");
  if (is_torch()) {
    const std::int64_t before = position[static_cast<std::size_t>(sequence)];
    return static_cast<const Bf16*>(torch(
        {.kernel = options.attention == Attention::torch_cudnn ? TorchKernel::cudnn : TorchKernel::flash,
         .q = qkv.data(),
         .q_sequence = w.qkv(),
         .q_token = w.qkv(),
         .k = k,
         .v = v,
         .kv_sequence = kv_sequence,
         .sequences = rows.sequences(),
         .queries = rows.tokens(),
         .keys = before + rows.tokens(),
         .heads = c.heads,
         .kv_heads = c.kv_heads,
         .head_dim = c.head_dim},
        stream));
  }
  const SoftmaxCall call{.q = qkv.as<Bf16>(),
                         .q_stride = w.qkv(),
                         .keys = k,
                         .values = v,
                         .capacity = capacity,
                         .positions = at,
                         .o = o.as<Bf16>(),
                         .o_stride = w.q,
                         .sequences = rows.sequences(),
                         .tokens = rows.tokens(),
                         .heads = c.heads,
                         .kv_heads = c.kv_heads,
                         .head_dim = c.head_dim,
                         .window = c.sliding_window.value_or(0)};
  check(rows.tokens() == 1 ? softmax_decode(call, workspace.as<float>(), stream)
                           : softmax_prefill(call, stream),
        "softmax attention");
  return o.as<Bf16>();
}

void CudaSequences::Impl::advance(int sequence, int count, cudaStream_t stream) {
  check(set_positions(positions.as<int>() + sequence, 1, 1, count, stream), "positions");
  position[static_cast<std::size_t>(sequence)] += count;
}

void CudaSequences::Impl::decode_step(cudaStream_t stream) {
  const Rows rows{.count = options.sequences, .sequence = 0, .decode = true};
  turns_of_.reset();  // sequences may differ in position, and a graph must hold the work
  run(next.as<int>(), rows, own, stream);
  head(x.as<float>(), rows.count, logits.as<float>(), stream);
  check(argmax(logits.as<float>(), rows.count, model.config.vocab_size, next.as<int>(), stream), "argmax");
  check(set_positions(positions.as<int>(), rows.count, 1, 1, stream), "positions");
  turns_of_.reset();
}

void CudaSequences::Impl::decode_graph(cudaStream_t stream) {
  const std::int64_t key = is_torch() ? position[0] : 0;
  if (graph_ && graph_key_ == key) {
    check(cudaGraphLaunch(graph_.get(), stream), "graph of a decode step");
    graph_ran_ = true;
    return;
  }
  if (warm_key_ != key || capture_refused_) {  // once without: kernels get loaded, products planned
    decode_step(stream);
    warm_key_ = key;
    return;
  }
  drop_graph();
  check(cudaStreamSynchronize(stream), "graph of a decode step");
  graph_events_.clear();
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(capture_stream_.get(), cudaStreamCaptureModeThreadLocal),
        "graph of a decode step");
  capturing_ = true;
  std::string refusal;
  try {
    decode_step(capture_stream_.get());
  } catch (const std::exception& error) {
    refusal = error.what();
  }
  capturing_ = false;
  cudaGraphExec_t exec = nullptr;
  cudaError_t error = cudaStreamEndCapture(capture_stream_.get(), &graph);
  if (error == cudaSuccess && refusal.empty()) error = cudaGraphInstantiate(&exec, graph, 0);
  if (graph) cudaGraphDestroy(graph);
  if (error != cudaSuccess || !refusal.empty()) {
    cudaGetLastError();  // a refused capture is no fault of later calls
    if (!is_torch()) {
      // The call that was refused says more than the capture's end.
      if (!refusal.empty()) throw std::runtime_error("graph of a decode step: " + refusal);
      check(error, "graph of a decode step");
    }
    capture_refused_ = true;
    decode_step(stream);
    return;
  }
  graph_.reset(exec);
  graph_key_ = key;
  check(cudaGraphLaunch(graph_.get(), stream), "graph of a decode step");
  graph_ran_ = true;
}

double CudaSequences::Impl::attention_seconds() {
  check(cudaDeviceSynchronize(), "decode");
  double sum = 0;
  for (std::size_t i = 0; i < events_used_; ++i) sum += events_[i].seconds();
  if (graph_ran_)
    for (const EventPair& pair : graph_events_) sum += pair.seconds();
  events_used_ = 0;
  graph_ran_ = false;
  return sum;
}

CudaSequences::CudaSequences(const CudaModel& model, const SequencesOptions& options)
    : impl_(std::make_unique<Impl>(model.impl(), options)) {}
CudaSequences::CudaSequences(CudaSequences&&) noexcept = default;
CudaSequences& CudaSequences::operator=(CudaSequences&&) noexcept = default;
CudaSequences::~CudaSequences() = default;

std::size_t CudaSequences::bytes() const {
  return impl_->bytes();
}

std::int64_t CudaSequences::position(int sequence) const {
  return impl_->position.at(static_cast<std::size_t>(sequence));
}

void CudaSequences::reset(cudaStream_t stream) {
  if (impl_->state.bytes() > 0)
    check(cudaMemsetAsync(impl_->state.data(), 0, impl_->state.bytes(), stream), "states");
  set_position(0, stream);
}

void CudaSequences::assume_context(std::int64_t tokens, std::uint64_t seed, cudaStream_t stream) {
  set_position(tokens, stream);
  if (impl_->model.config.lawcat) return;
  for (const DeviceBuffer* cache : {&impl_->keys, &impl_->values})
    check(fill_uniform(cache->as<Bf16>(), cache->bytes() / sizeof(Bf16), 1, ++seed, stream),
          "assumed context");
}

void CudaSequences::set_position(std::int64_t tokens, cudaStream_t stream) {
  impl_->require_length(tokens);
  std::fill(impl_->position.begin(), impl_->position.end(), tokens);
  check(set_positions(impl_->positions.as<int>(), impl_->options.sequences, 0, static_cast<int>(tokens),
                      stream),
        "positions");
  impl_->turns_of_.reset();
}

void CudaSequences::prefill(const int* tokens, int count, int sequence, cudaStream_t stream) {
  if (count < 1) throw InputError("tokens of a prefill", "at least 1", fmt::format("{}", count));
  impl_->require_room(sequence, count);
  impl_->require_whole_prompt(sequence, count);
  const ModelConfig& c = impl_->model.config;
  int last = 0;  // rows of the last block
  for (int first = 0; first < count; first += last) {
    last = std::min(impl_->options.block_tokens, count - first);
    impl_->run(tokens + first, {.count = last, .sequence = sequence, .decode = false}, impl_->own, stream);
    impl_->advance(sequence, last, stream);
  }
  float* const row = impl_->logits.as<float>() + std::int64_t{sequence} * c.vocab_size;
  impl_->head(impl_->x.as<float>() + std::int64_t{last - 1} * c.hidden_size, 1, row, stream);
  check(argmax(row, 1, c.vocab_size, impl_->next.as<int>() + sequence, stream), "argmax");
}

void CudaSequences::decode(cudaStream_t stream) {
  impl_->require_step();
  impl_->decode_step(stream);
  for (std::int64_t& position : impl_->position) ++position;
}

void CudaSequences::decode_graph(cudaStream_t stream) {
  impl_->require_step();
  impl_->decode_graph(stream);
  for (std::int64_t& position : impl_->position) ++position;
}

bool CudaSequences::decode_is_graph() const {
  return impl_->graph_ != nullptr;
}

void CudaSequences::layer_prefill(int layer, int count, cudaStream_t stream) {
  impl_->require_layer(layer);
  impl_->require_block(count);
  impl_->layer(layer, {.count = count, .sequence = 0, .decode = false}, impl_->own, stream);
}

void CudaSequences::layer_decode(int layer, cudaStream_t stream) {
  impl_->require_layer(layer);
  impl_->require_step();
  impl_->layer(layer, {.count = impl_->options.sequences, .sequence = 0, .decode = true}, impl_->own, stream);
}

void CudaSequences::attention_prefill(int layer, int count, cudaStream_t stream) {
  impl_->require_layer(layer);
  impl_->require_block(count);
  impl_->attend(layer, {.count = count, .sequence = 0, .decode = false}, stream);
}

void CudaSequences::attention_decode(int layer, cudaStream_t stream) {
  impl_->require_layer(layer);
  impl_->require_step();
  impl_->attend(layer, {.count = impl_->options.sequences, .sequence = 0, .decode = true}, stream);
}

void CudaSequences::fill_working_memory(std::uint64_t seed, cudaStream_t stream) {
  check(fill_uniform(impl_->x.as<float>(), impl_->x.bytes() / sizeof(float), 1, ++seed, stream),
        "working memory");
  for (const DeviceBuffer* buffer : {&impl_->qkv, &impl_->gates})
    check(fill_uniform(buffer->as<Bf16>(), buffer->bytes() / sizeof(Bf16), 1, ++seed, stream),
          "working memory");
}

int* CudaSequences::next_tokens() const {
  return impl_->next.as<int>();
}

const float* CudaSequences::logits() const {
  return impl_->logits.as<float>();
}

const float* CudaSequences::residual() const {
  return impl_->x.as<float>();
}

void CudaSequences::poison(cudaStream_t stream) {
  for (const DeviceBuffer* buffer : {&impl_->o, &impl_->logits})
    check(cudaMemsetAsync(buffer->data(), 0xff, buffer->bytes(), stream), "poison");
}

double CudaSequences::attention_seconds() {
  return impl_->attention_seconds();
}

}  // namespace lawcat::cuda

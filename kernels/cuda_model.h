// SPDX-License-Identifier: Apache-2.0
// A whole network on the GPU: weights in bf16, the residual stream and all sums in fp32. For the program: a
// ModelHost. For a benchmark: models of a shape with seeded weights, and pieces of work that are queued on a
// stream and wait for nothing. Plain C++. Functions throw InputError on what does not fit, std::bad_alloc
// when the GPU has no room and std::runtime_error when CUDA fails.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "hostlib/model/runner.h"

namespace lawcat {

/// Host `cuda`. A LAWCAT model opened without a session has its unit on the GPU: the fast kernels where they
/// take the shape, the plain ones otherwise or where `plain_unit` asks for them. A runner's host_seconds() is
/// wall time of forward() less the unit's; unit_seconds() is GPU time between events around each call of the
/// unit's kernels, or, with a session, wall time inside Session::run(). Throws InputError when there is no
/// usable GPU.
std::unique_ptr<ModelHost> make_cuda_host(const Model& model, bool plain_unit = false);

namespace cuda {

/// Which kernels do the attention of every layer. The first two take LAWCAT models, the others softmax
/// models.
enum class Attention {
  unit,         ///< kernels/attention in bf16
  unit_fp32,    ///< its plain form; inputs and outputs converted
  softmax,      ///< the project's own, plain: correct for every shape, not fast
  torch_cudnn,  ///< PyTorch's call of cuDNN; needs LAWCAT_WITH_TORCH
  torch_flash,  ///< PyTorch's FlashAttention-2; needs LAWCAT_WITH_TORCH
};
const char* name_of(Attention attention);
/// Empty when these kernels do the attention of this network here, else why not.
std::string why_not(Attention attention, const ModelConfig& config);

/// The weights of a network in GPU memory.
class CudaModel {
 public:
  /// Copies the weights, rounded to bf16. `model` must have weights.
  explicit CudaModel(const Model& model);
  /// Weights made on the GPU: uniform, standard deviation 0.02 (projections into the residual stream: 0.02 /
  /// sqrt(2 * layers)), norms 1, the unit's as at conversion of a model. The same seed gives the same
  /// weights.
  CudaModel(const ModelConfig& config, std::uint64_t seed);
  CudaModel(CudaModel&&) noexcept;
  CudaModel& operator=(CudaModel&&) noexcept;
  ~CudaModel();

  const ModelConfig& config() const;
  std::size_t bytes() const;  ///< of GPU memory

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

struct SequencesOptions {
  Attention attention = Attention::unit;
  int sequences = 1;            ///< B, decoded side by side
  std::int64_t max_tokens = 0;  ///< longest sequence; sizes the key-value cache of softmax models
  /// Tokens that go through a layer at once in prefill, at most; longer prompts go in blocks. Sizes the
  /// working memory. torch_* sees only whole prompts and needs a block of their size.
  int block_tokens = 8192;
  bool time_unit =
      false;  ///< records events around every call of the attention's kernels: see attention_seconds()
};

/// B sequences through one model, and the working memory for them. All work goes to `stream` in the order of
/// the calls; nothing here waits for the GPU unless it says so. Use one stream at a time.
class CudaSequences {
 public:
  /// `model` must outlive this. Sequences are at position 0.
  CudaSequences(const CudaModel& model, const SequencesOptions& options);
  CudaSequences(CudaSequences&&) noexcept;
  CudaSequences& operator=(CudaSequences&&) noexcept;
  ~CudaSequences();

  /// GPU memory that these hold beside the model's.
  std::size_t bytes() const;
  std::int64_t position(int sequence) const;

  /// Back to position 0 with zero states.
  void reset(cudaStream_t stream);
  /// Every sequence as if `tokens` tokens had been seen: key-value caches hold seeded random values, the
  /// state of a unit stays as it is. For timing a decode step after a long context without its prefill.
  void assume_context(std::int64_t tokens, std::uint64_t seed, cudaStream_t stream);
  /// Every sequence back (or on) to this position, caches and states left alone: to time the same step again.
  void set_position(std::int64_t tokens, cudaStream_t stream);

  /// `count` further tokens of one sequence through the whole network; `tokens` are ids in GPU memory,
  /// [count], below the vocabulary. The last token's logits then stand in row `sequence` of logits(), and the
  /// likeliest id is what decode() feeds next.
  void prefill(const int* tokens, int count, int sequence, cudaStream_t stream);
  /// One token of each sequence through the whole network: feeds next_tokens(), leaves logits() and the
  /// greedy choice in next_tokens(). Launched kernel by kernel.
  void decode(cudaStream_t stream);
  /// The same work, bit for bit, as one captured graph. The first call launches kernel by kernel, which loads
  /// kernels and plans products; the second captures the graph and waits for the GPU. torch_* has a graph per
  /// position (see set_position()) or may refuse capture: decode_is_graph() then says false and this is
  /// decode().
  void decode_graph(cudaStream_t stream);
  bool decode_is_graph() const;

  /// One layer over `count` tokens (at most block_tokens) of the first sequence, whose residual stream is
  /// whatever the last call left, or over one token of each sequence. Positions stay; a unit's state goes on.
  void layer_prefill(int layer, int count, cudaStream_t stream);
  void layer_decode(int layer, cudaStream_t stream);
  /// Only the attention of layer_prefill() and layer_decode(): from projected q, k, v and gates to o.
  void attention_prefill(int layer, int count, cudaStream_t stream);
  void attention_decode(int layer, cudaStream_t stream);
  /// Residual stream and projections of seeded random values (uniform, standard deviation 1), so that pieces
  /// alone have ordinary inputs.
  void fill_working_memory(std::uint64_t seed, cudaStream_t stream);

  /// What the attention (but PyTorch's) and the head write is NaN until they have.
  void poison(cudaStream_t stream);

  int* next_tokens() const;       ///< in GPU memory, [B]
  const float* logits() const;    ///< in GPU memory, [B, vocab]
  const float* residual() const;  ///< in GPU memory, [rows of the last call, hidden_size]
  /// Waits for the GPU and returns the time between the events that were recorded around calls of the
  /// attention's kernels since the last call of this (of a graph's replays only the last), seconds. 0 without
  /// options.time_unit.
  double attention_seconds();

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace cuda
}  // namespace lawcat

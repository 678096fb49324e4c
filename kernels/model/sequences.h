// SPDX-License-Identifier: Apache-2.0
// Sequences through a network on the GPU: working memory, the layers' order of work, and the graph of a
// decode step.
#pragma once

#include <cuda_bf16.h>

#include <array>
#include <functional>
#include <optional>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/dense/matmul.h"
#include "kernels/model/weights.h"
#include "kernels/softmax/softmax_attention.h"
#include "kernels/softmax/torch_attention.h"

namespace lawcat::cuda {

/// What goes through a layer at once: `count` tokens of one sequence, or one token of each of `count`
/// sequences.
struct Rows {
  int count = 0;
  int sequence = 0;
  bool decode = false;
  int tokens() const { return decode ? 1 : count; }
  int sequences() const { return decode ? count : 1; }
};

struct CudaSequences::Impl {
  Impl(const CudaModel::Impl& model_weights, const SequencesOptions& sequences_options);
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  using Attend = std::function<const __nv_bfloat16*(int layer, const Rows& rows, cudaStream_t stream)>;

  /// Throws InputError unless a sequence of so many tokens fits the cache.
  void require_length(std::int64_t tokens) const;
  /// Likewise for `count` more tokens of this sequence, which must be one.
  void require_room(int sequence, std::int64_t count) const;
  /// Likewise for one more token of every sequence; PyTorch's attention has one position for all of them.
  void require_step() const;
  void require_layer(int layer) const;
  /// Likewise for one block of the first sequence, which must be a block.
  void require_block(int count) const;
  /// Likewise unless `count` tokens of this sequence are a prompt that PyTorch's attention can take, where it
  /// is the attention.
  void require_whole_prompt(int sequence, int count) const;
  /// Makes the cache at least this long; what it holds stays.
  void grow(std::int64_t tokens, cudaStream_t stream);

  /// Embeds the rows' ids and takes them through all layers; `attend` computes o [rows, H*D] from qkv and
  /// gates.
  void run(const int* ids, const Rows& rows, const Attend& attend, cudaStream_t stream);
  void layer(int layer, const Rows& rows, const Attend& attend, cudaStream_t stream);
  /// Logits [rows, vocab] of residual rows.
  void head(const float* x, int rows, float* to, cudaStream_t stream);
  /// The attention that the options name.
  const __nv_bfloat16* attend(int layer, const Rows& rows, cudaStream_t stream);
  /// Counts tokens that have been queued.
  void advance(int sequence, int count, cudaStream_t stream);
  /// One decode step without the host's count of positions: what a graph captures.
  void decode_step(cudaStream_t stream);
  void decode_graph(cudaStream_t stream);
  double attention_seconds();

  const Attend own = [this](int l, const Rows& rows, cudaStream_t stream) { return attend(l, rows, stream); };

  const CudaModel::Impl& model;
  SequencesOptions options;
  Matmul matmul;
  TorchAttention torch;
  std::int64_t capacity = 0;  ///< tokens of a sequence in the cache; 0 for the unit
  std::vector<std::int64_t> position;

  // Working memory of a block; rows are tokens.
  DeviceBuffer x;            ///< [rows, C] fp32, the residual stream
  DeviceBuffer normed;       ///< [rows, C] bf16
  DeviceBuffer qkv;          ///< [rows, q | k | v | gate_low] bf16
  DeviceBuffer gates;        ///< [rows, Hkv*K] bf16, without the bias
  DeviceBuffer o;            ///< [rows, H*D] bf16
  DeviceBuffer mlp_both;     ///< [mlp rows, gate | up] bf16
  DeviceBuffer mlp;          ///< [mlp rows, intermediate] bf16
  DeviceBuffer logits;       ///< [B, vocab] fp32
  DeviceBuffer workspace;    ///< of the attention
  DeviceBuffer state;        ///< [layers, B, state block]
  DeviceBuffer keys;         ///< [layers, B, capacity, Hkv*D] bf16
  DeviceBuffer values;       ///< likewise
  DeviceBuffer frequencies;  ///< [D/2] double
  DeviceBuffer turns;        ///< [rows, D/2] float2, of rope_table()
  DeviceBuffer positions;    ///< [B] int
  DeviceBuffer next;         ///< [B] int
  std::size_t bytes() const;

 private:
  void project(const void* x, std::int64_t x_stride, const DeviceBuffer& w, void* y, std::int64_t y_stride,
               int tokens, int in, int out, bool accumulate, cudaStream_t stream);
  const __nv_bfloat16* attend_unit(int layer, const Rows& rows, cudaStream_t stream);
  const __nv_bfloat16* attend_softmax(int layer, const Rows& rows, cudaStream_t stream);
  /// Fills `turns` for these rows, unless it holds just that.
  void prepare_turns(const Rows& rows, cudaStream_t stream);
  void drop_graph();
  bool is_torch() const {
    return options.attention == Attention::torch_cudnn || options.attention == Attention::torch_flash;
  }

  int mlp_rows_ = 0;
  /// What `turns` was made for: position, count, sequence, decode.
  std::optional<std::array<std::int64_t, 4>> turns_of_;

  Stream capture_stream_;
  GraphExec graph_;
  bool capturing_ = false;
  bool capture_refused_ = false;
  /// A step's graph is for one position where PyTorch does the attention, else for all (0): of the graph, and
  /// of the last step that ran without.
  std::int64_t graph_key_ = -1, warm_key_ = -1;

  std::vector<EventPair> events_, graph_events_;
  std::size_t events_used_ = 0;
  bool graph_ran_ = false;

  friend class CudaSequences;
};

}  // namespace lawcat::cuda

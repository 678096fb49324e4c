// SPDX-License-Identifier: Apache-2.0
// The unit's calls as work to be timed: several sets of weights, state, inputs and output, filled with random
// values.
#pragma once

#include <string_view>
#include <vector>

#include "hostlib/trace/random_vectors.h"
#include "kernels/attention/attention.h"
#include "kernels/device.h"
#include "kernels/measure/timing.h"

namespace lawcat::cuda {

/// Tokens that every sequence has seen before a measured decode step.
inline constexpr int kDecodeContext = 256;

class UnitWork {
 public:
  /// `tokens` of one sequence (prefill), or one token of each of `batch` sequences. Sets are so many that
  /// together they exceed `rotated_bytes`. Throws std::bad_alloc when the GPU has no room.
  UnitWork(const UnitShape& shape, bool is_prefill, int tokens, int batch, GateRegime gates,
           std::size_t rotated_bytes, cudaStream_t stream);
  UnitWork(const UnitWork&) = delete;
  UnitWork& operator=(const UnitWork&) = delete;

  Work work() const;
  /// Runs every set once onto poisoned outputs and looks at outputs and states. Throws std::runtime_error
  /// when an element was not written or is not finite.
  void check_outputs(cudaStream_t stream) const;

 private:
  struct Set {
    std::byte* weights = nullptr;
    std::byte* state = nullptr;
    Tensors tensors;
  };
  void fill(GateRegime gates, cudaStream_t stream);
  void call(int index, cudaStream_t stream) const;

  UnitShape shape_;
  bool is_prefill_;
  int tokens_;  ///< of a call, in each sequence
  int sequences_;
  StateLayout layout_;
  std::size_t o_bytes_ = 0;
  DeviceBuffer memory_;
  DeviceBuffer workspace_;
  std::vector<Set> sets_;
};

}  // namespace lawcat::cuda

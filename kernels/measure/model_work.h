// SPDX-License-Identifier: Apache-2.0
// A layer's or a whole network's calls as work to be timed, on seeded weights and random tokens.
#pragma once

#include "kernels/cuda_model.h"
#include "kernels/device.h"
#include "kernels/measure/timing.h"

namespace lawcat::cuda {

/// What is run, as in GpuReference::Measurement.
struct ModelCall {
  bool whole_model = false;  ///< else one layer after another
  bool is_prefill = false;
  Attention attention = Attention::unit;
  int tokens = 0;  ///< of a prefill, or before a decode step
  int batch = 1;   ///< sequences of a decode step
};

class ModelWork {
 public:
  /// `model` must outlive this. Throws std::bad_alloc when the GPU has no room.
  ModelWork(const CudaModel& model, const ModelCall& call, cudaStream_t stream);
  ModelWork(const ModelWork&) = delete;
  ModelWork& operator=(const ModelWork&) = delete;

  Work work();
  /// Runs one call onto poisoned memory, the logits of a whole model or what a layer's attention writes.
  /// Throws std::runtime_error when a logit, or a value of the residual stream, was not written or is not
  /// finite.
  void check_outputs(cudaStream_t stream);

 private:
  void call(int index, cudaStream_t stream);

  const CudaModel& model_;
  ModelCall call_;
  CudaSequences sequences_;
  DeviceBuffer tokens_;  ///< ids of some prompts, one behind the other
};

}  // namespace lawcat::cuda

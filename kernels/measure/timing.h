// SPDX-License-Identifier: Apache-2.0
// Time and energy of a call on the GPU: many calls in a row, replayed from a graph where they can be
// captured.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/device.h"
#include "kernels/measure/nvml.h"

namespace lawcat::cuda {

/// Something to be timed: `call(i, stream)` queues one call; calls 0 .. sets - 1 touch different memory and
/// call i the same as call i mod sets.
struct Work {
  std::function<void(int, cudaStream_t)> call;
  int sets = 1;
  bool capture = true;    ///< may become a graph; a graph that CUDA refuses is no error
  bool is_graph = false;  ///< a call is itself the launch of a graph
};

struct Timing {
  double median_s = 0;
  double min_s = 0;
  double max_s = 0;
  int repetitions = 0;
  std::string method;  ///< "graph" or "stream"
};

/// A run of calls, `calls()` of them, that is launched as one.
class Batch {
 public:
  /// As many calls as fill about `target_s`, a multiple of the sets; runs some to find out, which is the
  /// warm-up.
  Batch(Work work, double target_s, cudaStream_t stream);
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  void launch(cudaStream_t stream) const;
  int calls() const { return calls_; }
  double estimate_s() const { return estimate_s_; }  ///< of one launch
  bool is_graph() const { return graph_ != nullptr || work_.is_graph; }

 private:
  bool try_capture(cudaStream_t stream);

  Work work_;
  int calls_ = 1;
  double estimate_s_ = 0;
  GraphExec graph_;
};

/// Time of a call: events between launches that are queued without waiting, for at least `seconds` and
/// `least` samples. Throws InputError when the user interrupts.
Timing time_calls(const Batch& batch, double seconds, int least, cudaStream_t stream);

struct Energy {
  double joules = 0;
  double seconds = 0;
};
/// Energy of a call, idle power included, and its time in the same run of at least `seconds`, begun and ended
/// at a step of the meter. A run so long may meet the GPU's power limit, where time_calls() did not.
Energy energy_of_call(const Batch& batch, const Nvml& nvml, double seconds, cudaStream_t stream);
/// Watts over `seconds` in which this process asks nothing of the GPU.
double idle_power(const Nvml& nvml, double seconds);

/// Bytes read plus bytes written per second by a large copy within the GPU's memory.
double copy_bandwidth(cudaStream_t stream);

/// Of at least one value.
double median(std::vector<double> values);

}  // namespace lawcat::cuda

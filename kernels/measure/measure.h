// SPDX-License-Identifier: Apache-2.0
// Times and meters the kernels on this machine's GPU, by the rules that make such figures comparable: warm,
// many repetitions, inputs that do not stay in the cache, random values, outputs looked at.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hostlib/model/config.h"
#include "hostlib/report/gpu_reference.h"

namespace lawcat {

/// Name of this machine's GPU; empty when there is none that the kernels can use.
std::string gpu_name();

/// The unit and the forms of softmax attention that layers and models are measured with.
std::vector<std::string> attention_names();

struct MeasureRequest {
  std::vector<ModelConfig> models;  ///< LAWCAT networks, each by another name
  std::vector<int> tokens;          ///< of prefill, and before a decode step whose cost depends on them
  std::vector<int> decode_batches;  ///< sequences of a decode step
  bool unit = true;                 ///< which operations: steps 3-8,
  bool layer = false;               ///< a layer with its projections and MLP,
  bool model = false;               ///< the whole network with its head;
  std::vector<std::string> attentions{"unit"};  ///< of the last two: some of attention_names()
  std::string gates = "plain";                  ///< regime of the gate logits
  double seconds = 0.3;                         ///< timed for each call
  int repetitions = 20;                         ///< at least so many samples
  double energy_seconds = 2;                    ///< metered for each call; 0 for no energy
};

/// The calls that the request asks for, in order, nothing measured yet. Throws InputError for a shape that
/// the kernels do not take, and for an attention of another name. Needs no GPU.
std::vector<GpuReference::Measurement> plan(const MeasureRequest& request);

struct MeasureObserver {
  /// Before each call: what it is, how many are done, of how many.
  std::function<void(std::string_view, std::int64_t, std::int64_t)> progress;
  /// After each call: all there is so far.
  std::function<void(const GpuReference&)> measured;
  /// A call that was left out, and why.
  std::function<void(const std::string& what, const std::string& why)> left_out;
};

/// Measures the plan. What `kept` holds from earlier runs stays unless it is measured again; it must come
/// from the same GPU, driver, CUDA version and commit, with the same gates (InputError otherwise). Throws
/// InputError when there is no usable GPU or the user interrupts, and std::runtime_error when CUDA fails or
/// an output is not a number.
GpuReference measure(const MeasureRequest& request, const std::string& commit, const GpuReference* kept,
                     const MeasureObserver& observer);

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// See timing.h.
#include "kernels/measure/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <thread>
#include <vector>

#include "hostlib/io/interrupt.h"

namespace lawcat::cuda {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMostCaptured = 2048;  // calls in one graph
constexpr double kMeterPollS =
    5e-3;                          // work between two looks at the meter, which moves in steps of tens of ms
constexpr double kBurstS = 50e-3;  // work queued before the host waits
constexpr double kLaunchMatters = 10e-3;  // above this, the gap before a burst's first launch is nothing
constexpr double kLong = 0.5;             // above this, a call is warm after one, and few samples have to do
constexpr int kFewSamples = 3;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void wait(cudaStream_t stream) {
  check(cudaStreamSynchronize(stream), "measured calls");
}

}  // namespace

Batch::Batch(Work work, double target_s, cudaStream_t stream) : work_(std::move(work)) {
  const Event start;
  const Event stop;
  double round_s = 0;
  for (int round = 0; round < 2 && round_s < kLong; ++round) {  // the first loads code and plans products
    check_interrupt();
    start.record(stream);
    for (int i = 0; i < work_.sets; ++i) work_.call(i, stream);
    stop.record(stream);
    wait(stream);
    round_s = std::max(stop.seconds_since(start), 1e-7);
  }
  const double rounds =
      std::clamp(std::ceil(target_s / round_s), 1.0, std::max(1.0, double{kMostCaptured} / work_.sets));
  calls_ = work_.sets * static_cast<int>(rounds);
  estimate_s_ = round_s * rounds;
  if (!work_.capture || !try_capture(stream)) return;
  // Launched one by one the calls may have taken the host's time; what counts is the graph's.
  launch(stream);
  start.record(stream);
  launch(stream);
  stop.record(stream);
  wait(stream);
  estimate_s_ = std::max(stop.seconds_since(start), 1e-7);
}

bool Batch::try_capture(cudaStream_t stream) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "graph capture");
  bool refused = false;
  try {
    for (int i = 0; i < calls_; ++i) work_.call(i, stream);
  } catch (const std::exception&) {
    refused = true;  // a call that CUDA does not capture
  }
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  const bool captured = !refused && ended == cudaSuccess && graph != nullptr &&
                        cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess;
  if (graph) cudaGraphDestroy(graph);
  if (captured)
    graph_.reset(exec);
  else
    cudaGetLastError();  // it sticks otherwise
  return captured;
}

void Batch::launch(cudaStream_t stream) const {
  if (graph_) {
    check(cudaGraphLaunch(graph_.get(), stream), "graph launch");
    return;
  }
  for (int i = 0; i < calls_; ++i) work_.call(i, stream);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

Timing time_calls(const Batch& batch, double seconds, int least, cudaStream_t stream) {
  const int burst = static_cast<int>(std::clamp(kBurstS / batch.estimate_s(), 1.0, 32.0));
  // The first launch after a wait also waits for the host.
  const int skipped = batch.estimate_s() < kLaunchMatters ? 1 : 0;
  const std::vector<Event> events(static_cast<std::size_t>(burst + skipped) + 1);
  // The clock takes its time to rise.
  for (const Clock::time_point start = Clock::now();
       batch.estimate_s() < kLong && seconds_since(start) < seconds / 4;) {
    check_interrupt();
    batch.launch(stream);
    wait(stream);
  }
  if (batch.estimate_s() > kLong) least = std::min(least, kFewSamples);
  std::vector<double> samples;
  const Clock::time_point start = Clock::now();
  while (static_cast<int>(samples.size()) < least || seconds_since(start) < seconds) {
    check_interrupt();
    events[0].record(stream);
    for (std::size_t i = 1; i < events.size(); ++i) {
      batch.launch(stream);
      events[i].record(stream);
    }
    wait(stream);
    for (std::size_t i = 1 + static_cast<std::size_t>(skipped); i < events.size(); ++i)
      samples.push_back(events[i].seconds_since(events[i - 1]) / batch.calls());
  }
  const auto [least_s, most_s] = std::minmax_element(samples.begin(), samples.end());
  return {.median_s = median(samples),
          .min_s = *least_s,
          .max_s = *most_s,
          .repetitions = static_cast<int>(samples.size()),
          .method = batch.is_graph() ? "graph" : "stream"};
}

namespace {

/// Calls `work` until the meter has moved through whole steps that span at least `seconds`; joules, seconds
/// and calls of `work` between the first and the last step.
struct Metered {
  double joules = 0;
  double seconds = 0;
  std::int64_t runs = 0;
};
template <class Run>
Metered between_steps(const Nvml& nvml, double seconds, Run run) {
  constexpr double kPatienceS = 10;  // far above a step
  double last = nvml.joules();
  double begin = 0;
  bool begun = false;
  std::int64_t runs = 0;
  Clock::time_point start = Clock::now();
  for (;;) {
    check_interrupt();
    run();
    ++runs;
    const double elapsed = seconds_since(start);
    const double now = nvml.joules();
    if (now == last) {
      if (elapsed > seconds + kPatienceS) throw std::runtime_error("NVML energy meter: it stands still");
      continue;
    }
    last = now;
    if (begun && elapsed >= seconds) return {now - begin, elapsed, runs};
    if (begun) continue;
    begun = true;
    begin = now;
    start = Clock::now();
    runs = 0;
  }
}

}  // namespace

Energy energy_of_call(const Batch& batch, const Nvml& nvml, double seconds, cudaStream_t stream) {
  const int launches = static_cast<int>(std::clamp(kMeterPollS / batch.estimate_s(), 1.0, 1000.0));
  const Metered metered = between_steps(nvml, seconds, [&] {
    for (int i = 0; i < launches; ++i) batch.launch(stream);
    wait(stream);
  });
  const double calls = static_cast<double>(metered.runs) * launches * batch.calls();
  return {metered.joules / calls, metered.seconds / calls};
}

double idle_power(const Nvml& nvml, double seconds) {
  const Metered metered = between_steps(
      nvml, seconds, [] { std::this_thread::sleep_for(std::chrono::duration<double>(kMeterPollS)); });
  return metered.joules / metered.seconds;
}

double copy_bandwidth(cudaStream_t stream) {
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "free memory");
  const std::size_t bytes = std::min<std::size_t>(std::size_t{2} << 30, free / 4);
  const DeviceBuffer from(bytes);
  const DeviceBuffer to(bytes);
  check(cudaMemsetAsync(from.data(), 0x5a, bytes, stream), "memset");
  const Batch batch({.call =
                         [&](int, cudaStream_t on) {
                           check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, on),
                                 "copy");
                         },
                     .sets = 1,
                     .capture = false},
                    0, stream);
  return 2.0 * static_cast<double>(bytes) / time_calls(batch, 0.1, 10, stream).median_s;
}

}  // namespace lawcat::cuda

// SPDX-License-Identifier: Apache-2.0
// Sessions of the cuda backend: device state of every layer, jobs copied in and out.
#include "kernels/cuda_backend.h"

#include <cuda_bf16.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "hostlib/io/error.h"
#include "kernels/attention/attention.h"
#include "kernels/device.h"

namespace lawcat {
namespace {

using namespace cuda;

class CudaSession final : public Session {
 public:
  CudaSession(std::string name, Precision precision, const UnitShape& shape,
              std::span<const UnitWeights> layers)
      : name_(std::move(name)),
        precision_(precision),
        shape_(shape),
        layout_(state_layout(shape)),
        weight_bytes_(weight_bytes(shape)),
        layers_(static_cast<int>(layers.size())),
        weights_(weight_bytes_ * layers.size()),
        states_(layout_.size * layers.size()) {
    std::vector<std::byte> block(weight_bytes_);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      pack_weights(shape, layers[l], block);
      check(cudaMemcpy(weights_.data() + l * weight_bytes_, block.data(), weight_bytes_,
                       cudaMemcpyHostToDevice),
            "weights to the device");
    }
    check(cudaMemset(states_.data(), 0, states_.bytes()), "zero state");
    // The session's own stream does not wait for the default one.
    check(cudaDeviceSynchronize(), "weights and state");
  }

  void run(const Job& job) override {
    validate(shape_, job);
    if (job.timing_only())
      throw InputError("backend " + name_, "a job with values", "a timing-only job (it models no time)");
    require_layer(job.layer);
    const std::span<const float> inputs[] = {job.q, job.k, job.v, job.gk};
    const std::size_t element = precision_ == Precision::bf16 ? sizeof(__nv_bfloat16) : sizeof(float);
    // Parts start at multiples of 16 bytes.
    const auto room = [element](std::size_t count) { return (count * element + 15) / 16 * 16; };
    std::size_t at[5] = {};
    std::size_t size = 0;
    for (int i = 0; i < 4; ++i) {
      at[i] = size;
      size += room(inputs[i].size());
    }
    at[4] = size;
    size += room(job.o.size());
    host_.resize(size);
    device_.reserve(size);
    for (int i = 0; i < 4; ++i) pack(inputs[i], host_.data() + at[i]);
    check(cudaMemcpyAsync(device_.data(), host_.data(), at[4], cudaMemcpyHostToDevice, stream_.get()),
          "inputs to the device");
    // An element that no kernel writes shows up as NaN.
    check(cudaMemsetAsync(device_.data() + at[4], 0xff, size - at[4], stream_.get()), "poison");
    Tensors tensors{.q = device_.data() + at[0],
                    .k = device_.data() + at[1],
                    .v = device_.data() + at[2],
                    .gk = device_.data() + at[3],
                    .o = device_.data() + at[4]};
    tensors = with_dense_strides(tensors, shape_);
    const std::byte* const weights = weights_.data() + static_cast<std::size_t>(job.layer) * weight_bytes_;
    std::byte* const state = states_.data() + static_cast<std::size_t>(job.layer) * layout_.size;
    workspace_.reserve(prefill_workspace_bytes(precision_, shape_, job.tokens));
    kernels_.start.record(stream_.get());
    check(job.tokens <= kMostDecodeTokens ? decode(precision_, shape_, weights, state, layout_.size, tensors,
                                                   job.tokens, 1, stream_.get())
                                          : prefill(precision_, shape_, weights, state, tensors, job.tokens,
                                                    workspace_.data(), stream_.get()),
          "unit kernels");
    kernels_.stop.record(stream_.get());
    check(cudaMemcpyAsync(host_.data() + at[4], device_.data() + at[4], size - at[4], cudaMemcpyDeviceToHost,
                          stream_.get()),
          "outputs from the device");
    stream_.wait();
    counters_.add("cuda.kernel_time", "microseconds", kernels_.seconds() * 1e6);
    counters_.add("cuda.jobs", "events", 1);
    unpack(host_.data() + at[4], job.o);
  }

  std::vector<double> state(int layer) const override {
    const std::vector<std::byte> block = read(layer);
    const std::size_t d = static_cast<std::size_t>(shape_.head_dim);
    const std::size_t rows = static_cast<std::size_t>(shape_.heads) * shape_.key_features();
    const float* const s = at<float>(block, layout_.state);
    const float* const norm = at<float>(block, layout_.normaliser);
    std::vector<double> all;
    all.reserve(rows * (d + 1));
    for (std::size_t row = 0; row < rows; ++row) {
      all.insert(all.end(), s + row * d, s + (row + 1) * d);
      all.push_back(norm[row]);
    }
    return all;
  }

  void set_state(int layer, std::span<const double> state) override {
    require_layer(layer);
    const std::size_t d = static_cast<std::size_t>(shape_.head_dim);
    const std::size_t rows = static_cast<std::size_t>(shape_.heads) * shape_.key_features();
    if (state.size() != rows * (d + 1))
      throw InputError("initial state", fmt::format("{} values", rows * (d + 1)),
                       fmt::format("{}", state.size()));
    std::vector<std::byte> block(layout_.size);
    for (std::size_t row = 0; row < rows; ++row)
      for (std::size_t c = 0; c <= d; ++c) {
        const float value = static_cast<float>(state[row * (d + 1) + c]);
        const std::size_t to =
            c == d ? layout_.normaliser + row * sizeof(float) : layout_.state + (row * d + c) * sizeof(float);
        std::memcpy(block.data() + to, &value, sizeof value);
      }
    write(layer, block);
  }

  UnitContext save(int layer) const override {
    const std::vector<std::byte> block = read(layer);
    UnitContext context;
    for (std::size_t i = 0; i < block.size(); i += sizeof(std::int32_t)) {
      std::int32_t word = 0;
      std::memcpy(&word, block.data() + i, sizeof word);
      context.words.push_back(word);
    }
    return context;
  }

  void restore(int layer, const UnitContext& context) override {
    require_layer(layer);
    const std::size_t words = layout_.size / sizeof(std::int32_t);
    if (context.words.size() != words)
      throw InputError("saved context of backend " + name_, fmt::format("{} words", words),
                       fmt::format("{}", context.words.size()));
    std::vector<std::byte> block(layout_.size);
    for (std::size_t i = 0; i < words; ++i) {
      const auto word = static_cast<std::int32_t>(context.words[i]);
      std::memcpy(block.data() + i * sizeof word, &word, sizeof word);
    }
    write(layer, block);
  }

  Counters counters() const override { return counters_; }

 private:
  void require_layer(int layer) const {
    if (layer < 0 || layer >= layers_)
      throw InputError("job: layer", fmt::format("0 to {}", layers_ - 1), fmt::format("{}", layer));
  }

  template <class T>
  static const T* at(const std::vector<std::byte>& block, std::size_t offset) {
    return reinterpret_cast<const T*>(block.data() + offset);
  }

  void pack(std::span<const float> values, std::byte* to) const {
    if (precision_ == Precision::fp32) {
      std::memcpy(to, values.data(), values.size_bytes());
      return;
    }
    auto* const out = reinterpret_cast<__nv_bfloat16*>(to);
    for (std::size_t i = 0; i < values.size(); ++i) out[i] = __float2bfloat16_rn(values[i]);
  }

  void unpack(const std::byte* from, std::span<float> values) const {
    if (precision_ == Precision::fp32) {
      std::memcpy(values.data(), from, values.size_bytes());
      return;
    }
    const auto* const in = reinterpret_cast<const __nv_bfloat16*>(from);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = __bfloat162float(in[i]);
  }

  std::vector<std::byte> read(int layer) const {
    require_layer(layer);
    std::vector<std::byte> block(layout_.size);
    check(cudaMemcpy(block.data(), states_.data() + static_cast<std::size_t>(layer) * layout_.size,
                     layout_.size, cudaMemcpyDeviceToHost),
          "state from the device");
    return block;
  }

  void write(int layer, const std::vector<std::byte>& block) {
    check(cudaMemcpy(states_.data() + static_cast<std::size_t>(layer) * layout_.size, block.data(),
                     layout_.size, cudaMemcpyHostToDevice),
          "state to the device");
    check(cudaDeviceSynchronize(), "state to the device");
  }

  std::string name_;
  Precision precision_;
  UnitShape shape_;
  StateLayout layout_;
  std::size_t weight_bytes_;
  int layers_;
  Stream stream_;
  EventPair kernels_;
  DeviceBuffer weights_, states_, device_, workspace_;
  std::vector<std::byte> host_;
  Counters counters_;
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(Precision precision)
      : precision_(precision), name_(precision == Precision::bf16 ? "cuda" : "cuda-fp32") {}

  std::string_view name() const override { return name_; }

  std::unique_ptr<Session> open(const UnitShape& shape, std::span<const UnitWeights> layers, int) override {
    validate(shape);
    if (layers.empty())
      throw InputError("backend " + name_, "weights of at least one layer", "a timing-only session");
    if (const std::string problem = why_not(precision_, shape); !problem.empty())
      throw InputError("backend " + name_ + ": " + problem);
    return std::make_unique<CudaSession>(name_, precision_, shape, layers);
  }

 private:
  Precision precision_;
  std::string name_;
};

}  // namespace

std::string why_no_cuda() {
  return cuda::device_problem();
}

std::unique_ptr<Backend> make_cuda_backend(bool plain) {
  if (const std::string& problem = cuda::device_problem(); !problem.empty())
    throw InputError("backend cuda: " + problem);
  return std::make_unique<CudaBackend>(plain ? cuda::Precision::fp32 : cuda::Precision::bf16);
}

}  // namespace lawcat

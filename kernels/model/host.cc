// SPDX-License-Identifier: Apache-2.0
// Host `cuda`: the runner that a program drives, from token ids in host memory to logits in host memory.
#include <cuda_bf16.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/io/interrupt.h"
#include "kernels/cuda_model.h"
#include "kernels/dense/dense.h"
#include "kernels/model/sequences.h"

namespace lawcat {
namespace {

using namespace cuda;

constexpr int kBlockTokens = 8192;  // bounds working memory: 1.1 GB for a 7B model, 0.7 GB of it the MLP's
constexpr int kLogitRows = 256;     // logits leave the GPU in pieces of so many rows
constexpr std::int64_t kFirstCapacity = 1024;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class CudaRunner final : public ModelRunner {
 public:
  CudaRunner(std::shared_ptr<const CudaModel> model, Attention attention, std::unique_ptr<Session> unit)
      : ModelRunner(model->config()),
        model_(std::move(model)),
        unit_(std::move(unit)),
        sequences_(*model_, {.attention = attention,
                             .sequences = 1,
                             .max_tokens = kFirstCapacity,
                             .block_tokens = kBlockTokens,
                             .time_unit = model_->config().lawcat && !unit_}),
        work_(sequences_.impl()) {}

  Session* unit() override { return unit_.get(); }
  Counters counters() override { return unit_ ? unit_->counters() : counters_; }

 private:
  std::vector<float> feed(std::span<const int> tokens, int last, std::optional<int> block_tokens) override {
    const double start = now();
    const double unit_before = unit_seconds_;
    const std::int64_t count = std::ssize(tokens);
    if (const std::int64_t end = position_ + count; !config().lawcat && end > work_.capacity)
      work_.grow(std::max(end, 2 * work_.capacity), stream_.get());
    const auto vocab = static_cast<std::size_t>(config().vocab_size);
    std::vector<float> logits(static_cast<std::size_t>(last) * vocab);
    ids_.reserve(tokens.size_bytes());
    if (!tokens.empty())
      check(cudaMemcpyAsync(ids_.data(), tokens.data(), tokens.size_bytes(), cudaMemcpyHostToDevice,
                            stream_.get()),
            "tokens to the GPU");
    if (count == 1 && !unit_) {
      check_interrupt();
      check(cudaMemcpyAsync(sequences_.next_tokens(), ids_.data(), sizeof(int), cudaMemcpyDeviceToDevice,
                            stream_.get()),
            "token");
      sequences_.decode_graph(stream_.get());
      if (last == 1) read_logits(sequences_.logits(), logits);
    } else {
      feed_blocks(count, last, std::min(block_tokens.value_or(kBlockTokens), kBlockTokens), logits);
    }
    stream_.wait();
    if (config().lawcat && !unit_) {
      const double seconds = sequences_.attention_seconds();
      unit_seconds_ += seconds;
      counters_.add("cuda.kernel_time", "microseconds", seconds * 1e6);
    }
    position_ += count;
    host_seconds_ += now() - start - (unit_seconds_ - unit_before);
    return logits;
  }

  void feed_blocks(std::int64_t count, int last, int block, std::vector<float>& logits) {
    const auto vocab = static_cast<std::size_t>(config().vocab_size);
    const auto attend = [this](int layer, const Rows& rows, cudaStream_t stream) {
      return unit_ ? attend_in_session(layer, rows) : work_.attend(layer, rows, stream);
    };
    for (std::int64_t begin = 0; begin < count; begin += block) {
      check_interrupt();
      const Rows rows{.count = static_cast<int>(std::min<std::int64_t>(block, count - begin))};
      work_.run(ids_.as<int>() + begin, rows, attend, stream_.get());
      work_.advance(0, rows.count, stream_.get());

      // Rows of this block that are among the last of the input.
      const std::int64_t end = begin + rows.count;
      for (std::int64_t from = std::max(begin, count - last); from < end; from += kLogitRows) {
        const int some = static_cast<int>(std::min<std::int64_t>(kLogitRows, end - from));
        logits_.reserve(static_cast<std::size_t>(some) * vocab * sizeof(float));
        work_.head(work_.x.as<float>() + (from - begin) * config().hidden_size, some, logits_.as<float>(),
                   stream_.get());
        read_logits(logits_.as<float>(),
                    std::span(logits).subspan(static_cast<std::size_t>(from - (count - last)) * vocab,
                                              static_cast<std::size_t>(some) * vocab));
      }
    }
  }

  void read_logits(const float* from, std::span<float> to) {
    check(cudaMemcpyAsync(to.data(), from, to.size_bytes(), cudaMemcpyDeviceToHost, stream_.get()),
          "logits from the GPU");
  }

  /// The layer's attention in the backend's session: q, k, v and gates out, o in.
  const __nv_bfloat16* attend_in_session(int layer, const Rows& rows) {
    const Widths& w = work_.model.widths;
    cudaStream_t const stream = stream_.get();
    const auto* const qkv = work_.qkv.as<__nv_bfloat16>();
    const struct {
      const __nv_bfloat16* from;
      int stride, width;
      const float* bias;
    } parts[] = {{qkv, w.qkv(), w.q, nullptr},
                 {qkv + w.q, w.qkv(), w.kv, nullptr},
                 {qkv + w.q + w.kv, w.qkv(), w.kv, nullptr},
                 {work_.gates.as<__nv_bfloat16>(), w.gates, w.gates,
                  work_.model.layers.at(static_cast<std::size_t>(layer)).gate_bias.as<float>()}};
    const auto count = static_cast<std::size_t>(rows.count);
    const std::size_t inputs = count * static_cast<std::size_t>(w.q + 2 * w.kv + w.gates);
    const std::size_t outputs = count * static_cast<std::size_t>(w.q);
    job_.reserve(inputs * sizeof(float));
    host_.resize(inputs);
    output_.resize(outputs);
    std::span<const float> spans[4];
    std::size_t at = 0;
    for (int i = 0; i < 4; ++i) {
      check(to_fp32(parts[i].from, parts[i].stride, rows.count, parts[i].width, parts[i].bias,
                    job_.as<float>() + at, parts[i].width, stream),
            "conversion");
      spans[i] = std::span<const float>(host_).subspan(at, count * static_cast<std::size_t>(parts[i].width));
      at += spans[i].size();
    }
    check(cudaMemcpyAsync(host_.data(), job_.data(), inputs * sizeof(float), cudaMemcpyDeviceToHost, stream),
          "job from the GPU");
    stream_.wait();
    const double start = now();
    unit_->run({.layer = layer,
                .tokens = rows.count,
                .q = spans[0],
                .k = spans[1],
                .v = spans[2],
                .gk = spans[3],
                .o = output_});
    unit_seconds_ += now() - start;
    check(
        cudaMemcpyAsync(job_.data(), output_.data(), outputs * sizeof(float), cudaMemcpyHostToDevice, stream),
        "output to the GPU");
    auto* const o = work_.o.as<__nv_bfloat16>();
    check(to_bf16(job_.as<float>(), w.q, rows.count, w.q, o, w.q, stream), "conversion");
    return o;
  }

  std::shared_ptr<const CudaModel> model_;  // shared with the host, which may go first
  std::unique_ptr<Session> unit_;
  Stream stream_;
  CudaSequences sequences_;
  CudaSequences::Impl& work_;
  DeviceBuffer ids_, logits_, job_;
  std::vector<float> host_, output_;
  Counters counters_;
};

class CudaHost final : public ModelHost {
 public:
  CudaHost(const Model& model, bool plain_unit)
      : model_(std::make_shared<CudaModel>(model)), attention_(choose(model.config(), plain_unit)) {}

  std::string description() const override {
    int device = 0;
    cudaDeviceProp properties{};
    int driver = 0;
    check(cudaGetDevice(&device), "device");
    check(cudaGetDeviceProperties(&properties, device), "device");
    check(cudaDriverGetVersion(&driver), "driver");
    return fmt::format("cuda: this machine's {}, driver for CUDA {}.{}", properties.name, driver / 1000,
                       driver % 1000 / 10);
  }

  std::unique_ptr<ModelRunner> open(std::unique_ptr<Session> unit) override {
    if (!model_->config().lawcat && unit)
      throw InputError("model " + model_->config().name, "no unit for softmax attention", "one");
    return std::make_unique<CudaRunner>(model_, attention_, std::move(unit));
  }

 private:
  static Attention choose(const ModelConfig& config, bool plain_unit) {
    if (!config.lawcat) return Attention::softmax;
    return plain_unit || !why_not(Attention::unit, config).empty() ? Attention::unit_fp32 : Attention::unit;
  }

  std::shared_ptr<const CudaModel> model_;
  Attention attention_;
};

}  // namespace

std::unique_ptr<ModelHost> make_cuda_host(const Model& model, bool plain_unit) {
  return std::make_unique<CudaHost>(model, plain_unit);
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The plan of what to measure, and carrying it out.
#include "kernels/measure/measure.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/io/interrupt.h"
#include "kernels/measure/model_work.h"
#include "kernels/measure/nvml.h"
#include "kernels/measure/unit_work.h"

namespace lawcat {
namespace {

using namespace cuda;
using Measurement = GpuReference::Measurement;

// The unit first.
constexpr std::array kAttentions = {Attention::unit, Attention::softmax, Attention::torch_cudnn,
                                    Attention::torch_flash};
constexpr double kIdleS = 2;
constexpr double kBatchS = 1e-3;  // calls that are launched as one

Attention attention_of(const std::string& name) {
  return *std::find_if(kAttentions.begin(), kAttentions.end(),
                       [&name](Attention attention) { return name_of(attention) == name; });
}

UnitShape shape_of(const ModelConfig& config) {
  return {config.heads, config.kv_heads, config.head_dim, config.lawcat->feature_dim};
}

/// The network that the attention belongs to.
ModelConfig with_attention(ModelConfig config, Attention attention) {
  if (attention != Attention::unit) config.lawcat.reset();
  return config;
}

std::string words(const Measurement& m) {
  return fmt::format(
      "{} {}{}, {} tokens, batch {}",
      m.is_unit() ? fmt::format("unit {}/{}x{}", m.shape.heads, m.shape.kv_heads, m.shape.head_dim) : m.model,
      m.operation, m.is_unit() ? "" : ", " + m.attention, m.tokens, m.batch);
}

std::string words(const cudaUUID_t& uuid) {
  std::string text;
  for (const char byte : uuid.bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

std::string version(int number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 16> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d", &utc);
  return text.data();
}

int attribute(cudaDeviceAttr which) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, 0), "device attribute");
  return value;
}

/// Everything of the file but the measurements.
GpuReference facts(const MeasureRequest& request, const std::string& commit, const Nvml& nvml,
                   cudaStream_t stream) {
  GpuReference r;
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "device properties");
  r.device = properties.name;
  r.uuid = words(properties.uuid);
  int number = 0;
  check(cudaRuntimeGetVersion(&number), "CUDA version");
  r.cuda = version(number);
  check(cudaDriverGetVersion(&number), "driver version");
  r.driver = nvml.driver().value_or(fmt::format("of CUDA {}", version(number)));
  r.date = today();
  r.commit = commit;
  r.sms = attribute(cudaDevAttrMultiProcessorCount);
  r.l2_bytes = attribute(cudaDevAttrL2CacheSize);
  r.gates = request.gates;
  // Before the first work: a GPU that has just been busy takes its time to calm down.
  if (request.energy_seconds <= 0)
    r.energy_reason = "it was not asked for";
  else if (!nvml.problem().empty())
    r.energy_reason = nvml.problem();
  else
    r.idle_power_w = idle_power(nvml, kIdleS);
  r.copy_bytes_per_s = copy_bandwidth(stream);
  return r;
}

void require_same(const GpuReference& kept, const GpuReference& now) {
  const std::pair<const char*, std::string GpuReference::*> texts[] = {
      {"device", &GpuReference::device}, {"uuid", &GpuReference::uuid},     {"driver", &GpuReference::driver},
      {"cuda", &GpuReference::cuda},     {"commit", &GpuReference::commit}, {"gates", &GpuReference::gates}};
  for (const auto& [key, text] : texts)
    if (kept.*text != now.*text)
      throw InputError(fmt::format("the measurements to be kept: {}", key), now.*text, kept.*text);
}

/// Runs one call of the plan after another; keeps the network that the last one used.
class Measurer {
 public:
  Measurer(const MeasureRequest& request, const Nvml& nvml, bool metered, const Stream& stream)
      : request_(request), nvml_(nvml), metered_(metered), stream_(stream.get()) {}

  void run(Measurement& m) {
    if (m.is_unit()) {
      model_.reset();
      UnitWork unit(m.shape, m.is_prefill(), m.tokens, m.batch, parse_gate_regime(request_.gates),
                    2 * static_cast<std::size_t>(attribute(cudaDevAttrL2CacheSize)), stream_);
      unit.check_outputs(stream_);
      time(unit.work(), m);
      return;
    }
    const ModelConfig& named =
        *std::find_if(request_.models.begin(), request_.models.end(),
                      [&m](const ModelConfig& config) { return config.name == m.model; });
    const Attention attention = attention_of(m.attention);
    const ModelConfig config = with_attention(named, attention);
    if (!model_ || model_->config().name != config.name ||
        model_->config().lawcat.has_value() != config.lawcat.has_value()) {
      model_.reset();  // first free, then ask
      model_ = std::make_unique<CudaModel>(config, 1);
    }
    ModelWork model(*model_,
                    {.whole_model = m.operation.starts_with("model"),
                     .is_prefill = m.is_prefill(),
                     .attention = attention,
                     .tokens = m.tokens,
                     .batch = m.batch},
                    stream_);
    model.check_outputs(stream_);
    time(model.work(), m);
  }

  const std::optional<Nvml::Clocks>& clocks() const { return clocks_; }

 private:
  void time(Work work, Measurement& m) {
    const Batch batch(std::move(work), kBatchS, stream_);
    const Timing timing = time_calls(batch, request_.seconds, request_.repetitions, stream_);
    m.median_s = timing.median_s;
    m.min_s = timing.min_s;
    m.max_s = timing.max_s;
    m.repetitions = timing.repetitions;
    m.method = timing.method;
    // Queued work keeps the GPU at its working clock while the driver is asked.
    batch.launch(stream_);
    if (const auto now = nvml_.clocks(); now && (!clocks_ || now->sm_hz > clocks_->sm_hz)) clocks_ = now;
    check(cudaStreamSynchronize(stream_), "measured calls");
    if (!metered_) return;
    const Energy energy = energy_of_call(batch, nvml_, request_.energy_seconds, stream_);
    m.energy_j = energy.joules;
    m.metered_s = energy.seconds;
  }

  const MeasureRequest& request_;
  const Nvml& nvml_;
  bool metered_;
  cudaStream_t stream_;
  std::unique_ptr<CudaModel> model_;
  std::optional<Nvml::Clocks> clocks_;
};

}  // namespace

std::string gpu_name() {
  if (!device_problem().empty()) return "";
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "device properties");
  return properties.name;
}

std::vector<std::string> attention_names() {
  std::vector<std::string> names;
  for (const Attention attention : kAttentions) names.emplace_back(name_of(attention));
  return names;
}

std::vector<Measurement> plan(const MeasureRequest& request) {
  std::vector<Measurement> calls;
  const auto add = [&calls](Measurement call) {
    const auto same = [&call](const Measurement& other) { return call.same_call(other); };
    if (std::none_of(calls.begin(), calls.end(), same)) calls.push_back(std::move(call));
  };
  const std::vector<std::string> known = attention_names();
  for (const std::string& name : request.attentions)
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw InputError("gpu: attention", fmt::format("some of {}", fmt::join(known, ", ")), name);
  for (const ModelConfig& config : request.models) {
    if (!config.lawcat)
      throw InputError("gpu: model " + config.name, "a LAWCAT model", "one with softmax attention");
    const UnitShape shape = shape_of(config);
    if (const std::string problem = why_not(Precision::bf16, shape); !problem.empty())
      throw InputError(fmt::format("gpu: model {}: {}", config.name, problem));
    if (request.unit) {
      Measurement call{.shape = shape, .operation = "prefill", .model = ""};
      for (const int tokens : request.tokens) {
        call.tokens = tokens;
        add(call);
      }
      call.operation = "decode";
      call.tokens = kDecodeContext;
      for (const int batch : request.decode_batches) {
        call.batch = batch;
        add(call);
      }
    }
    for (const Attention attention : kAttentions) {
      const bool unit = attention == Attention::unit;
      if (std::find(request.attentions.begin(), request.attentions.end(), name_of(attention)) ==
          request.attentions.end())
        continue;
      for (const char* part : {"layer", "model"}) {
        if (!(part == std::string_view("layer") ? request.layer : request.model)) continue;
        Measurement call{.shape = shape,
                         .operation = fmt::format("{}_prefill", part),
                         .model = config.name,
                         .attention = name_of(attention)};
        for (const int tokens : request.tokens) {
          call.tokens = tokens;
          add(call);
        }
        call.operation = fmt::format("{}_decode", part);
        // A step's cost with the unit depends on the sequences, with softmax attention on what they hold.
        if (unit) call.tokens = kDecodeContext;
        for (const int amount : unit ? request.decode_batches : request.tokens) {
          (unit ? call.batch : call.tokens) = amount;
          add(call);
        }
      }
    }
  }
  return calls;
}

GpuReference measure(const MeasureRequest& request, const std::string& commit, const GpuReference* kept,
                     const MeasureObserver& observer) {
  std::vector<Measurement> calls = plan(request);
  if (!device_problem().empty()) throw InputError("gpu: " + device_problem());
  const Stream stream;
  const Nvml nvml;
  GpuReference reference = facts(request, commit, nvml, stream.get());
  const bool metered = reference.idle_power_w.has_value();
  if (kept) {
    require_same(*kept, reference);
    reference.measurements = kept->measurements;
    reference.peers = kept->peers;
    reference.clocks = kept->clocks;
    if (!metered && kept->idle_power_w) {
      reference.idle_power_w = kept->idle_power_w;
      reference.energy_reason.clear();
    }
  }
  Measurer measurer(request, nvml, metered, stream);
  const auto total = static_cast<std::int64_t>(calls.size());
  for (std::int64_t done = 0; done < total; ++done) {
    check_interrupt();
    Measurement& m = calls[static_cast<std::size_t>(done)];
    const std::string what = words(m);
    observer.progress(what, done, total);
    if (!m.is_unit()) {
      const Attention attention = attention_of(m.attention);
      const auto named = std::find_if(request.models.begin(), request.models.end(),
                                      [&m](const ModelConfig& config) { return config.name == m.model; });
      if (const std::string problem = why_not(attention, with_attention(*named, attention));
          !problem.empty()) {
        observer.left_out(what, problem);
        continue;
      }
    }
    try {
      measurer.run(m);
    } catch (const std::bad_alloc&) {
      observer.left_out(what, "the GPU has no room for it");
      continue;
    }
    if (measurer.clocks()) reference.clocks = {measurer.clocks()->sm_hz, measurer.clocks()->memory_hz};
    reference.put(m);
    observer.measured(reference);
  }
  return reference;
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// What all hosts ask of their inputs, and the CPU as a host.
#include "hostlib/model/runner.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "hostlib/model/session.h"

namespace lawcat {
namespace {

class CpuHost final : public ModelHost {
 public:
  explicit CpuHost(const Model& model) : model_(&model) {}

  std::string description() const override {
    const std::string processor = field_of("/proc/cpuinfo", "model name");
    return fmt::format("this machine: {}, {} threads", processor.empty() ? "unnamed processor" : processor,
                       omp_get_max_threads());
  }

  std::unique_ptr<ModelRunner> open(std::unique_ptr<Session> unit) override {
    return std::make_unique<ModelSession>(*model_, std::move(unit));
  }

 private:
  const Model* model_;
};

}  // namespace

std::vector<float> ModelRunner::forward(std::span<const int> tokens, int last,
                                        std::optional<int> block_tokens) {
  const std::int64_t count = std::ssize(tokens);
  if (last < 0 || last > count)
    throw InputError("logits asked for", fmt::format("0 to {} tokens", count), fmt::format("{}", last));
  if (block_tokens && *block_tokens < 1)
    throw InputError("block_tokens", "at least 1", fmt::format("{}", *block_tokens));
  const int vocab = config().vocab_size;
  const auto bad = std::find_if(tokens.begin(), tokens.end(), [&](int id) { return id < 0 || id >= vocab; });
  if (bad != tokens.end())
    throw InputError(fmt::format("token {} of the input", bad - tokens.begin()),
                     fmt::format("an id below {}", vocab), fmt::format("{}", *bad));
  std::vector<float> logits = feed(tokens, last, block_tokens);
  const auto odd = std::find_if_not(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); });
  if (odd != logits.end())
    throw InputError(fmt::format("model {}: logits of row {}", config().name, (odd - logits.begin()) / vocab),
                     "finite numbers, as of sound weights", fmt::format("{}", *odd));
  return logits;
}

std::unique_ptr<ModelHost> make_cpu_host(const Model& model) {
  return std::make_unique<CpuHost>(model);
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// What would be measured, and (on a GPU) that measuring gives a whole file.
#include "kernels/measure/measure.h"

#include <gmock/gmock.h>

#include "kernels/measure/nvml.h"
#include "kernels/measure/timing.h"
#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using testing::ElementsAre;

ModelConfig shipped(const std::string& name) {
  return load_config(find_model(name));
}

MeasureRequest small_request() {
  return {.models = {shipped("passkey-tiny")},
          .tokens = {128, 300},
          .decode_batches = {1, 4},
          .seconds = 0.02,
          .repetitions = 3,
          .energy_seconds = 0};
}

std::vector<std::string> words(const std::vector<GpuReference::Measurement>& calls) {
  std::vector<std::string> list;
  for (const GpuReference::Measurement& m : calls)
    list.push_back(m.operation + " " + m.attention + " " + std::to_string(m.tokens) + " x " +
                   std::to_string(m.batch));
  return list;
}

TEST(Plan, OfTheUnitIsPrefillByLengthAndDecodeByBatch) {
  EXPECT_THAT(words(plan(small_request())), ElementsAre("prefill unit 128 x 1", "prefill unit 300 x 1",
                                                        "decode unit 256 x 1", "decode unit 256 x 4"));
}

TEST(Plan, SoftmaxAttentionDecodesAfterEachLength) {
  MeasureRequest request = small_request();
  request.unit = false;
  request.model = true;
  request.attentions = attention_names();
  const std::vector<std::string> list = words(plan(request));
  EXPECT_EQ(list.size(), 16u);  // four forms of attention, four calls each
  EXPECT_THAT(list,
              testing::IsSupersetOf({"model_prefill unit 300 x 1", "model_decode unit 256 x 4",
                                     "model_decode softmax 128 x 1", "model_decode torch-flash 300 x 1"}));
}

TEST(Plan, HasOnlyTheAttentionsAskedFor) {
  MeasureRequest request = small_request();
  request.unit = false;
  request.layer = true;
  request.tokens = {128};
  request.attentions = {"torch-cudnn", "torch-flash"};
  EXPECT_THAT(words(plan(request)),
              ElementsAre("layer_prefill torch-cudnn 128 x 1", "layer_decode torch-cudnn 128 x 1",
                          "layer_prefill torch-flash 128 x 1", "layer_decode torch-flash 128 x 1"));
}

TEST(Plan, RefusesAnAttentionThatNobodyKnows) {
  MeasureRequest request = small_request();
  request.attentions = {"unit", "flash"};
  test::expect_input_error([&] { plan(request); },
                           "attention: expected some of unit, softmax, torch-cudnn, torch-flash, got flash");
}

TEST(Plan, ModelsOfOneShapeShareTheUnitsCalls) {
  MeasureRequest request = small_request();
  request.models.push_back(shipped("passkey-plain"));
  EXPECT_EQ(plan(request).size(), 4u);
}

TEST(Plan, RefusesSoftmaxModels) {
  MeasureRequest request = small_request();
  request.models = {shipped("passkey-tiny-teacher")};
  test::expect_input_error([&] { plan(request); }, "passkey-tiny-teacher: expected a LAWCAT model");
}

TEST(Median, OfAnEvenNumberIsTheMeanOfTheMiddleTwo) {
  EXPECT_EQ(cuda::median({5}), 5);
  EXPECT_EQ(cuda::median({9, 1, 5}), 5);
  EXPECT_EQ(cuda::median({4, 1, 8, 2}), 3);
}

TEST(Measure, WithoutAGpuIsRefusedInWords) {
  const std::string& problem = cuda::device_problem();
  if (problem.empty()) GTEST_SKIP() << "this machine has a GPU";
  test::expect_input_error([] { measure(small_request(), "c", nullptr, {}); }, "gpu: " + problem);
  EXPECT_EQ(gpu_name(), "");
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    EXPECT_FALSE(cuda::Nvml().problem().empty());
  }
}

class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::device_problem().empty()) GTEST_SKIP() << cuda::device_problem();
  }
  GpuReference run(const MeasureRequest& request, const GpuReference* kept = nullptr) {
    return measure(
        request, "c", kept,
        {.progress = [](std::string_view, std::int64_t, std::int64_t) {},
         .measured = [this](const GpuReference&) { ++files_; },
         .left_out = [this](const std::string& what, const std::string&) { left_out_.push_back(what); }});
  }
  int files_ = 0;
  std::vector<std::string> left_out_;
};

TEST_F(OnGpu, EveryCallOfThePlanIsInAFileThatCanBeReadAgain) {
  MeasureRequest request = small_request();
  request.layer = request.model = true;
  request.attentions = attention_names();
  const GpuReference reference = run(request);
  EXPECT_EQ(reference.measurements.size() + left_out_.size(), plan(request).size());
  EXPECT_EQ(static_cast<std::size_t>(files_), reference.measurements.size());
  const test::TemporaryFolder folder;
  EXPECT_EQ(load_gpu_reference(folder.add("gpu.json", to_json(reference))), reference);
  EXPECT_GT(reference.copy_bytes_per_s, 1e11);
}

TEST_F(OnGpu, KeepsWhatAnEarlierRunMeasured) {
  MeasureRequest request = small_request();
  const GpuReference first = run(request);
  request.tokens = {64};
  const GpuReference second = run(request, &first);
  EXPECT_EQ(second.measurements.size(), first.measurements.size() + 1);
  GpuReference other = first;
  other.device = "another GPU";
  test::expect_input_error([&] { run(request, &other); }, "device: expected");
}

TEST_F(OnGpu, TheMeterAddsUpOrSaysWhyNot) {
  const cuda::Nvml nvml;
  if (!nvml.problem().empty()) GTEST_SKIP() << nvml.problem();
  const double watts = cuda::idle_power(nvml, 0.5);
  EXPECT_GT(watts, 1);
  EXPECT_LT(watts, 2000);
}

// The same copies one by one and many as one: the same joules a call, not the joules of a launch. Within a
// factor, since the meter is the card's: what others do there meanwhile counts, too.
TEST_F(OnGpu, EnergyOfACallDoesNotDependOnHowManyAreLaunchedAsOne) {
  const cuda::Nvml nvml;
  if (!nvml.problem().empty()) GTEST_SKIP() << nvml.problem();
  const cuda::Stream stream;
  constexpr std::size_t kBytes = 64 << 20;
  const cuda::DeviceBuffer from(kBytes), to(kBytes);
  const cuda::Work copy{
      .call =
          [&](int, cudaStream_t on) {
            cuda::check(cudaMemcpyAsync(to.data(), from.data(), kBytes, cudaMemcpyDeviceToDevice, on),
                        "copy");
          },
      .sets = 1};
  const cuda::Batch few(copy, 0, stream.get()), many(copy, 5e-3, stream.get());
  ASSERT_GT(many.calls(), 8 * few.calls());
  cuda::energy_of_call(many, nvml, 0.5,
                       stream.get());  // warm: the clock's rise is not the batches' difference
  const cuda::Energy a = cuda::energy_of_call(few, nvml, 1, stream.get());
  const cuda::Energy b = cuda::energy_of_call(many, nvml, 1, stream.get());
  EXPECT_GT(a.joules / b.joules, 0.25);
  EXPECT_LT(a.joules / b.joules, 4);
  for (const cuda::Energy& energy : {a, b}) {
    EXPECT_GT(energy.joules / energy.seconds, 1);
    EXPECT_LT(energy.joules / energy.seconds, 1000);
  }
}

}  // namespace
}  // namespace lawcat

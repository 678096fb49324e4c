// SPDX-License-Identifier: Apache-2.0
// GPU reference files: what is written is read again, mistakes are named, figures are found, and the table.
#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "hostlib/report/gpu_reference.h"
#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

constexpr UnitShape kShape{32, 8, 64, 32};

GpuReference::Measurement call(const std::string& operation, int tokens, double seconds, int batch = 1) {
  return {.shape = kShape,
          .operation = operation,
          .model = "",
          .tokens = tokens,
          .batch = batch,
          .median_s = seconds,
          .min_s = seconds / 2,
          .max_s = 2 * seconds,
          .repetitions = 30,
          .energy_j = 100 * seconds};
}

/// One of everything that a file can hold.
GpuReference example() {
  GpuReference r;
  r.device = "GPU of a test";
  r.uuid = "00112233445566778899aabbccddeeff";
  r.driver = "1.2.3";
  r.cuda = "13.0";
  r.date = "2026-01-02";
  r.commit = "abc";
  r.sms = 132;
  r.l2_bytes = 50 << 20;
  r.copy_bytes_per_s = 4e12;
  r.idle_power_w = 75;
  r.clocks = {1.98e9, 2.6e9};
  r.measurements = {call("prefill", 1024, 1e-5), call("prefill", 4096, 4e-5), call("prefill", 16384, 16e-5),
                    call("decode", 256, 3e-6), call("decode", 256, 6e-6, 8)};
  r.measurements[0].metered_s = 2e-5;
  GpuReference::Measurement model = call("model_prefill", 1024, 1e-2);
  model.model = "llama3.2-1b";
  model.method = "stream";
  r.measurements.push_back(model);
  model.attention = "softmax";
  model.median_s = model.max_s = 3e-2;
  model.energy_j.reset();
  r.measurements.push_back(model);
  GpuReference::Peers peers;
  peers.software = {{"torch", "2.11"}};
  for (const auto& [tokens, seconds] :
       {std::pair(1024, 5e-6), std::pair(4096, 8e-5), std::pair(16384, 1e-3)}) {
    GpuReference::Measurement timing = call("prefill", tokens, seconds);
    timing.energy_j.reset();
    peers.timings.push_back({"softmax_flash", timing});
  }
  peers.accuracy = {{"gla_chain", "spiky", kShape, 1500, 4e-3, 5e-3}};
  peers.missing = {{"softmax_cudnn", "not in this PyTorch"}};
  r.peers = peers;
  return r;
}

class GpuFile : public testing::Test {
 protected:
  GpuReference load(const json& content) {
    return load_gpu_reference(folder_.add("gpu.json", content.dump()));
  }
  /// The example with one change is refused with a sentence that has `part`.
  void refused(const std::function<void(json&)>& change, const std::string& part) {
    json content = json::parse(to_json(example()));
    change(content);
    test::expect_input_error([&] { load(content); }, part);
  }
  test::TemporaryFolder folder_;
};

TEST_F(GpuFile, ReadingWhatWasWrittenGivesTheSame) {
  GpuReference reference = example();
  EXPECT_EQ(load_gpu_reference(folder_.add("a.json", to_json(reference))), reference);
  reference.idle_power_w.reset();
  reference.energy_reason = "no meter";
  reference.clocks.reset();
  reference.peers.reset();
  reference.uuid.clear();
  for (GpuReference::Measurement& m : reference.measurements) {
    m.energy_j.reset();
    m.metered_s.reset();
  }
  EXPECT_EQ(load_gpu_reference(folder_.add("b.json", to_json(reference))), reference);
}

TEST_F(GpuFile, MistakesAreNamed) {
  const auto first = [](const char* key, const json& value) {
    return [=](json& file) { file["measurements"][0][key] = value; };
  };
  refused([](json& file) { file["measurements"] = json::array(); },
          "measurements: expected an array of at least one measurement");
  refused([](json& file) { file["schema"] = "lawcat-gpu/2"; },
          "schema: expected lawcat-gpu/1, got lawcat-gpu/2");
  refused([](json& file) { file["idle_power"] = 1; }, "idle_power: expected one of the keys");
  refused([](json& file) { file["energy_reason"] = "none"; },
          "either idle_power_w or energy_reason, got both");
  refused([](json& file) { file.erase("idle_power_w"); },
          "either idle_power_w or energy_reason, got neither");
  refused(
      [](json& file) {
        file.erase("idle_power_w");
        file["energy_reason"] = "no meter";
      },
      "measurements[0].energy_j: expected no energy where energy_reason says why");
  refused([](json& file) { file["gates"] = "wide"; }, "gates: expected plain or long or spiky, got wide");
  refused([](json& file) { file["clocks"].erase("sm_hz"); }, "clocks.sm_hz: expected this key");
  refused(first("operation", "dream"),
          "measurements[0].operation: expected prefill or decode or layer_prefill");
  refused(first("median_s", 1e-9), "measurements[0].median_s: expected a number from");
  refused(first("speed", 1), "measurements[0].speed: expected one of the keys");
  refused(first("method", "guess"), "measurements[0].method: expected graph or stream, got guess");
  refused(first("batch", 2), "measurements[0].batch: expected an integer from 1 to 1");
  refused(first("attention", "softmax"), "expected unit for the unit's operations, got softmax");
  refused(first("model", "llama3.2-1b"), "measurements[0].model: expected one of the keys");
  refused(first("operation", "layer_prefill"), "measurements[0].model: expected this key");
  refused([](json& file) { file["measurements"][0].erase("energy_j"); },
          "measurements[0].metered_s: expected energy_j beside it, got none");
  refused(first("tokens", 4096), "measurements[1].operation: expected each call once");
  refused([](json& file) { file["measurements"][0].erase("max_s"); },
          "measurements[0].max_s: expected this key");
  refused([](json& file) { file["measurements"][0]["shape"]["kv_heads"] = 3; }, "kv_heads");
  refused([](json& file) { file["peers"]["timings"][0]["operation"] = "model_prefill"; },
          "peers.timings[0].operation: expected prefill or decode");
  refused([](json& file) { file["peers"]["accuracy"][0]["rel_l2_o"] = "small"; }, "rel_l2_o: expected a");
  refused([](json& file) { file["peers"]["missing"][0].erase("reason"); },
          "missing[0].reason: expected this key");
  refused([](json& file) { file["peers"]["software"]["torch"] = 2; }, "software.torch: expected a string");
}

TEST(GpuReference, AMeasurementWithin2PercentIsTakenAsItIs) {
  const GpuReference reference = example();
  const auto found = reference.find(kShape, "prefill", 4020);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->seconds, 4e-5);
  EXPECT_EQ(found->energy_j, 4e-3);
  EXPECT_EQ(found->source, "measured");
}

TEST(GpuReference, BetweenTwoMeasuredCountsThePowerLawIsFollowedAndSaidSo) {
  const GpuReference reference = example();
  // Time is proportional to tokens in the example, so the power law is exact.
  const auto found = reference.find(kShape, "prefill", 8192);
  ASSERT_TRUE(found);
  EXPECT_NEAR(found->seconds, 8e-5, 1e-12);
  ASSERT_TRUE(found->energy_j);
  EXPECT_NEAR(*found->energy_j, 8e-3, 1e-9);
  EXPECT_EQ(found->source, "interpolated for 8192 tokens between the measured 4096 and 16384");
  GpuReference without = reference;
  without.measurements[1].energy_j.reset();
  EXPECT_FALSE(without.find(kShape, "prefill", 8192)->energy_j);
}

TEST(GpuReference, OutsideOfWhatWasMeasuredThereIsNothing) {
  const GpuReference reference = example();
  EXPECT_FALSE(reference.find(kShape, "prefill", 512));
  EXPECT_FALSE(reference.find(kShape, "prefill", 20000));
  EXPECT_FALSE(reference.find({4, 2, 64, 32}, "prefill", 1024));
  EXPECT_FALSE(reference.find(kShape, "model_prefill", 1024));
}

TEST(GpuReference, DecodeIsThatOfOneSequenceAtAnyLength) {
  const auto found = example().find(kShape, "decode", 16384);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->seconds, 3e-6);
}

TEST(GpuReference, PuttingTheSameCallReplacesIt) {
  GpuReference reference = example();
  const std::size_t size = reference.measurements.size();
  reference.put(call("prefill", 4096, 1.0));
  EXPECT_EQ(reference.measurements.size(), size);
  EXPECT_EQ(reference.measurements[1].median_s, 1.0);
  reference.put(call("decode", 256, 1.0, 16));
  EXPECT_EQ(reference.measurements.size(), size + 1);
}

TEST(GpuReference, TheFloorCountsEveryInputAndOutputOnce) {
  // bf16: q and o 32 x 64, k and v 8 x 64, gk 8 x 64.
  EXPECT_EQ(call("prefill", 10, 1).floor_bytes(), 10 * 2.0 * (2 * 2048 + 3 * 512));
  // fp32, in and out: state 32 x 64 x 65 and three tails of q and k.
  EXPECT_EQ(call("decode", 256, 1, 2).floor_bytes(),
            2 * (2.0 * (2 * 2048 + 3 * 512) + 8.0 * (32 * 64 * 65 + 3 * (2048 + 512))));
}

TEST(GpuReference, TheFloorOfTheLargestShapeIsNoOverflow) {
  GpuReference::Measurement large = call("prefill", 1, 1);
  large.shape = {65536, 65536, 65536, 32768};
  EXPECT_EQ(large.floor_bytes(), 2.0 * 5 * 65536 * 65536);
}

TEST(GpuTable, ShowsTimesFloorsSharesAndPeers) {
  const std::string text = to_text(example());
  // 1024 x 11,264 bytes in 10 us are 1153 GB/s of 4000; 1 mJ in the 20 us of the metered run is 50 W.
  EXPECT_THAT(text, testing::ContainsRegex(
                        "unit +1024 +1 +10\\.00 +5\\.00 +20\\.00 +3\\.47 +1153 +28\\.8 % +1 mJ +50\\.0"));
  EXPECT_THAT(text, testing::ContainsRegex("unit +4096 .*% +4 mJ +- "));
  EXPECT_THAT(text, HasSubstr("0.50 x"));
  EXPECT_THAT(text, HasSubstr("llama3.2-1b model_prefill"));
  EXPECT_THAT(text, HasSubstr("(launched one by one)"));
  EXPECT_THAT(text, HasSubstr("against softmax: faster at every measured length from 1024 tokens"));
  EXPECT_THAT(text, HasSubstr("idle 75.0 W"));
  EXPECT_THAT(text, HasSubstr("missing: not in this PyTorch"));
  EXPECT_THAT(text, HasSubstr("relative L2 of o 4.00e-03, of the state 5.00e-03"));
}

TEST(GpuTable, TheCrossoverIsWhereThePowerLawsMeet) {
  // Ratios 0.5 at 1024 and 2 at 4096 tokens meet 1 halfway on the logarithmic scale.
  EXPECT_THAT(to_text(example()), HasSubstr("against softmax_flash: faster from about 2048 tokens on"));
  GpuReference slow = example();
  for (GpuReference::Measurement& m : slow.measurements) m.median_s = m.max_s = 1;
  EXPECT_THAT(to_text(slow), HasSubstr("against softmax_flash: not faster at 16384 tokens"));
}

TEST(GpuTable, SaysWhyThereIsNoEnergy) {
  GpuReference reference = example();
  reference.idle_power_w.reset();
  reference.energy_reason = "no meter";
  for (GpuReference::Measurement& m : reference.measurements) {
    m.energy_j.reset();
    m.metered_s.reset();
  }
  EXPECT_THAT(to_text(reference), HasSubstr("no energy: no meter"));
  EXPECT_THAT(to_text(reference), Not(HasSubstr("idle")));
}

}  // namespace
}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The platform's tile has the cycles of the Verilated one, in every stage, whatever holds its streams back.
#include <gtest/gtest.h>

#include "rtl/rtl_backend.h"
#include "sim/calibrate.h"

namespace lawcat {
namespace {

TEST(Calibrate, TheModelHasTheCyclesOfTheRtlInEveryStage) {
  const CalibrationReport report =
      calibrate({.presets = {}, .cases = 15, .seed = 2, .tokens = {3, 17}}, [](const Calibration& one) {
        EXPECT_FALSE(one.differs()) << one.given.preset << " D " << one.given.head_dim << " F "
                                    << one.given.feature_dim << ", " << to_string(one.given.hold) << ": "
                                    << one.model.cycles << " cycles, RTL " << one.rtl.cycles;
      });
  EXPECT_TRUE(report.passed());
  EXPECT_EQ(report.summary(false).cases, 3);
  EXPECT_EQ(report.summary(true).cases, 12);
}

TEST(Calibrate, AnotherMachineDiffers) {
  for (const std::string& name : rtl_presets()) {
    CalibrationReport report = calibrate({.presets = {name}, .cases = 1, .seed = 3, .tokens = {9}});
    Calibration& one = report.cases.front();
    one.model = model_cycles(load_preset(name, {"engine.stage_fifo_tokens=1"}), one.given);
    EXPECT_TRUE(one.differs());
    EXPECT_FALSE(report.passed());
  }
}

}  // namespace
}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Text forms and limits of the number formats.
#include "hostlib/numerics/format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hostlib/io/error.h"

namespace lawcat {
namespace {

TEST(FormatText, RoundTrips) {
  for (const char* text : {"s16.9", "u16.16", "s2.0", "s40.40", "u8.-8", "bfp16e8", "bfp4e4", "bfp40e10",
                           "e5m10", "e8m7", "e8m23", "ue6m11", "ue7m22"})
    EXPECT_EQ(to_string(parse_format(text, "here")), text);
}

TEST(FormatText, RefusesWhatIsNotAFormatAndSaysWhere) {
  for (const char* text : {"", "s", "s16", "s16.", "s41.0", "s1.0", "u16.41", "s16.-9", "bfp16", "bfp3e8",
                           "bfp16e11", "bfp16e8x", "e1m10", "e5m24", "e5", "f16", "s16.9 ", "S16.9"}) {
    try {
      parse_format(text, "preset x: state");
      ADD_FAILURE() << text;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), testing::StartsWith("preset x: state: expected a number format"));
      EXPECT_THAT(error.what(), testing::EndsWith("got \"" + std::string(text) + "\""));
    }
  }
}

TEST(FormatText, RoundingNamesRoundTripAndOthersAreRefused) {
  for (const char* text : {"truncate", "nearest_even", "stochastic", "error_feedback"})
    EXPECT_EQ(to_string(parse_rounding(text, "here")), text);
  EXPECT_THROW(parse_rounding("nearest", "here"), InputError);
}

TEST(FormatLimits, MantissasAndExponents) {
  const Format fixed = parse_format("s16.9", "");
  EXPECT_EQ(fixed.max_mantissa(), 32767);
  EXPECT_EQ(fixed.min_mantissa(), -32768);
  EXPECT_EQ(parse_format("u8.8", "").max_mantissa(), 255);
  const Format half = parse_format("e5m10", "");  // as IEEE binary16 below the infinities' code
  EXPECT_EQ(half.width, 16);
  EXPECT_EQ(half.precision(), 11);
  EXPECT_EQ(half.min_exponent(), -14);
  EXPECT_EQ(half.max_exponent(), 16);
  const Format probability = parse_format("ue6m11", "");
  EXPECT_EQ(probability.max_exponent(), 0);
  EXPECT_EQ(probability.min_exponent(), -62);
  EXPECT_EQ(parse_format("bfp16e8", "").min_exponent(), -128);
}

}  // namespace
}  // namespace lawcat

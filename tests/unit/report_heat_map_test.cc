// SPDX-License-Identifier: Apache-2.0
// The heat map: what it says, in which colours, and what it refuses.
#include <gmock/gmock.h>

#include <string>

#include "hostlib/io/error.h"
#include "hostlib/report/heat_map.h"

namespace lawcat {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

HeatMap two_by_two() {
  HeatMap map;
  map.title = "a < b & c";
  map.notes = {"first note", "second note"};
  map.column_title = "length";
  map.row_title = "depth";
  map.columns = {"128", "256"};
  map.rows = {"top", "bottom"};
  map.cells = {{3, 3}, {0, 3}, {1, 3}, {}};
  map.totals = {{4, 6, {0.3, 0.9}}, {0, 3, {0, 0.5615}}};
  return map;
}

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(HeatMap, SaysEveryNumberAndEscapesWords) {
  const std::string svg = to_svg(two_by_two());
  for (const char* words : {">a &lt; b &amp; c<", ">first note<", ">second note<", ">length<", ">depth<",
                            ">128<", ">256<", ">top<", ">bottom<", ">3 of 3<", ">1 of 3<", ">33.3 %<",
                            ">no prompts<", ">4 of 6<", ">30.0 to 90.0<", ">0.0 to 56.1<"})
    EXPECT_THAT(svg, HasSubstr(words));
  EXPECT_EQ(count(svg, ">0 of 3<"), 2) << "its cell and its column's total";
}

TEST(HeatMap, RunsFromDarkBlueToYellowWithInkThatContrasts) {
  const std::string svg = to_svg(two_by_two());
  EXPECT_THAT(svg, HasSubstr("fill=\"#00204d\" stroke"));
  EXPECT_THAT(svg, HasSubstr("fill=\"#ffea46\" stroke"));
  EXPECT_THAT(svg, HasSubstr("fill=\"#fff\" class=\"number\">0 %<"));
  EXPECT_THAT(svg, HasSubstr("fill=\"#000\" class=\"number\">100 %<"));
}

TEST(HeatMap, IsTheSameBytesForTheSameMapAndWellFormed) {
  const std::string svg = to_svg(two_by_two());
  EXPECT_EQ(svg, to_svg(two_by_two()));
  EXPECT_THAT(svg, testing::StartsWith("<svg xmlns="));
  EXPECT_THAT(svg, testing::EndsWith("</svg>\n"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_EQ(count(svg, "<text"), count(svg, "</text>"));
}

TEST(HeatMap, RefusesCellsThatDoNotFit) {
  HeatMap map = two_by_two();
  map.cells.pop_back();
  EXPECT_THAT(
      [&] { to_svg(map); },
      ThrowsMessage<InputError>("heat map: expected 2 x 2 cells and 2 totals, at least one, got 3 and 2"));
  EXPECT_THROW(to_svg(HeatMap{}), InputError);
}

}  // namespace
}  // namespace lawcat

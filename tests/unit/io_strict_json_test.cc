// SPDX-License-Identifier: Apache-2.0
// Strict JSON: what is read, and one sentence for each thing that is refused.
#include "hostlib/io/strict_json.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using test::expect_input_error;
using test::TemporaryFolder;

TEST(ReadJson, NamesLineAndColumnOfMalformedText) {
  const TemporaryFolder folder;
  const auto file = folder.add("bad.json", "{\n  \"a\": 1,\n  oops\n}");
  expect_input_error([&] { read_json(file); }, "bad.json", "line 3, column 3");
  expect_input_error([&] { read_json(folder.add("cut.json", "{\"a\": [1, 2")); }, "cut.json", "line 1");
  expect_input_error([&] { read_json(folder.add("empty.json", "")); }, "empty.json", "line 1");
  expect_input_error([&] { parse_json("{\"a\": 1e999}", "x"); }, "x: not valid JSON", "1e999");
}

TEST(ReadJson, RefusesDuplicateKeysAtTheirPlace) {
  expect_input_error([] { parse_json("{\"a\": {\"b\": 1},\n \"b\": 2, \"a\": 3}", "x.json"); },
                     "x.json: line 2", "\"a\" a second time");
  EXPECT_EQ(parse_json("{\"a\": {\"b\": 1}, \"c\": {\"b\": 2}, \"b\": [{\"b\": 3}, {\"b\": 4}]}", "x").size(),
            3u);
}

TEST(ReadJson, RefusesWhatTheParserWouldNotSurviveOrNotSee) {
  const auto nested = [](int levels) {
    return std::string(static_cast<std::size_t>(levels), '[') +
           std::string(static_cast<std::size_t>(levels), ']');
  };
  EXPECT_NO_THROW(parse_json(nested(60), "x"));
  for (const int levels : {70, 1000000})
    expect_input_error([&] { parse_json(nested(levels), "x"); }, "x: line 1, column",
                       "at most 64 levels of nesting");
  expect_input_error([] { parse_json(std::string_view("{}\0}", 4), "x"); },
                     "x: line 1, column 3: expected valid JSON, got a NUL byte");
}

TEST(StrictObject, ReturnsWhatItIsAskedFor) {
  const auto json = parse_json(
      R"({"text": "a", "flag": true, "count": -3, "ratio": 0.5, "inner": {"x": 1},
          "list": [1, 2], "any": null})",
      "x");
  StrictObject object(json, "x");
  EXPECT_EQ(object.get_string("text"), "a");
  EXPECT_TRUE(object.get_bool("flag"));
  EXPECT_EQ(object.get_int("count", -3, 3), -3);
  EXPECT_EQ(object.get_number("ratio", 0, 1), 0.5);
  StrictObject inner = object.get_object("inner");
  EXPECT_EQ(inner.get_int("x", 0, 1), 1);
  EXPECT_EQ(inner.place("x"), "x: inner.x");
  inner.finish();
  EXPECT_EQ(object.get_int_array("list", 1, 2), (std::vector<std::int64_t>{1, 2}));
  EXPECT_TRUE(object.get_any("any").is_null());
  object.finish();
  const auto words = parse_json(R"({"w": ["a", "b"], "none": []})", "x");
  StrictObject lists(words, "x");
  EXPECT_EQ(lists.get_string_array("w"), (std::vector<std::string>{"a", "b"}));
  expect_input_error([&] { lists.get_string_array("none"); },
                     "x: none: expected an array of strings, at least one");
}

TEST(StrictObject, RefusesAMissingKey) {
  const auto json = parse_json("{}", "x");
  StrictObject object(json, "x.json");
  EXPECT_FALSE(object.has("lanes"));
  expect_input_error([&] { object.get_int("lanes", 0, 1); }, "x.json: lanes: expected this key, got nothing");
}

TEST(StrictObject, RefusesAnUnknownKeyAndNamesTheKnownOnes) {
  const auto json = parse_json(R"({"a": 1, "b": 2, "typo": 3})", "x");
  StrictObject object(json, "x.json: engine");
  object.get_int("a", 0, 9);
  object.get_int("b", 0, 9);
  expect_input_error([&] { object.finish(); }, "x.json: engine.typo", "a, b");
  object.get_int("typo", 0, 9);
  EXPECT_NO_THROW(object.finish());
}

TEST(StrictObject, RefusesAMistypedValue) {
  const auto json = parse_json(R"({"v": [1], "n": 1, "f": 1.5, "s": "7"})", "x");
  StrictObject object(json, "x");
  expect_input_error([&] { object.get_string("n"); }, "x: n: expected a string, got 1");
  expect_input_error([&] { object.get_bool("n"); }, "x: n: expected true or false, got 1");
  expect_input_error([&] { object.get_int("f", 0, 9); }, "x: f: expected an integer", "got 1.5");
  expect_input_error([&] { object.get_int("s", 0, 9); }, "got \"7\"");
  expect_input_error([&] { object.get_number("s", 0, 9); }, "a number from 0 to 9");
  expect_input_error([&] { object.get_object("v"); }, "x: v: expected an object, got [1]");
  expect_input_error([&] { object.get_int_array("n", 0, 9); }, "an array of integers");
  expect_input_error([&] { object.get_string_array("n"); },
                     "x: n: expected an array of strings, at least one");
  expect_input_error([&] { object.get_string_array("v"); }, "x: v[0]: expected a string, got 1");
  const auto list = parse_json("[]", "x");
  expect_input_error([&] { StrictObject(list, "x.json"); }, "x.json: expected an object, got []");
}

TEST(StrictObject, RefusesAValueOutOfRange) {
  const auto json = parse_json(R"({"n": 10, "huge": 18446744073709551615, "list": [1, 10]})", "x");
  StrictObject object(json, "x");
  expect_input_error([&] { object.get_int("n", 1, 9); }, "an integer from 1 to 9, got 10");
  expect_input_error([&] { object.get_number("n", 1, 9.5); }, "a number from 1 to 9.5, got 10");
  expect_input_error([&] { object.get_int("huge", 0, std::numeric_limits<std::int64_t>::max()); },
                     "got 18446744073709551615");
  expect_input_error([&] { object.get_int_array("list", 1, 9); }, "x: list[1]");
}

}  // namespace
}  // namespace lawcat

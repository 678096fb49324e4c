// SPDX-License-Identifier: Apache-2.0
// The report's three forms and the timeline.
#include <gmock/gmock.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "hostlib/report/quantity.h"
#include "hostlib/report/report.h"
#include "hostlib/report/timeline.h"

namespace lawcat {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

/// Every null has its reason beside it, at any depth.
void expect_reasons(const json& value, const std::string& place) {
  if (value.is_object()) {
    for (const auto& [key, element] : value.items()) {
      if (element.is_null()) {
        ASSERT_TRUE(value.contains(key + "_reason")) << place << "." << key;
        EXPECT_FALSE(value[key + "_reason"].get<std::string>().empty()) << place << "." << key;
      }
      expect_reasons(element, place + "." + key);
    }
  } else if (value.is_array()) {
    for (const json& element : value) expect_reasons(element, place + "[]");
  }
}

Report empty_report() {
  Report report;
  report.answer.reason = report.energy.accelerator_reason = report.numerics.reason =
      report.numerics.saturations_reason = report.verification.detail =
          report.provenance.gpu_reference_reason = "none was asked for";
  return report;
}

Report full_report() {
  Report report = empty_report();
  report.trace = "t<1>";
  report.answer = {.expected = "12345", .got = "1 2 3 4 5", .correct = true, .reason = ""};
  report.latency.accelerator_cycles = 8e6;
  report.latency.accelerator_s = 0.01;
  report.latency.host_s = 0.5;
  report.latency.host_s_source = "measured";
  report.latency.end_to_end_s = 0.51;
  report.energy.accelerator_j = EnergyRange{1e-3, 2e-3, 4e-3};
  report.energy.by_component_j = {{"dram", {1e-4, 5e-4, 1e-3}}, {"state_update", {9e-4, 1.5e-3, 3e-3}}};
  report.numerics.against = "reference";
  ErrorMeter meter;
  meter.add(std::vector<float>{3, 4}, std::vector<float>{3, 4.5});
  report.numerics.layers = {meter, meter};
  report.numerics.saturations = {{"state", 0}, {"output", 3}};
  report.verification = {.against = "fixed", .equal = true, .detail = ""};
  report.utilization = {{"state_update", 0.75}};
  report.bottleneck = "state_update";
  report.simulator.cycles_per_s = 1e7;
  report.counters.add("unit.cycles", "cycles", 8e6);
  return report;
}

TEST(Report, JsonOfAnEmptyReportHasEveryKeyAndEveryReason) {
  const json report = json::parse(to_json(empty_report()));
  expect_reasons(report, "report");
  for (const char* key : {"trace", "model", "preset", "backend", "host", "utilization", "bottleneck"})
    EXPECT_TRUE(report.contains(key)) << key;
  const std::map<std::string, std::vector<std::string>> parts = {
      {"answer", {"expected", "got", "correct"}},
      {"latency",
       {"accelerator_cycles", "accelerator_s", "host_s", "end_to_end_s", "prefill_s", "decode_s_per_token",
        "gpu_s", "gpu_s_source", "speedup_vs_gpu"}},
      {"energy", {"accelerator_j", "by_component_j", "host_j", "gpu_j", "ratio_vs_gpu"}},
      {"numerics",
       {"sqnr_db", "max_abs_err", "rel_l2_err", "cosine", "top1_agreement", "saturations", "per_layer",
        "against"}},
      {"simulator", {"wall_s", "cycles_per_s"}},
      {"provenance", {"commit", "preset_hash", "trace_sha256", "gpu_reference", "seeds"}}};
  for (const auto& [part, keys] : parts)
    for (const std::string& key : keys) EXPECT_TRUE(report.at(part).contains(key)) << part << "." << key;
}

TEST(Report, JsonOfAFullReportCarriesTheNumbers) {
  const json report = json::parse(to_json(full_report()));
  expect_reasons(report, "report");
  EXPECT_EQ(report["schema"], "lawcat-report/1");
  EXPECT_EQ(report["answer"]["correct"], true);
  EXPECT_EQ(report["latency"]["end_to_end_s"], 0.51);
  EXPECT_EQ(report["energy"]["by_component_j"]["dram"]["nominal_j"], 5e-4);
  EXPECT_DOUBLE_EQ(report["numerics"]["sqnr_db"].get<double>(), 20);
  EXPECT_EQ(report["numerics"]["per_layer"].size(), 2u);
  EXPECT_EQ(report["numerics"]["saturations"]["output"], 3);
  EXPECT_EQ(report["verification"]["equal"], true);
  EXPECT_EQ(report["counters"]["unit.cycles"]["value"], 8e6);
}

TEST(Report, AnInfiniteSqnrIsNullWithItsReason) {
  Report report = full_report();
  ErrorMeter meter;
  meter.add(std::vector<float>{1}, std::vector<float>{1});
  report.numerics.layers = {meter};
  const json parsed = json::parse(to_json(report));
  EXPECT_TRUE(parsed["numerics"]["sqnr_db"].is_null());
  EXPECT_THAT(parsed["numerics"]["sqnr_db_reason"].get<std::string>(), HasSubstr("no difference"));
}

TEST(Report, WhatIsNoNumberIsNeverAMatch) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(),
                  kInf = std::numeric_limits<float>::infinity();
  Report report = full_report();
  const auto compare = [&report](float reference, float got) {
    ErrorMeter meter;
    meter.add(std::vector<float>{reference, 0}, std::vector<float>{got, 0});
    report.numerics.layers = {meter};
    return json::parse(to_json(report))["numerics"];
  };
  const json nan = compare(1, kNan);
  for (const json& figures : {nan, nan["per_layer"][0]})
    for (const std::string key : {"sqnr_db", "max_abs_err", "rel_l2_err", "cosine"}) {
      EXPECT_TRUE(figures[key].is_null()) << key;
      EXPECT_EQ(figures[key + "_reason"], "not a number") << key;
    }
  EXPECT_THAT(to_text(report), HasSubstr("SQNR not a number, relative L2 not a number, cosine not a number"));
  EXPECT_THAT(to_html(report), HasSubstr("<td>not a number</td><td>not a number</td><td>not a number</td>"
                                         "<td>not a number</td>"));
  const json infinite = compare(1, kInf);
  EXPECT_EQ(infinite["sqnr_db_reason"], "minus infinity");
  EXPECT_EQ(infinite["max_abs_err_reason"], "infinite");
  EXPECT_THAT(to_text(report), HasSubstr("SQNR minus infinity, relative L2 infinite"));
  const json silent = compare(0, 1);
  EXPECT_EQ(silent["sqnr_db_reason"], "minus infinity");
  EXPECT_EQ(silent["max_abs_err"], 1);
}

TEST(Report, PassesUnlessAnAnswerIsWrongOrBitsDiffer) {
  EXPECT_TRUE(empty_report().passed());
  Report report = full_report();
  EXPECT_TRUE(report.passed());
  report.answer.correct = false;
  EXPECT_FALSE(report.passed());
  report.answer.correct = true;
  report.verification.equal = false;
  EXPECT_FALSE(report.passed());
}

TEST(Report, TextSaysWhatMattersAndWhatIsMissing) {
  const std::string text = to_text(full_report());
  EXPECT_THAT(text, HasSubstr("1 2 3 4 5, correct"));
  EXPECT_THAT(text, HasSubstr("510 ms end to end: accelerator 10 ms, host 500 ms (measured)"));
  EXPECT_THAT(text, HasSubstr("accelerator 2 mJ (1 mJ to 4 mJ)"));
  EXPECT_THAT(text, HasSubstr("state_update 75 %, dram 25 %"));
  EXPECT_THAT(text, HasSubstr("equal to fixed"));
  EXPECT_THAT(text, HasSubstr("output 3"));
  EXPECT_THAT(text, HasSubstr("no figure: not obtained by this run"));
  Report measured = full_report();
  measured.latency.gpu_s = 2e-3;
  measured.latency.gpu_s_source = "measured";
  EXPECT_THAT(to_text(measured), HasSubstr("2 ms for the unit's work (measured)\n"));
  measured.latency.speedup_vs_gpu = 0.2;
  EXPECT_THAT(to_text(measured),
              HasSubstr("2 ms for the unit's work (measured): 0.2 x the accelerator's time"));
  measured.energy.gpu_j = 0.5;
  measured.energy.ratio_vs_gpu = 250.0;
  EXPECT_THAT(to_text(measured), HasSubstr("500 mJ: 250 x the accelerator's energy\n"));
  EXPECT_THAT(to_html(measured), HasSubstr("<th>GPU time / accelerator time</th><td>0.2 x</td>"));
  EXPECT_THAT(to_html(measured), HasSubstr("<th>GPU energy / accelerator energy</th><td>250 x</td>"));
  Report wrong = full_report();
  wrong.answer.correct = false;
  EXPECT_THAT(to_text(wrong), HasSubstr("WRONG: expected 12345"));
}

TEST(Report, HtmlIsSelfContainedAndEscapes) {
  const std::string html = to_html(full_report());
  EXPECT_THAT(html, HasSubstr("t&lt;1&gt;"));
  EXPECT_THAT(html, Not(HasSubstr("t<1>")));
  EXPECT_THAT(html, HasSubstr("<svg"));
  EXPECT_THAT(html, HasSubstr("prefers-color-scheme: dark"));
  for (const char* outside : {"http", "<script", "src=", "url("}) EXPECT_THAT(html, Not(HasSubstr(outside)));
  EXPECT_THAT(to_html(empty_report()), HasSubstr("No figure: the backend has no notion of time"));
}

TEST(Quantity, WordsCarryAPrefix) {
  EXPECT_EQ(to_words(1.5e-3, "s"), "1.5 ms");
  EXPECT_EQ(to_words(0.0, "J"), "0 J");
  EXPECT_EQ(to_words(12345678.0, ""), "12.35 M");
  EXPECT_EQ(to_words(42.0, ""), "42");
  EXPECT_EQ(to_words(Figure::none("x"), "s"), "-");
  EXPECT_EQ(to_words(999.4, "s"), "999.4 s");
}

TEST(Figures, QuotientsAndSumsPassTheReasonOn) {
  EXPECT_EQ(ratio(6.0, 3.0).value, 2);
  EXPECT_EQ(ratio(Figure::none("a"), 3.0).reason, "a");
  EXPECT_EQ(ratio(1.0, Figure::none("b")).reason, "b");
  EXPECT_EQ(sum(1.0, 2.0).value, 3);
  EXPECT_EQ(sum(1.0, Figure::none("c")).reason, "c");
}

TEST(Timeline, IsChromeTraceEventsWithARowForEachUnit) {
  const std::vector<TraceEvent> spans = {
      {.unit = "engine0", .what = "a", .start_s = 1e-6, .duration_s = 2e-6},
      {.unit = "dram", .what = "b", .start_s = 0, .duration_s = 1e-6},
      {.unit = "engine0", .what = "c", .start_s = 4e-6, .duration_s = 1e-6}};
  const json trace = json::parse(to_chrome_trace(spans));
  ASSERT_EQ(trace["traceEvents"].size(), 5u);  // two rows named, three spans
  const json& last = trace["traceEvents"].back();
  EXPECT_EQ(last["ph"], "X");
  EXPECT_DOUBLE_EQ(last["ts"].get<double>(), 4);
  EXPECT_DOUBLE_EQ(last["dur"].get<double>(), 1);
  EXPECT_EQ(last["tid"], trace["traceEvents"][0]["tid"]);
}

}  // namespace
}  // namespace lawcat

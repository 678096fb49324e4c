// SPDX-License-Identifier: Apache-2.0
// A report as one self-contained page.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "hostlib/report/markup.h"
#include "hostlib/report/quantity.h"
#include "hostlib/report/report.h"

namespace lawcat {
namespace {

struct Bar {
  std::string label;
  double value;
  std::string words;
};

/// Horizontal bars; the longest is `full`.
std::string bars(const std::vector<Bar>& rows, double full) {
  constexpr int row_height = 24;
  std::string svg = fmt::format("<svg viewBox=\"0 0 760 {0}\" width=\"760\" height=\"{0}\" role=\"img\">\n",
                                row_height * static_cast<int>(rows.size()));
  int y = 0;
  for (const Bar& row : rows) {
    const double width = full > 0 ? std::clamp(row.value / full, 0.0, 1.0) * 320 : 0;
    svg += fmt::format(
        "<text x=\"170\" y=\"{}\" text-anchor=\"end\">{}</text>"
        "<rect x=\"180\" y=\"{}\" width=\"{:.1f}\" height=\"14\" rx=\"2\"/>"
        "<text x=\"{:.1f}\" y=\"{}\">{}</text>\n",
        y + 16, escape(row.label), y + 5, width, 188 + width, y + 16, escape(row.words));
    y += row_height;
  }
  return svg + "</svg>\n";
}

class Page {
 public:
  void section(std::string_view title) { html_ += fmt::format("<h2>{}</h2>\n", escape(title)); }
  void table(const std::vector<std::vector<std::string>>& rows, bool header) {
    html_ += "<table>\n";
    for (const auto& row : rows) {
      const bool head = header && &row == &rows.front();
      html_ += "<tr>";
      for (const std::string& cell : row)
        html_ += fmt::format("<{0}>{1}</{0}>", head || (!header && &cell == &row.front()) ? "th" : "td",
                             escape(cell));
      html_ += "</tr>\n";
    }
    html_ += "</table>\n";
  }
  void paragraph(std::string_view text) { html_ += fmt::format("<p>{}</p>\n", escape(text)); }
  void raw(const std::string& html) { html_ += html; }
  const std::string& html() const { return html_; }

 private:
  std::string html_;
};

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --line: #d5d9de; --bar: #2f6fab; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e6ea; --paper: #15181c; --line: #3a4048; --bar: #6fa8dc; }
}
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 1.8rem; }
table { border-collapse: collapse; } table + table { margin-top: 1rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .8rem .25rem 0;
       text-align: left; vertical-align: top; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 13px; } svg rect { fill: var(--bar); }
.verdict { font-weight: 600; }
)";

std::string or_reason(const Figure& figure, const std::string& unit) {
  return figure.value ? to_words(figure, unit) : "none: " + figure.reason;
}
std::string ratio_or_reason(const Figure& figure) {
  return figure.value ? ratio_words(*figure.value) : "none: " + figure.reason;
}

}  // namespace

std::string to_html(const Report& report) {
  Page page;
  const Report::Latency& l = report.latency;
  page.raw(fmt::format("<h1>{}</h1>\n", escape(report.trace)));
  if (!report.description.empty()) page.paragraph(report.description);
  page.table({{"model", report.model},
              {"backend", report.backend},
              {"preset", report.preset},
              {"host", report.host},
              {"tokens", fmt::format("{} prefill, {} decode steps", l.prefill_tokens, l.decode_steps)}},
             false);

  page.section("Answer");
  if (report.answer.correct)
    page.raw(fmt::format("<p class=\"verdict\">{}: expected {}, got {}</p>\n",
                         *report.answer.correct ? "Correct" : "Wrong", escape(*report.answer.expected),
                         escape(*report.answer.got)));
  else
    page.paragraph(report.answer.got.value_or("") + " (" + report.answer.reason + ")");
  if (report.verification.equal)
    page.paragraph(*report.verification.equal
                       ? "Bit for bit equal to " + *report.verification.against +
                             ", outputs and final contexts."
                       : "Differs from " + *report.verification.against + ": " + report.verification.detail);

  page.section("Latency");
  page.table({{"end to end", or_reason(l.end_to_end_s, "s")},
              {"accelerator", or_reason(l.accelerator_s, "s")},
              {"accelerator cycles", or_reason(l.accelerator_cycles, "")},
              {"host (" + l.host_s_source + ")", or_reason(l.host_s, "s")},
              {"prefill", or_reason(l.prefill_s, "s")},
              {"decode, a token", or_reason(l.decode_s_per_token, "s")},
              {l.gpu_s.value ? "GPU, the unit's work (" + l.gpu_s_source + ")" : "GPU, the unit's work",
               or_reason(l.gpu_s, "s")},
              {"GPU time / accelerator time", ratio_or_reason(l.speedup_vs_gpu)}},
             false);

  page.section("Energy");
  if (report.energy.accelerator_j) {
    const EnergyRange& j = *report.energy.accelerator_j;
    page.paragraph(fmt::format(
        "Accelerator {} ({} to {}), by energy table {}; pre-layout and literature values.",
        to_words(j.nominal, "J"), to_words(j.low, "J"), to_words(j.high, "J"), report.energy.table));
    std::vector<Bar> rows;
    for (const auto& [component, range] : by_size(report.energy.by_component_j))
      rows.push_back({component, range.nominal,
                      fmt::format("{} ({} to {})", to_words(range.nominal, "J"), to_words(range.low, "J"),
                                  to_words(range.high, "J"))});
    page.raw(bars(rows, rows.front().value));
  } else {
    page.paragraph("No figure: " + report.energy.accelerator_reason);
  }
  page.table({{"host", or_reason(report.energy.host_j, "J")},
              {"GPU, the unit's work", or_reason(report.energy.gpu_j, "J")},
              {"GPU energy / accelerator energy", ratio_or_reason(report.energy.ratio_vs_gpu)}},
             false);

  page.section("Utilization");
  if (report.utilization.empty()) {
    page.paragraph("No figure: " + report.timing_reason);
  } else {
    std::vector<Bar> rows;
    for (const auto& [unit, share] : report.utilization)
      rows.push_back({unit, share, fmt::format("{:.1f} %", 100 * share)});
    page.raw(bars(rows, 1));
    page.paragraph("Bottleneck: " + report.bottleneck.value_or(report.timing_reason));
  }

  page.section("Numerics");
  if (report.numerics.against) {
    std::vector<std::vector<std::string>> rows = {
        {"layer", "SQNR", "relative L2", "largest error", "cosine"}};
    for (const ErrorMeter& layer : report.numerics.layers)
      rows.push_back({std::to_string(rows.size() - 1), number_words(layer.sqnr_db(), "{:.1f} dB"),
                      number_words(layer.rel_l2_err(), "{:.2e}"), number_words(layer.max_abs_err(), "{:.2e}"),
                      number_words(layer.cosine(), "{:.8f}")});
    page.paragraph("The unit's outputs against " + *report.numerics.against + " on the same inputs.");
    page.table(rows, true);
    page.table({{"same next token",
                 report.numerics.top1_agreement.value
                     ? fmt::format("{:.2f} % of the last {} tokens",
                                   100 * *report.numerics.top1_agreement.value, report.numerics.top1_tokens)
                     : "none: " + report.numerics.top1_agreement.reason}},
               false);
  } else {
    page.paragraph(report.numerics.reason);
  }
  if (report.numerics.saturations) {
    std::vector<std::vector<std::string>> rows = {{"datapath point", "saturations"}};
    for (const auto& [point, count] : *report.numerics.saturations)
      rows.push_back({point, fmt::format("{:.0f}", count)});
    page.table(rows, true);
  }

  page.section("Provenance");
  const Report::Provenance& p = report.provenance;
  page.table({{"commit", p.commit},
              {"preset hash", p.preset_hash},
              {"trace SHA-256", p.trace_sha256},
              {"GPU reference", p.gpu_reference.value_or("none: " + p.gpu_reference_reason)},
              {"simulator", fmt::format("{} wall, {} cycles/s", to_words(report.simulator.wall_s, "s"),
                                        to_words(report.simulator.cycles_per_s, ""))}},
             false);
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n"
      "<style>{}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
      escape(report.trace), kStyle, page.html());
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// A GPU reference file as a table for people.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "hostlib/report/gpu_reference.h"
#include "hostlib/report/quantity.h"

namespace lawcat {
namespace {

using Measurement = GpuReference::Measurement;
using Series = std::map<int, double>;  // seconds by tokens

std::string words(const UnitShape& s) {
  return fmt::format("heads {}/{} x {}, features {}", s.heads, s.kv_heads, s.head_dim, s.feature_dim);
}

/// From which length on `ours` stays faster than `other`, by the power law between measured lengths.
std::string crossover(const Series& ours, const Series& other) {
  std::vector<std::pair<int, double>> ratios;
  for (const auto& [tokens, seconds] : ours)
    if (const auto found = other.find(tokens); found != other.end())
      ratios.emplace_back(tokens, found->second / seconds);
  if (ratios.empty()) return "";
  std::size_t first = ratios.size();
  while (first > 0 && ratios[first - 1].second >= 1) --first;
  if (first == ratios.size()) return fmt::format("not faster at {} tokens", ratios.back().first);
  if (first == 0) return fmt::format("faster at every measured length from {} tokens", ratios[0].first);
  const auto& [low, below] = ratios[first - 1];
  const auto& [high, above] = ratios[first];
  const double part = -std::log(below) / (std::log(above) - std::log(below));
  return fmt::format("faster from about {:.0f} tokens on",
                     low * std::pow(static_cast<double>(high) / low, part));
}

class Table {
 public:
  explicit Table(const GpuReference& reference) : reference_(reference) {}

  std::string text() {
    head();
    std::vector<Measurement> done;  // one of each group
    for (const Measurement& m : reference_.measurements) {
      const auto same = [&m](const Measurement& other) { return same_group(m, other); };
      if (std::any_of(done.begin(), done.end(), same)) continue;
      done.push_back(m);
      group(m);
    }
    peers();
    return std::move(text_);
  }

 private:
  static bool same_group(const Measurement& a, const Measurement& b) {
    return a.shape == b.shape && a.operation == b.operation && a.model == b.model;
  }

  void head() {
    const GpuReference& r = reference_;
    text_ += fmt::format("{}, {} multiprocessors, L2 {:.0f} MiB, driver {}, CUDA {}; {}, commit {}\n",
                         r.device, r.sms, r.l2_bytes / (1 << 20), r.driver, r.cuda, r.date, r.commit);
    text_ += fmt::format("  copy {}, gates {}", to_words(r.copy_bytes_per_s, "B/s"), r.gates);
    if (r.clocks)
      text_ += fmt::format(", clock {} (memory {})", to_words(r.clocks->sm_hz, "Hz"),
                           to_words(r.clocks->memory_hz, "Hz"));
    text_ += r.idle_power_w ? fmt::format(", idle {:.1f} W\n", *r.idle_power_w)
                            : fmt::format("\n  no energy: {}\n", r.energy_reason);
  }

  /// All calls of one operation, the peers' ratios beside them, then from where on it is faster than what.
  void group(const Measurement& like) {
    text_ += fmt::format("{}{}, {}\n", like.is_unit() ? "unit " : like.model + " ", like.operation,
                         words(like.shape));
    std::map<std::string, Series> others;
    if (reference_.peers)
      for (const auto& [peer, timing] : reference_.peers->timings)
        if (like.is_unit() && timing.shape == like.shape && timing.operation == like.operation &&
            timing.batch == 1)
          others[peer][timing.tokens] = timing.median_s;
    Series ours;
    for (const Measurement& m : reference_.measurements) {
      if (!same_group(m, like) || !like.is_prefill()) continue;
      (m.attention == "unit" ? ours : others[m.attention])[m.tokens] = m.median_s;
    }
    text_ +=
        fmt::format("  {:<12}{:>7}{:>6}{:>12}{:>12}{:>12}{:>8}{:>9}{:>9}{:>12}{:>8}", "attention", "tokens",
                    "batch", "median us", "min us", "max us", "floors", "GB/s", "of copy", "energy", "W");
    for (const auto& [name, series] : others) text_ += fmt::format("  {}", name);
    text_ += "\n";
    for (const Measurement& m : reference_.measurements)
      if (same_group(m, like)) row(m, others);
    if (!like.is_prefill()) return;
    for (const auto& [name, series] : others)
      if (const std::string words = crossover(ours, series); !words.empty())
        text_ += fmt::format("  against {}: {}\n", name, words);
  }

  void row(const Measurement& m, const std::map<std::string, Series>& others) {
    text_ += fmt::format("  {:<12}{:>7}{:>6}{:>12.2f}{:>12.2f}{:>12.2f}", m.attention, m.tokens, m.batch,
                         m.median_s * 1e6, m.min_s * 1e6, m.max_s * 1e6);
    if (m.is_unit()) {
      const double rate = m.floor_bytes() / m.median_s;
      const double share = rate / reference_.copy_bytes_per_s;
      text_ += fmt::format("{:>8.2f}{:>9.0f}{:>7.1f} %", 1 / share, rate / 1e9, 100 * share);
    } else {
      text_ += fmt::format("{:>8}{:>9}{:>9}", "", "", "");
    }
    // The power of the metered run, in which a call may take longer than the median.
    text_ += fmt::format("{:>12}{:>8}", m.energy_j ? to_words(*m.energy_j, "J") : "-",
                         m.metered_s ? fmt::format("{:.1f}", *m.energy_j / *m.metered_s) : "-");
    for (const auto& [name, series] : others) {
      // A decode step of the unit costs the same after any number of tokens.
      const auto found = m.is_prefill() ? series.find(m.tokens) : series.begin();
      const bool compared = m.attention == "unit" && m.batch == 1 && found != series.end();
      text_ += fmt::format("  {:>{}}", compared ? fmt::format("{:.2f} x", found->second / m.median_s) : "",
                           name.size());
    }
    while (text_.back() == ' ') text_.pop_back();
    text_ += m.method == "stream" ? "  (launched one by one)\n" : "\n";
  }

  void peers() {
    if (!reference_.peers) return;
    const GpuReference::Peers& p = *reference_.peers;
    text_ += "peers, other software on the same GPU";
    for (const auto& [name, version] : p.software) text_ += fmt::format(", {} {}", name, version);
    text_ += "\n";
    for (const auto& [peer, m] : p.timings)
      text_ += fmt::format("  {:<22}{:<9}{:>7}{:>6}{:>12.2f} us  {}{}\n", peer, m.operation, m.tokens,
                           m.batch, m.median_s * 1e6, words(m.shape),
                           m.method == "stream" ? "  (launched one by one)" : "");
    for (const GpuReference::PeerAccuracy& a : p.accuracy)
      text_ +=
          fmt::format("  {:<22}gates {:<6} {:>6} tokens: relative L2 of o {:.2e}, of the state {:.2e}  {}\n",
                      a.peer, a.gates, a.tokens, a.rel_l2_o, a.rel_l2_state, words(a.shape));
    for (const auto& [peer, reason] : p.missing) text_ += fmt::format("  {:<22}missing: {}\n", peer, reason);
  }

  const GpuReference& reference_;
  std::string text_;
};

}  // namespace

std::string to_text(const GpuReference& reference) {
  return Table(reference).text();
}

}  // namespace lawcat

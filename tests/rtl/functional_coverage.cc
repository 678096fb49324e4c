// SPDX-License-Identifier: Apache-2.0
// The list of points.
#include "tests/rtl/functional_coverage.h"

#include <stdexcept>

#include "rtl/bench/registers.h"

namespace lawcat {

FunctionalCoverage::FunctionalCoverage() {
  for (const char* point :
       {// packets, whole and malformed
        "packet.token", "packet.load", "packet.store", "error.kind", "error.heads", "error.region",
        "error.words", "error.context_slot", "error.weight_slot", "error.token_ends_with_header",
        "error.token_short", "error.token_long", "error.load_ends_with_header", "error.load_short",
        "error.load_long", "error.store_long", "error.shape_while_busy", "error.header_flag",
        // shapes and heads of a packet
        "shape.head_dim_1", "shape.head_dim_odd", "shape.head_dim_most", "shape.feature_dim_1",
        "shape.feature_dim_odd", "shape.feature_dim_most", "heads.1", "heads.few", "heads.many",
        // contexts
        "context.fresh", "context.goes_on", "context.restored", "context.overwritten",
        "context.next_packet_same_slot", "context.load_in_pieces", "context.store_in_pieces",
        "weights.load_in_pieces", "weights.changed_in_stream", "row.empty", "row.all_zero", "row.fades",
        "gate.forgets", "gate.keeps", "gate.keeps_all",
        // clear and reset
        "clear.all_in_flight", "clear.slot_in_flight", "clear.inside_packet", "reset.in_flight",
        "reset.inside_packet", "reset.idle", "reset.hard",
        // how the streams move
        "input.free", "input.random", "input.bursts", "input.slow", "output.free", "output.random",
        "output.bursts", "output.slow",
        // registers while packets are in flight
        "register.read", "register.refused", "register.strobe_refused"})
    points_[point] = 0;
  for (const auto stage : kTileStages)
    for (const char* what : {"busy", "stall", "starve"})
      points_["stage." + std::string(stage) + "." + what] = 0;
  // A block format's exponent is chosen so that a row cannot overflow: the state and the normaliser never
  // clip.
  for (const auto point : kClippedPoints)
    if (point != "state" && point != "normaliser") points_["clipped." + std::string(point)] = 0;
}

void FunctionalCoverage::hit(const std::string& point, std::int64_t times) {
  const auto found = points_.find(point);
  if (found == points_.end()) throw std::logic_error("no coverage point " + point);
  found->second += times;
}

void FunctionalCoverage::add(const FunctionalCoverage& other) {
  for (const auto& [point, times] : other.points_) points_[point] += times;
}

std::vector<std::string> FunctionalCoverage::missed() const {
  std::vector<std::string> names;
  for (const auto& [point, times] : points_)
    if (times == 0) names.push_back(point);
  return names;
}

}  // namespace lawcat

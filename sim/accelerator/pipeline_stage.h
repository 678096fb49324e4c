// SPDX-License-Identifier: Apache-2.0
// What all stages of an engine have in common as modules: a name, and spans for a timeline.
#pragma once

#include <algorithm>
#include <string>

#include <systemc>

#include "hostlib/arch/timing.h"
#include "sim/memory/cycle.h"
#include "sim/memory/timeline.h"

namespace lawcat {

/// A stage of a tile. No process of its own: the tile's recurrences give its times for many tokens at one
/// event.
class PipelineStage : public sc_core::sc_module {
 public:
  const Stage stage;

  PipelineStage(sc_core::sc_module_name name, Stage which) : sc_module(name), stage(which) {}

  /// A token of `chunk` was here in [start, end): one span per chunk goes to the timeline.
  void passed(int chunk, Cycle start, Cycle end, Timeline& timeline) {
    if (chunk != chunk_) {
      record(timeline);
      chunk_ = chunk;
      start_ = start;
    }
    end_ = end;
  }
  /// The open span is complete.
  void record(Timeline& timeline) {
    if (chunk_ >= 0)
      timeline.record(std::string(get_parent_object()->basename()) + "." + std::string(to_string(stage)),
                      start_, end_);
    chunk_ = -1;
  }

 private:
  int chunk_ = -1;  ///< of the open span, -1 without one
  Cycle start_ = 0;
  Cycle end_ = 0;
};

}  // namespace lawcat

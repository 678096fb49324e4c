// SPDX-License-Identifier: Apache-2.0
// What all stages of an engine have in common as modules: a name, where their time went, spans for a
// timeline.
#pragma once

#include <algorithm>
#include <string>

#include <systemc>

#include "sim/accelerator/tile.h"
#include "sim/memory/timeline.h"

namespace lawcat {

/// A stage of a tile. No process of its own: the tile's recurrences give its times for many tokens at one
/// event.
class PipelineStage : public sc_core::sc_module {
 public:
  const Stage stage;

  PipelineStage(sc_core::sc_module_name name, Stage which, const Tile& tile)
      : sc_module(name), stage(which), tile_(tile) {}

  /// Where the time from the job's begin to `end` went.
  StageCycles cycles(Cycle end) const { return tile_.cycles(stage, end); }

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
  const Tile& tile_;
  int chunk_ = -1;  ///< of the open span, -1 without one
  Cycle start_ = 0;
  Cycle end_ = 0;
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// A tile stepped cycle by cycle, with registers for what the RTL has registers for and nothing clever: what
// the recurrences of TileModel must not change.
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "sim/accelerator/tile.h"

namespace lawcat {

struct SteppedResult {
  std::vector<Cycle> taken, answered;  ///< last beats of packets and answers on the ports
  std::array<StageCycles, kStageCount> stages{};
  Cycle end = 0;
};

class SteppedTile {
 public:
  using Holds = std::function<bool(Cycle)>;

  /// `holds_in`, `holds_out`: a port is held back in this cycle.
  static SteppedResult run(const TileTiming& timing, const std::vector<TilePacket>& packets,
                           const Holds& holds_in = {}, const Holds& holds_out = {}) {
    SteppedTile tile(timing, packets);
    for (Cycle now = 0; tile.result_.answered.size() < packets.size() && now < 10'000'000; ++now)
      tile.step(now, holds_in && holds_in(now), holds_out && holds_out(now));
    return tile.result_;
  }

 private:
  /// Slots of a buffer; what is done to them in a cycle shows in the next.
  struct Slots {
    int size = 1, reserved = 0, committed = 0;
    bool reserve = false, release = false;
    std::deque<Cycle> commits;
    bool room() const { return reserved < size; }
    bool valid() const { return committed > 0; }
    void tick(Cycle now) {
      reserved += reserve - release;
      committed -= release;
      if (!commits.empty() && commits.front() == now) {
        ++committed;
        commits.pop_front();
      }
      reserve = release = false;
    }
  };
  struct Control {
    StageTiming timing;
    StageCycles* cycles = nullptr;
    int left = 0;
    std::size_t packet = 0;
    int head = 0;
    bool starts = false, ends = false;
    void step(bool valid, bool room) {
      starts = left == 0 && valid && room;
      ends = false;
      if (starts) left = timing.interval;
      if (left > 0) {
        ++cycles->busy;
        ends = --left == 0;
      } else {
        ++(valid ? cycles->stall : cycles->starve);
      }
    }
  };
  enum class Beat { header, key, query, logits, value };
  struct InputBeat {
    Beat what;
    bool first, last, ends_packet;
    Cycle offered;
  };

  SteppedTile(const TileTiming& timing, const std::vector<TilePacket>& packets)
      : timing_(timing), packets_(packets) {
    for (const TilePacket& packet : packets) {
      const auto part = [&](Beat what, int count, bool begins = true, bool finishes = true) {
        for (int i = 0; i < count; ++i)
          beats_.push_back({what, begins && i == 0, finishes && i == count - 1, false, packet.offered});
      };
      part(Beat::header, 1);
      part(Beat::key, timing.beats.head);
      part(Beat::query, timing.beats.head);
      part(Beat::logits, timing.beats.half, true, false);
      part(Beat::logits, timing.beats.half, false, true);
      part(Beat::value, timing.beats.head);
      for (int h = 1; h < packet.heads; ++h) part(Beat::query, timing.beats.head);
      beats_.back().ends_packet = true;
    }
    for (std::size_t s = 0; s < controls_.size(); ++s) {
      controls_[s].timing = timing.stages[s];
      controls_[s].cycles = &result_.stages[s];
    }
    for (Slots* slots : buffers_) slots->size = timing.fifo_tokens;
    rows_.size = 2;
    records_.size = ends_.size = 64;
  }

  Control& at(Stage stage) { return controls_[static_cast<std::size_t>(stage)]; }
  /// Moves on to the next head; whether that was the packet's last.
  bool next_head(Control& control) {
    if (++control.head < packets_[control.packet].heads) return false;
    control.head = 0;
    ++control.packet;
    return true;
  }
  int slot_of(const Control& control) const { return packets_[control.packet].first_slot + control.head; }

  void step(Cycle now, bool hold_in, bool hold_out) {
    input(now, hold_in);
    stages(now);
    output(now, hold_out);
    for (Slots* slots : buffers_) slots->tick(now);
    result_.end = now + 1;
  }

  void input(Cycle now, bool hold) {
    const bool port_ready = port_.size() < 2;
    StageCycles& cycles = result_.stages[static_cast<std::size_t>(Stage::unpack)];
    bool parse = false;
    if (port_.empty()) {
      ++cycles.starve;
    } else {
      const InputBeat& beat = port_.front();
      const bool room = beat.what == Beat::header   ? records_.room()
                        : !beat.first               ? true
                        : beat.what == Beat::key    ? key_.room()
                        : beat.what == Beat::query  ? query_.room()
                        : beat.what == Beat::logits ? logits_.room()
                                                    : value_.room() && lead_.room();
      ++(room ? cycles.busy : cycles.stall);
      parse = room;
    }
    if (parse) {
      const InputBeat beat = port_.front();
      port_.pop_front();
      Slots* slots = beat.what == Beat::key      ? &key_
                     : beat.what == Beat::query  ? &query_
                     : beat.what == Beat::logits ? &logits_
                     : beat.what == Beat::value  ? &value_
                                                 : &records_;
      if (beat.first) slots->reserve = true;
      if (beat.last) slots->commits.push_back(now + 1);
      if (beat.what == Beat::value && beat.first) lead_.reserve = true;
      if (beat.what == Beat::value && beat.last) lead_.commits.push_back(now + 3);
      if (beat.ends_packet) ends_.commits.push_back(now + 1);
    }
    // A beat that was offered stays.
    offered_ = offered_ || (next_beat_ < beats_.size() && now >= beats_[next_beat_].offered && !hold);
    if (offered_ && port_ready) {
      port_.push_back(beats_[next_beat_++]);
      if (port_.back().ends_packet) result_.taken.push_back(now);
      offered_ = false;
    }
  }

  void stages(Cycle now) {
    const auto hand_on = [&](Stage stage, Slots& in, Slots& out, Cycle extra = 0) {
      const Control& control = at(stage);
      if (control.starts) out.reserve = true;
      if (!control.ends) return;
      in.release = true;
      out.commits.push_back(now + control.timing.depth + extra);
    };
    Control& convolution = at(Stage::convolution);
    convolution.step(query_.valid() && key_.valid(), conv_.room());
    hand_on(Stage::convolution, query_, conv_);
    if (convolution.ends && next_head(convolution)) key_.release = true;

    at(Stage::feature_map).step(conv_.valid(), z_.room());
    hand_on(Stage::feature_map, conv_, z_);
    at(Stage::dual_softmax).step(z_.valid(), phi_.room());
    hand_on(Stage::dual_softmax, z_, phi_);
    at(Stage::gate).step(logits_.valid(), gates_.room());
    hand_on(Stage::gate, logits_, gates_);

    Control& rows = at(Stage::row_prepare);
    const bool ready = phi_.valid() && gates_.valid() && lead_.valid();
    bool hazard = in_flight_.size() >= 8;
    for (const int slot : in_flight_) hazard = hazard || (ready && rows.left == 0 && slot == slot_of(rows));
    rows.step(ready, rows_.room() && !hazard);
    hand_on(Stage::row_prepare, phi_, rows_);
    if (!written_back_.empty() && written_back_.front() == now) {
      written_back_.pop_front();
      in_flight_.pop_front();
    }
    if (rows.starts) in_flight_.push_back(slot_of(rows));
    if (rows.ends && next_head(rows)) gates_.release = lead_.release = true;

    Control& update = at(Stage::state_update);
    update.step(rows_.valid() && value_.valid(), sums_.room());
    hand_on(Stage::state_update, rows_, sums_, 9);
    if (update.ends) written_back_.push_back(now + 12);
    if (update.ends && next_head(update)) value_.release = true;

    at(Stage::normalise).step(sums_.valid(), out_.room());
    hand_on(Stage::normalise, sums_, out_);
  }

  void output(Cycle now, bool hold) {
    StageCycles& cycles = result_.stages[static_cast<std::size_t>(Stage::pack)];
    Control& pack = at(Stage::pack);
    const bool port_ready = sending_.size() < 2, moves = !chosen_ || port_ready;
    const bool header = !open_ && out_.valid() && (ends_.valid() || !out_.room()),
               beat = open_ && out_.valid();
    ++(!header && !beat ? cycles.starve : moves ? cycles.busy : cycles.stall);
    if (!sending_.empty() && !hold) {
      if (sending_.front()) result_.answered.push_back(now);
      sending_.pop_front();
    }
    if (chosen_ && port_ready) {
      sending_.push_back(chosen_last_);
      chosen_ = false;
    }
    if (!moves || !(header || beat)) return;
    chosen_ = true;
    chosen_last_ = false;
    if (header) {
      open_ = true;
      word_ = 0;
    } else if (++word_ == timing_.beats.head) {
      word_ = 0;
      out_.release = true;
      if (next_head(pack)) {
        chosen_last_ = true;
        open_ = false;
        records_.release = ends_.release = true;
      }
    }
  }

  const TileTiming timing_;
  const std::vector<TilePacket>& packets_;
  std::vector<InputBeat> beats_;
  std::size_t next_beat_ = 0;
  bool offered_ = false;
  std::deque<InputBeat> port_;
  Slots query_, conv_, z_, phi_, rows_, sums_, out_, key_, logits_, gates_, value_, lead_, records_, ends_;
  std::vector<Slots*> buffers_{&query_, &conv_,   &z_,     &phi_,   &rows_, &sums_,    &out_,
                               &key_,   &logits_, &gates_, &value_, &lead_, &records_, &ends_};
  std::array<Control, kStageCount> controls_;
  std::deque<int> in_flight_;
  std::deque<Cycle> written_back_;
  bool chosen_ = false, chosen_last_ = false, open_ = false;
  int word_ = 0;
  std::deque<bool> sending_;  ///< whether a beat is its answer's last
  SteppedResult result_;
};

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// See tile.h. A time `ready` is the first cycle in which the consumer can start, `free` the first in which
// the producer can.
#include "sim/accelerator/tile.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace lawcat {

Cycle TileModel::Clock::start(Cycle input, Cycle room) {
  const Cycle fed = std::max(input, free);
  const Cycle begins = std::max(fed, room);
  cycles.starve += fed - free;
  cycles.stall += begins - fed;
  cycles.busy += timing.interval;
  free = begins + timing.interval;
  return free;
}

void TileModel::Ring::reset(int slots) {
  at_.assign(std::bit_ceil(static_cast<std::size_t>(slots)), 0);
  mask_ = static_cast<std::int64_t>(at_.size()) - 1;
}

void TileModel::Channel::reset(int count) {
  slots = count;
  ready.reset(count);
  free.reset(count);
}

void TileModel::begin(const TileTiming& timing, Cycle start) {
  timing_ = timing;
  for (std::size_t s = 0; s < clocks_.size(); ++s) {
    clocks_[s] = {};
    clocks_[s].timing = timing.stages[s];
    clocks_[s].free = start;
  }
  for (Channel* channel :
       {&query_, &conv_, &z_, &phi_, &sums_, &out_, &key_, &logits_, &gates_, &value_, &lead_})
    channel->reset(timing.fifo_tokens);
  rows_.reset(HandOver::kRowsSlots);
  record_.reset(HandOver::kPackets);
  written_back_.reset(HandOver::kRowsInFlight);
  normalise_start_.reset(timing.fifo_tokens);
  slots_.clear();
  part_ = Part::header;
  parsing_ = keys_ = queries_ = logits_in_ = values_ = ended_ = 0;
  taken_ = parsed_ = start - 1;
  parsed_before_ = start - 2;
  chosen_ = start - 1;
  entered_ = start;
  sent_ = start + 1;
  sent_before_ = start;
}

void TileModel::set_patterns(std::function<Cycle(Cycle)> next_offer, std::function<Cycle(Cycle)> next_ready) {
  next_offer_ = std::move(next_offer);
  next_ready_ = std::move(next_ready);
}

void TileModel::run(TilePort& port) {
  port_ = &port;
  for (bool stuck = false;;) {
    bool moved = unpack();
    moved |= gate();
    moved |= convolution();
    moved |= plain(Stage::feature_map, conv_, at(Stage::convolution).next, z_, at(Stage::dual_softmax).next);
    moved |= plain(Stage::dual_softmax, z_, at(Stage::feature_map).next, phi_, at(Stage::row_prepare).next);
    moved |= row_prepare();
    moved |= state_update();
    moved |= plain(Stage::normalise, sums_, at(Stage::state_update).next, out_, at(Stage::pack).next);
    moved |= pack(stuck);
    if (!moved && stuck) break;
    stuck = !moved;
  }
  port_ = nullptr;
}

StageCycles TileModel::cycles(Stage stage, Cycle end) const {
  StageCycles all = at(stage).cycles;
  all.starve += end - at(stage).free;
  return all;
}

TileModel::Slot& TileModel::slot(const Clock& clock) {
  const auto index = static_cast<std::size_t>(packet(clock.packet).first_slot + clock.head);
  if (index >= slots_.size()) slots_.resize(index + 1);
  return slots_[index];
}

bool TileModel::done(Clock& clock, Stage stage) {
  if (observed_) port_->passed(stage, clock.packet, clock.free - clock.timing.interval, clock.free);
  ++clock.next;
  if (++clock.head < packet(clock.packet).heads) return false;
  clock.head = 0;
  ++clock.packet;
  return true;
}

// ---------------------------------------------------------------------------------------------- input

void TileModel::take_beat(Cycle room, Cycle offered) {
  Clock& clock = at(Stage::unpack);
  // The port has two places: a beat is taken when the one before the last has been parsed.
  Cycle offer = std::max(taken_ + 1, offered);
  if (next_offer_) offer = next_offer_(offer);
  taken_ = std::max(offer, parsed_before_ + 1);
  const Cycle fed = std::max(taken_ + HandOver::kPort, parsed_ + 1);
  const Cycle parsed = std::max(fed, room);
  clock.cycles.starve += fed - (parsed_ + 1);
  clock.cycles.stall += parsed - fed;
  ++clock.cycles.busy;
  parsed_before_ = std::exchange(parsed_, parsed);
  clock.free = parsed_ + 1;
}

void TileModel::take_beats(int count, Cycle room) {
  take_beat(room, 0);
  if (next_offer_ || count < 4) {
    while (--count > 0) take_beat(0, 0);
    return;
  }
  // The others follow one per cycle.
  parsed_ += count - 1;
  parsed_before_ = taken_ = parsed_ - 1;
  at(Stage::unpack).cycles.busy += count - 1;
  at(Stage::unpack).free = parsed_ + 1;
}

bool TileModel::unpack() {
  const int head = timing_.beats.head, half = timing_.beats.half;
  const auto ready = [this] { return parsed_ + 2; };
  for (bool moved = false;; moved = true) {
    switch (part_) {
      case Part::header: {
        if (!record_.knows_room(parsing_, at(Stage::pack).packet)) return moved;
        const std::optional<TilePacket> next = port_->next_packet();
        if (!next) return moved;
        packet(parsing_) = {next->heads, next->first_slot};
        heads_left_ = next->heads;
        take_beat(record_.room(parsing_), next->offered);
        packet_start_ = parsed_;
        part_ = Part::key;
        break;
      }
      case Part::key:
        if (!key_.knows_room(parsing_, at(Stage::convolution).packet)) return moved;
        take_beats(head, key_.room(parsing_));
        key_.ready[keys_++] = ready();
        part_ = Part::first_query;
        break;
      case Part::first_query:
      case Part::query:
        if (!query_.knows_room(queries_, at(Stage::convolution).next)) return moved;
        take_beats(head, query_.room(queries_));
        query_.ready[queries_++] = ready();
        --heads_left_;
        if (part_ == Part::first_query) part_ = Part::gate_low;
        break;
      case Part::gate_low:
        if (!logits_.knows_room(parsing_, at(Stage::gate).next)) return moved;
        take_beats(half, logits_.room(parsing_));
        part_ = Part::gate_high;
        break;
      case Part::gate_high:
        take_beats(half, 0);
        logits_.ready[logits_in_++] = ready();
        part_ = Part::value;
        break;
      case Part::value:
        if (!value_.knows_room(parsing_, at(Stage::state_update).packet) ||
            !lead_.knows_room(parsing_, at(Stage::row_prepare).packet))
          return moved;
        take_beats(head, std::max(value_.room(parsing_), lead_.room(parsing_)));
        value_.ready[values_] = ready();
        lead_.ready[values_++] = ready() + HandOver::kLead;
        part_ = Part::query;
        break;
    }
    if (part_ == Part::query && heads_left_ == 0) {
      record_.ready[ended_++] = parsed_ + HandOver::kPacketEnd;
      port_->taken(taken_);
      if (observed_) port_->passed(Stage::unpack, parsing_, packet_start_, parsed_ + 1);
      ++parsing_;
      part_ = Part::header;
    }
  }
}

// --------------------------------------------------------------------------------------------- stages

bool TileModel::gate() {
  Clock& clock = at(Stage::gate);
  bool moved = false;
  for (; clock.next < logits_in_ && gates_.knows_room(clock.next, at(Stage::row_prepare).packet);
       moved = true) {
    const std::int64_t n = clock.next++;
    logits_.free[n] = clock.start(logits_.ready[n], gates_.room(n));
    gates_.ready[n] = clock.free + clock.timing.depth;
    if (observed_) port_->passed(Stage::gate, n, clock.free - clock.timing.interval, clock.free);
  }
  return moved;
}

bool TileModel::convolution() {
  Clock& clock = at(Stage::convolution);
  bool moved = false;
  for (; clock.next < queries_ && conv_.knows_room(clock.next, at(Stage::feature_map).next); moved = true) {
    const std::int64_t n = clock.next, p = clock.packet;
    query_.free[n] = clock.start(std::max(query_.ready[n], key_.ready[p]), conv_.room(n));
    conv_.ready[n] = clock.free + clock.timing.depth;
    if (done(clock, Stage::convolution)) key_.free[p] = clock.free;
  }
  return moved;
}

bool TileModel::plain(Stage stage, Channel& in, std::int64_t produced, Channel& out, std::int64_t consumed) {
  Clock& clock = at(stage);
  bool moved = false;
  for (; clock.next < produced && out.knows_room(clock.next, consumed); moved = true) {
    const std::int64_t n = clock.next;
    in.free[n] = clock.start(in.ready[n], out.room(n));
    out.ready[n] = clock.free + clock.timing.depth;
    if (stage == Stage::normalise) normalise_start_[n] = clock.free - clock.timing.interval;
    done(clock, stage);
  }
  return moved;
}

bool TileModel::row_prepare() {
  Clock& clock = at(Stage::row_prepare);
  const Clock& update = at(Stage::state_update);
  bool moved = false;
  // That rows_ has room is known implies that written_back_ is.
  while (clock.next < at(Stage::dual_softmax).next &&
         clock.packet < std::min(at(Stage::gate).next, values_) &&
         rows_.knows_room(clock.next, update.next)) {
    const std::int64_t n = clock.next, p = clock.packet;
    Slot& context = slot(clock);
    if (context.last >= update.next) break;
    context.last = n;
    const Cycle input = std::max({phi_.ready[n], gates_.ready[p], lead_.ready[p]});
    const Cycle room = std::max({rows_.room(n), context.free, written_back_[n - HandOver::kRowsInFlight]});
    phi_.free[n] = clock.start(input, room);
    rows_.ready[n] = clock.free + clock.timing.depth;
    if (done(clock, Stage::row_prepare)) gates_.free[p] = lead_.free[p] = clock.free;
    moved = true;
  }
  return moved;
}

bool TileModel::state_update() {
  Clock& clock = at(Stage::state_update);
  bool moved = false;
  for (; clock.next < at(Stage::row_prepare).next && sums_.knows_room(clock.next, at(Stage::normalise).next);
       moved = true) {
    const std::int64_t n = clock.next, p = clock.packet;
    rows_.free[n] = clock.start(std::max(rows_.ready[n], value_.ready[p]), sums_.room(n));
    sums_.ready[n] = clock.free + clock.timing.depth + HandOver::kReciprocal;
    slot(clock).free = written_back_[n] = clock.free + HandOver::kUpdateDone + 1;
    if (done(clock, Stage::state_update)) value_.free[p] = clock.free;
  }
  return moved;
}

// --------------------------------------------------------------------------------------------- output

void TileModel::send_word(Cycle ready, Cycle room) {
  Clock& clock = at(Stage::pack);
  // A word is chosen, waits in a register, and enters the port, which has two places.
  const Cycle fed = std::max(ready, chosen_ + 1);
  clock.cycles.starve += fed - (chosen_ + 1);
  chosen_ = std::max(fed, entered_);
  clock.cycles.stall += chosen_ - fed;
  ++clock.cycles.busy;
  clock.free = chosen_ + 1;
  entered_ = std::max({chosen_ + 1, entered_ + 1, sent_before_ + 1});
  Cycle sent = std::max({entered_ + 1, sent_ + 1, room});
  if (next_ready_) sent = next_ready_(sent);
  sent_before_ = std::exchange(sent_, sent);
}

Cycle TileModel::send_words(int count, Cycle ready) {
  send_word(ready, 0);
  const Cycle first = chosen_;
  // One per cycle once nothing waits in the port.
  while (--count > 0 && (next_ready_ || sent_ != chosen_ + 2)) send_word(0, 0);
  if (count <= 0) return first;
  chosen_ += count;
  entered_ = chosen_ + 1;
  sent_before_ = count > 1 ? chosen_ + 1 : sent_;
  sent_ = chosen_ + 2;
  at(Stage::pack).cycles.busy += count;
  at(Stage::pack).free = chosen_ + 1;
  return first;
}

bool TileModel::pack(bool stuck) {
  Clock& clock = at(Stage::pack);
  const std::int64_t normalised = at(Stage::normalise).next;
  bool moved = false;
  for (; clock.next < normalised; moved = true) {
    const std::int64_t n = clock.next, p = clock.packet;
    const int heads = packet(p).heads;
    Cycle ready = out_.ready[n], start = -1;
    if (clock.head == 0) {
      // The header waits for the payload's end, but not while the output buffer is full. Only a packet of
      // more heads than the buffer has slots can fill it before its end; if its end is not known although
      // nothing else goes on, the end waits for this answer.
      const bool ended = ended_ > p;
      Cycle end = ended ? record_.ready[p] : 0;
      if (heads > out_.slots) {
        if (normalised < n + out_.slots || !(ended || stuck)) break;
        const Cycle full = normalise_start_[n + out_.slots - 1] + 1;
        end = ended ? std::min(end, full) : full;
      } else if (!ended) {
        break;
      }
      const std::optional<Cycle> room = port_->answer_room();
      if (!room) break;
      stuck = false;
      send_word(std::max(ready, end), *room);
      start = chosen_;
      ready = 0;
    }
    const Cycle first = send_words(timing_.beats.head, ready);
    out_.free[n] = chosen_ + 1;
    if (observed_) port_->passed(Stage::pack, p, start < 0 ? first : start, chosen_ + 1);
    ++clock.next;
    if (++clock.head == heads) {
      clock.head = 0;
      ++clock.packet;
      record_.free[p] = chosen_ + 1;
      port_->answered(sent_);
    }
  }
  return moved;
}

}  // namespace lawcat

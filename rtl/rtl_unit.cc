// SPDX-License-Identifier: Apache-2.0
// See rtl_unit.h.
#include "rtl/rtl_unit.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "hostlib/arch/timing.h"
#include "hostlib/io/error.h"

namespace lawcat {

std::optional<int> RtlSlots::find(int key) {
  for (int b = 0; b < size(); ++b)
    if (at(b).key == key) {
      at(b).used = ++clock_;
      return b;
    }
  return std::nullopt;
}

int RtlSlots::oldest() const {
  const auto found = std::min_element(blocks_.begin(), blocks_.end(),
                                      [](const Block& a, const Block& b) { return a.used < b.used; });
  if (found->used > pinned_ && pinned_ > 0) throw std::logic_error("rtl: more parts than blocks of slots");
  return static_cast<int>(found - blocks_.begin());
}

RtlUnit::RtlUnit(std::vector<std::shared_ptr<RtlMachine>> machines, const UnitShape& shape,
                 std::span<const UnitWeights> layers, int most_slots)
    : shape_(shape),
      format_(machines.front()->engine.preset(), shape.head_dim, shape.feature_dim),
      contexts_(layers.size()) {
  const Preset& of = machines.front()->engine.preset();
  const DatapathRules rules(of.datapath);
  const auto limited = [most_slots](int slots) {
    return most_slots > 0 ? std::min(slots, most_slots) : slots;
  };
  const int context_slots = limited(format_.context_slots()), weight_slots = limited(format_.weight_slots());
  int largest = 1;
  for (const EngineShare& share :
       place_layer(of, shape.heads, shape.kv_heads, shape.head_dim, shape.feature_dim)) {
    const int number = static_cast<int>(shares_.size());
    shares_.emplace_back();
    for (const PacketHeads& packet :
         packets_of(share, shape.group(), std::min({context_slots, weight_slots, 255}))) {
      shares_.back().push_back(static_cast<int>(parts_.size()));
      parts_.push_back({number, packet.first_head, packet.heads, packet.first_head / shape.group()});
      largest = std::max(largest, packet.heads);
    }
  }
  // Every block has the size of the largest part, so that any part fits any block.
  for (std::shared_ptr<RtlMachine>& machine : machines)
    places_.push_back(
        {std::move(machine), RtlSlots(context_slots, largest), RtlSlots(weight_slots, largest)});
  for (std::size_t l = 0; l < layers.size(); ++l) {
    weights_.emplace_back();
    for (int h = 0; h < shape.heads; ++h) {
      weights_.back().emplace_back(rules, shape, layers[l], h, saturations_);
      contexts_[l].push_back({HeadState(of.datapath, shape)});
    }
  }
}

RtlUnit::~RtlUnit() {
  for (Place& at : places_)
    if (at.machine->owner == this) at.machine->owner = nullptr;
}

int RtlUnit::blocks() const {
  return std::min(places_.front().contexts.size(), places_.front().weights.size());
}

void RtlUnit::acquire() {
  for (Place& at : places_) {
    if (at.machine->owner == this) continue;
    if (at.machine->owner != nullptr) at.machine->owner->leave(*at.machine);
    at.machine->engine.set_shape(shape_.head_dim, shape_.feature_dim);
    at.machine->owner = this;
  }
}

/// Brings what the tile has newer than the host back, and leaves the slots.
void RtlUnit::leave(RtlMachine& machine) {
  for (int layer = 0; layer < static_cast<int>(contexts_.size()); ++layer) pull(layer);
  for (Place& at : places_) {
    if (at.machine.get() != &machine) continue;
    at.contexts.clear();
    at.weights.clear();
  }
  machine.owner = nullptr;
}

void RtlUnit::place(int layer, std::span<const int> parts) {
  if (parts.empty()) return;
  Place& at_place = place_of(parts.front());
  at_place.contexts.pin();
  at_place.weights.pin();
  for (const int p : parts) place(layer, p);
}

void RtlUnit::take(const Job& job, int token, int p, std::uint32_t tag, const Packet& answer) {
  PacketHeader expected = token_header(job.layer, p, tag);
  expected.kind |= 0x80;
  if (const PacketHeader got = StreamFormat::read_header(answer); got != expected)
    throw std::runtime_error(fmt::format(
        "rtl: the answer to packet {} has kind 0x{:02x}, {} heads, slots {} and {}, head {}, tag {}{}", tag,
        got.kind, got.heads_or_region, got.slot, got.weight_slot, got.head_or_index, got.tag,
        got.error ? " and the error flag" : ""));
  const auto d = static_cast<std::size_t>(shape_.head_dim);
  const std::size_t at = (static_cast<std::size_t>(token) * static_cast<std::size_t>(shape_.heads) +
                          static_cast<std::size_t>(part(p).first_head)) *
                         d;
  format_.read_output(answer, job.o.subspan(at, static_cast<std::size_t>(part(p).heads) * d));
}

void RtlUnit::ran(int layer, std::span<const int> parts) {
  for (const int p : parts)
    for (int i = 0; i < part(p).heads; ++i) {
      Context& at = context(layer, part(p).first_head + i);
      at.fresh = false;
      at.newer_in_tile = true;
    }
}

void RtlUnit::count(const RtlCounts& counts) {
  std::transform(counts_.begin(), counts_.end(), counts.begin(), counts_.begin(), std::plus{});
}

std::int64_t RtlUnit::transfer_cycles() const {
  return std::accumulate(places_.begin(), places_.end(), std::int64_t{0},
                         [](std::int64_t cycles, const Place& at) { return cycles + at.transfer_cycles; });
}

Counters RtlUnit::saturations() const {
  Counters all;
  for (int p = 0; p < kPointCount; ++p) {
    const std::string_view point = to_string(static_cast<Point>(p));
    std::int64_t events = saturations_[static_cast<std::size_t>(p)];
    for (const Place& at : places_) events += at.saturations[static_cast<std::size_t>(p)];
    for (std::size_t i = 0; i < kClippedPoints.size(); ++i)
      if (kClippedPoints[i] == point) events += counts_[static_cast<std::size_t>(kCounterClipped) + i];
    all.add(fmt::format("fixed.saturations.{}", point), "events", static_cast<double>(events));
  }
  return all;
}

std::vector<double> RtlUnit::state(int layer) const {
  std::vector<double> all;
  for (const Context& context : current(layer))
    for (int r = 0; r < shape_.key_features(); ++r)
      for (int c = 0; c <= shape_.head_dim; ++c)
        all.push_back(context.state.real(preset().datapath, r, c, shape_.head_dim));
  return all;
}

void RtlUnit::set_state(int layer, std::span<const double> values) {
  check_layer(layer);
  const std::size_t size = static_cast<std::size_t>(shape_.key_features()) * (shape_.head_dim + 1);
  if (values.size() != size * shape_.heads)
    throw InputError("initial state", fmt::format("{} values", size * shape_.heads),
                     fmt::format("{}", values.size()));
  forget(layer);
  for (std::size_t h = 0; h < contexts_[static_cast<std::size_t>(layer)].size(); ++h) {
    Context& context = contexts_[static_cast<std::size_t>(layer)][h];
    context.state.assign(preset().datapath, shape_, values.subspan(h * size, size), saturations_);
    context.fresh = false;
  }
}

// The layout of FixedUnit::save.
UnitContext RtlUnit::save(int layer) const {
  UnitContext saved;
  for (const Context& context : current(layer)) {
    const auto put = [&](const auto& from) {
      saved.words.insert(saved.words.end(), from.begin(), from.end());
    };
    put(context.state.words);
    put(context.state.exponents);
    put(context.state.norm_words);
    put(context.state.norm_exponents);
    put(context.state.q_tail);
    put(context.state.k_tail);
    saved.words.push_back(context.state.tokens);
  }
  return saved;
}

void RtlUnit::restore(int layer, const UnitContext& saved) {
  check_layer(layer);
  auto& contexts = contexts_[static_cast<std::size_t>(layer)];
  const HeadState& one = contexts.front().state;
  const std::size_t words = one.words.size() + one.exponents.size() + one.norm_words.size() +
                            one.norm_exponents.size() + one.q_tail.size() + one.k_tail.size() + 1;
  if (saved.words.size() != words * contexts.size())
    throw InputError("saved context of backend rtl", fmt::format("{} words", words * contexts.size()),
                     fmt::format("{}", saved.words.size()));
  forget(layer);
  auto from = saved.words.begin();
  const auto take = [&from](auto& to) {
    for (auto& x : to) x = static_cast<std::remove_reference_t<decltype(x)>>(*from++);
  };
  for (Context& context : contexts) {
    take(context.state.words);
    take(context.state.exponents);
    take(context.state.norm_words);
    take(context.state.norm_exponents);
    take(context.state.q_tail);
    take(context.state.k_tail);
    context.state.tokens = static_cast<std::uint32_t>(*from++);
    context.fresh = false;
  }
}

void RtlUnit::check_layer(int layer) const {
  if (layer < 0 || static_cast<std::size_t>(layer) >= contexts_.size())
    throw InputError("job: layer", fmt::format("0 to {}", static_cast<int>(contexts_.size()) - 1),
                     fmt::format("{}", layer));
}

const std::vector<RtlUnit::Context>& RtlUnit::current(int layer) const {
  check_layer(layer);
  pull(layer);
  return contexts_[static_cast<std::size_t>(layer)];
}

/// STOREs the contexts of a part that lies in `block`.
void RtlUnit::pull_part(int layer, int p, int block) const {
  Place& at_place = place_of(p);
  TileDriver& driver = at_place.machine->engine.driver();
  const std::int64_t start = driver.cycles();
  for (int i = 0; i < part(p).heads; ++i) {
    Context& at = context(layer, part(p).first_head + i);
    if (!at.newer_in_tile) continue;
    std::vector<Packet> answers;
    for (Packet& request : format_.store_context(at_place.contexts.first_slot(block) + i)) {
      driver.send(std::move(request));
      answers.push_back(driver.receive());
    }
    at.state = format_.read_context(answers);
    at.newer_in_tile = false;
  }
  at_place.transfer_cycles += driver.cycles() - start;
}

void RtlUnit::pull(int layer) const {
  for (int p = 0; p < static_cast<int>(parts_.size()); ++p) {
    Place& at_place = place_of(p);
    if (at_place.machine->owner != this) continue;
    if (const auto block = at_place.contexts.find(key(layer, p))) pull_part(layer, p, *block);
  }
}

/// Contexts of this layer in the tiles are out of date.
void RtlUnit::forget(int layer) {
  for (int p = 0; p < static_cast<int>(parts_.size()); ++p) {
    Place& at_place = place_of(p);
    if (const auto block = at_place.contexts.find(key(layer, p))) at_place.contexts.drop(*block);
  }
  for (Context& at : contexts_[static_cast<std::size_t>(layer)]) at.newer_in_tile = false;
}

void RtlUnit::place(int layer, int p) {
  Place& at_place = place_of(p);
  TileDriver& driver = at_place.machine->engine.driver();
  if (!at_place.contexts.find(key(layer, p))) {
    const int block = at_place.contexts.oldest();
    const int parts = static_cast<int>(parts_.size());
    if (const int before = at_place.contexts.key(block); before >= 0)
      pull_part(before / parts, before % parts, block);
    const std::int64_t start = driver.cycles();
    at_place.contexts.assign(block, key(layer, p));
    for (int i = 0; i < part(p).heads; ++i) {
      const Context& at = context(layer, part(p).first_head + i);
      const int slot = at_place.contexts.first_slot(block) + i;
      if (at.fresh) {
        at_place.machine->engine.clear_slot(slot);
      } else {
        for (Packet& packet : format_.load_context(slot, at.state)) driver.send(std::move(packet));
      }
    }
    at_place.machine->engine.settle();
    at_place.transfer_cycles += driver.cycles() - start;
  }
  if (!at_place.weights.find(key(layer, p))) {
    const int block = at_place.weights.oldest();
    const std::int64_t start = driver.cycles();
    at_place.weights.assign(block, key(layer, p));
    for (int i = 0; i < part(p).heads; ++i)
      for (Packet& packet : format_.load_weights(
               at_place.weights.first_slot(block) + i,
               weights_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(part(p).first_head + i)]))
        driver.send(std::move(packet));
    at_place.machine->engine.settle();
    at_place.transfer_cycles += driver.cycles() - start;
  }
}

/// The part with a group's first head counts what is clipped of shared inputs.
Packet RtlUnit::token(const Job& job, int token, int p, std::uint32_t tag) {
  const Datapath& formats = preset().datapath;
  const Part& of = part(p);
  const auto d = static_cast<std::size_t>(shape_.head_dim),
             k = static_cast<std::size_t>(shape_.key_features());
  std::int64_t elsewhere = 0;
  const auto quantised = [&](std::span<const float> from, std::size_t at, std::size_t size, const Format& to,
                             Point point, bool counts) {
    std::int64_t& clipped = counts ? place_of(p).saturations[static_cast<std::size_t>(point)] : elsewhere;
    std::vector<std::int32_t> out(size);
    for (std::size_t i = 0; i < size; ++i) out[i] = quantise(from[at + i], to, clipped);
    return out;
  };
  const bool first = of.first_head == of.kv_head * shape_.group();
  const std::size_t shared = static_cast<std::size_t>(token) * static_cast<std::size_t>(shape_.kv_heads) +
                             static_cast<std::size_t>(of.kv_head);
  const std::size_t own = static_cast<std::size_t>(token) * static_cast<std::size_t>(shape_.heads) +
                          static_cast<std::size_t>(of.first_head);
  const auto heads = static_cast<std::size_t>(of.heads);
  return format_.token(token_header(job.layer, p, tag),
                       quantised(job.k, shared * d, d, formats.query_key, Point::key, first),
                       quantised(job.v, shared * d, d, formats.value, Point::value, first),
                       quantised(job.gk, shared * k, k, formats.gate_logit, Point::gate_logit, first),
                       quantised(job.q, own * d, heads * d, formats.query_key, Point::query, true));
}

PacketHeader RtlUnit::token_header(int layer, int p, std::uint32_t tag) {
  Place& at_place = place_of(p);
  const int context_block = *at_place.contexts.find(key(layer, p)),
            weight_block = *at_place.weights.find(key(layer, p));
  return {.kind = static_cast<std::uint8_t>(PacketKind::token),
          .heads_or_region = static_cast<std::uint8_t>(part(p).heads),
          .slot = static_cast<std::uint8_t>(at_place.contexts.first_slot(context_block)),
          .weight_slot = static_cast<std::uint8_t>(at_place.weights.first_slot(weight_block)),
          .head_or_index = static_cast<std::uint16_t>(part(p).first_head),
          .tag = tag};
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// For scripts/synth, which writes its input and builds it: one engine's gate netlist run on a stream of
// beats, and the transitions of every net counted. Without delays each net settles once per cycle: no
// glitches. With them (integer picoseconds, a pulse shorter than its gate's delay is swallowed) glitches
// count too.
//   synth_simulate NETLIST BEATS ANSWERS ACTIVITY EXPECTED_BEATS
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr int kInputs = 6;
constexpr int kPatience = 20000;  // cycles without a beat in or out

struct Gate {
  std::int32_t table = 0, output = 0, rise = 0, fall = 0;
  std::array<std::int32_t, kInputs> input{};
};
struct Flop {
  std::int32_t data = 0, output = 0, inverted = 0;
  std::uint8_t next = 0;
};
struct Memory {
  std::int32_t width = 0, depth = 0, write = 0, read = 0;
  std::vector<std::int32_t> write_address, write_data, read_address, read_data;
  std::vector<std::uint8_t> words, next;
  bool reads = false;
  std::int64_t read_count = 0, write_count = 0;
};

class Reader {
 public:
  explicit Reader(const char* path) : in_(path, std::ios::binary) {}
  std::int32_t number() {
    std::int32_t value = 0;
    if (!in_.read(reinterpret_cast<char*>(&value), sizeof value)) {
      std::cerr << "the netlist is cut short\n";
      std::exit(1);
    }
    return value;
  }
  std::vector<std::int32_t> numbers(std::int32_t count) {
    std::vector<std::int32_t> values(static_cast<std::size_t>(count));
    for (auto& value : values) value = number();
    return values;
  }
  std::vector<std::int32_t> numbers() { return numbers(number()); }

 private:
  std::ifstream in_;
};

class Simulation {
 public:
  explicit Simulation(const char* path);
  void set(std::int32_t net, bool value) {
    if (values_[at(net)] != static_cast<std::uint8_t>(value)) change(net, static_cast<std::uint8_t>(value));
  }
  bool get(std::int32_t net) const { return values_[at(net)] != 0; }
  void settle() { timed_ ? settle_timed() : settle_once(); }
  void clock();
  void count(bool on) { counting_ = on; }

  std::vector<std::vector<std::int32_t>> inputs, outputs;
  std::vector<std::uint32_t> transitions;
  std::vector<Memory> memories;

 private:
  static std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }
  std::uint8_t evaluate(const Gate& gate) const {
    unsigned index = 0;
    for (int i = 0; i < kInputs; ++i) index |= unsigned{values_[at(gate.input[at(i)])]} << i;
    return static_cast<std::uint8_t>(tables_[at(gate.table)] >> index & 1);
  }
  void change(std::int32_t net, std::uint8_t value) {
    values_[at(net)] = value;
    transitions[at(net)] += counting_;
    if (timed_) changed_.push_back(net);
  }
  void order();
  void settle_once() {
    for (const Gate& gate : gates_) {
      const std::uint8_t value = evaluate(gate);
      if (value != values_[at(gate.output)]) change(gate.output, value);
    }
  }
  void settle_timed();
  std::int64_t address(const std::vector<std::int32_t>& nets) const {
    std::int64_t value = 0;
    for (std::size_t i = 0; i < nets.size(); ++i) value |= std::int64_t{values_[at(nets[i])]} << i;
    return value;
  }

  bool timed_ = false, counting_ = false;
  std::vector<std::uint64_t> tables_;
  std::vector<Gate> gates_;
  std::vector<Flop> flops_;
  std::vector<std::uint8_t> values_;
  // With delays: who reads a net, what waits for its time, and which of a gate's events is the valid one.
  std::vector<std::int32_t> first_reader_, readers_, changed_;
  std::vector<std::vector<std::pair<std::int32_t, std::uint32_t>>> wheel_;
  std::vector<std::uint32_t> event_;
  std::vector<std::uint8_t> target_;
};

Simulation::Simulation(const char* path) {
  Reader in(path);
  const std::int32_t nets = in.number();
  timed_ = in.number() != 0;
  tables_.resize(at(in.number()));
  for (auto& table : tables_) {
    const auto low = static_cast<std::uint32_t>(in.number());
    table = std::uint64_t{static_cast<std::uint32_t>(in.number())} << 32 | low;
  }
  gates_.resize(at(in.number()));
  for (Gate& gate : gates_) {
    gate.table = in.number();
    gate.output = in.number();
    gate.rise = in.number();
    gate.fall = in.number();
    for (auto& net : gate.input) net = in.number();
  }
  flops_.resize(at(in.number()));
  std::mt19937 any(1);
  values_.assign(at(nets), 0);
  values_[1] = 1;
  transitions.assign(at(nets), 0);
  for (Flop& flop : flops_) {
    flop.data = in.number();
    flop.output = in.number();
    flop.inverted = in.number();
    values_[at(flop.output)] = any() & 1;
  }
  memories.resize(at(in.number()));
  for (Memory& memory : memories) {
    memory.width = in.number();
    memory.depth = in.number();
    memory.write = in.number();
    memory.read = in.number();
    memory.write_address = in.numbers();
    memory.write_data = in.numbers();
    memory.read_address = in.numbers();
    memory.read_data = in.numbers();
    memory.words.assign(at(memory.width) * at(memory.depth), 0);
    memory.next.assign(at(memory.width), 0);
  }
  for (auto* ports : {&inputs, &outputs}) {
    ports->resize(at(in.number()));
    for (auto& port : *ports) port = in.numbers();
  }
  order();
}

/// Gates by level, so that one pass settles them; with delays, who reads each net.
void Simulation::order() {
  std::vector<std::int32_t> driver(values_.size(), -1), waits(gates_.size(), 0);
  for (std::size_t g = 0; g < gates_.size(); ++g) driver[at(gates_[g].output)] = static_cast<std::int32_t>(g);
  std::vector<std::vector<std::int32_t>> readers(values_.size());
  for (std::size_t g = 0; g < gates_.size(); ++g) {
    auto nets = gates_[g].input;
    std::sort(nets.begin(), nets.end());
    for (std::size_t i = 0; i < nets.size(); ++i) {
      if (nets[i] < 2 || (i > 0 && nets[i] == nets[i - 1])) continue;  // constants, the same again
      readers[at(nets[i])].push_back(static_cast<std::int32_t>(g));
      waits[g] += driver[at(nets[i])] >= 0;
    }
  }
  std::vector<std::int32_t> ready;
  for (std::size_t g = 0; g < gates_.size(); ++g)
    if (waits[g] == 0) ready.push_back(static_cast<std::int32_t>(g));
  for (std::size_t i = 0; i < ready.size(); ++i)
    for (const std::int32_t reader : readers[at(gates_[at(ready[i])].output)])
      if (--waits[at(reader)] == 0) ready.push_back(reader);
  if (ready.size() != gates_.size()) {
    std::cerr << "the netlist has a combinational loop\n";
    std::exit(1);
  }
  std::vector<Gate> sorted;
  sorted.reserve(gates_.size());
  std::vector<std::int32_t> place(gates_.size());
  for (const std::int32_t g : ready) {
    place[at(g)] = static_cast<std::int32_t>(sorted.size());
    sorted.push_back(gates_[at(g)]);
  }
  gates_ = std::move(sorted);
  settle_once();
  if (!timed_) return;
  std::int32_t longest = 0;
  for (const Gate& gate : gates_) longest = std::max({longest, gate.rise, gate.fall});
  wheel_.resize(at(longest) + 2);
  event_.assign(gates_.size(), 0);
  target_.resize(gates_.size());
  for (std::size_t g = 0; g < gates_.size(); ++g) target_[g] = values_[at(gates_[g].output)];
  for (const auto& list : readers) {
    first_reader_.push_back(static_cast<std::int32_t>(readers_.size()));
    for (const std::int32_t g : list) readers_.push_back(place[at(g)]);
  }
  first_reader_.push_back(static_cast<std::int32_t>(readers_.size()));
  changed_.clear();
}

void Simulation::settle_timed() {
  std::size_t waiting = 0;
  for (std::size_t now = 0;; ++now) {
    auto& due = wheel_[now % wheel_.size()];
    for (const auto& [g, number] : due) {
      --waiting;
      if (event_[at(g)] == number) {
        const std::int32_t net = gates_[at(g)].output;
        if (values_[at(net)] != target_[at(g)]) change(net, target_[at(g)]);
      }
    }
    due.clear();
    for (std::size_t i = 0; i < changed_.size(); ++i) {
      const std::int32_t net = changed_[i];
      for (std::int32_t r = first_reader_[at(net)]; r < first_reader_[at(net) + 1]; ++r) {
        const std::int32_t g = readers_[at(r)];
        const Gate& gate = gates_[at(g)];
        const std::uint8_t value = evaluate(gate);
        if (value == target_[at(g)]) continue;
        target_[at(g)] = value;
        ++event_[at(g)];  // what was under way is overtaken
        if (value == values_[at(gate.output)]) continue;
        wheel_[(now + at(std::max(1, value ? gate.rise : gate.fall))) % wheel_.size()].emplace_back(
            g, event_[at(g)]);
        ++waiting;
      }
    }
    changed_.clear();
    if (waiting == 0) return;
  }
}

void Simulation::clock() {
  for (Flop& flop : flops_) flop.next = values_[at(flop.data)] ^ static_cast<std::uint8_t>(flop.inverted);
  for (Memory& memory : memories) {
    memory.reads = get(memory.read);
    if (memory.reads) {
      const auto* word =
          &memory.words[at(static_cast<std::int32_t>(address(memory.read_address) % memory.depth)) *
                        at(memory.width)];
      std::copy(word, word + memory.width, memory.next.begin());
      memory.read_count += counting_;
    }
    if (get(memory.write)) {
      auto* word = &memory.words[at(static_cast<std::int32_t>(address(memory.write_address) % memory.depth)) *
                                 at(memory.width)];
      for (std::int32_t bit = 0; bit < memory.width; ++bit)
        word[bit] = values_[at(memory.write_data[at(bit)])];
      memory.write_count += counting_;
    }
  }
  for (const Flop& flop : flops_) set(flop.output, flop.next != 0);
  for (const Memory& memory : memories)
    if (memory.reads)
      for (std::int32_t bit = 0; bit < memory.width; ++bit)
        if (memory.read_data[at(bit)] >= 0) set(memory.read_data[at(bit)], memory.next[at(bit)] != 0);
}

struct Beat {
  bool last = false;
  std::vector<bool> bits;
};

int byte(const Beat& beat, std::size_t from) {
  int value = 0;
  for (std::size_t bit = 0; bit < 8; ++bit) value |= int{beat.bits[from + bit]} << bit;
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  Simulation engine(argv[1]);
  // In the order in which scripts/synth names them.
  const auto &reset = engine.inputs[0], &enable = engine.inputs[1], &head_dim = engine.inputs[2],
             &feature_dim = engine.inputs[3], &valid = engine.inputs[4], &data = engine.inputs[5],
             &last = engine.inputs[6], &out_ready = engine.inputs[7];
  const auto &ready = engine.outputs[0], &out_valid = engine.outputs[1], &out_data = engine.outputs[2],
             &out_last = engine.outputs[3], &head_done = engine.outputs[4];
  std::ifstream in(argv[2]);
  int d = 0, f = 0;
  in >> d >> f;
  std::vector<Beat> beats;
  for (std::string flag, digits; in >> flag >> digits;) {
    Beat beat{flag == "1", std::vector<bool>(data.size())};
    for (std::size_t i = 0; i < digits.size(); ++i) {
      const char digit = digits[digits.size() - 1 - i];
      const int value = digit <= '9' ? digit - '0' : digit - 'a' + 10;
      for (std::size_t b = 0; b < 4 && 4 * i + b < beat.bits.size(); ++b)
        beat.bits[4 * i + b] = value >> b & 1;
    }
    beats.push_back(beat);
  }
  const long expected = std::atol(argv[5]);
  std::ofstream answers(argv[3]);
  const auto put = [&](const std::vector<std::int32_t>& nets, long value) {
    for (std::size_t i = 0; i < nets.size(); ++i) engine.set(nets[i], value >> i & 1);
  };
  put(head_dim, d);
  put(feature_dim, f);
  put(out_ready, 1);
  long cycles = 0, quiet = 0, taken = 0, watched = 0, heads = 0, last_head = 0, in_flight = 0;
  std::vector<long> gaps;  // between head-tokens' ends
  std::size_t next = 0;
  bool starts = true;  // a packet, with the next beat
  for (; taken < expected && quiet < kPatience; ++cycles, ++quiet) {
    put(reset, cycles >= 8);
    put(enable, cycles >= 8);
    const bool offered = cycles >= 8 && next < beats.size();
    put(valid, offered);
    if (offered) {
      const Beat& beat = beats[next];
      // Transitions count while head-tokens are in flight.
      if (starts && byte(beat, 0) == 1) in_flight += byte(beat, 8);
      starts = false;
      put(last, beat.last);
      for (std::size_t b = 0; b < data.size(); ++b) engine.set(data[b], beat.bits[b]);
    }
    engine.count(in_flight > 0);
    watched += in_flight > 0;
    engine.settle();
    if (offered && engine.get(ready[0])) {
      starts = beats[next++].last;
      quiet = 0;
    }
    if (cycles >= 8 && engine.get(head_done[0])) {
      if (heads++ > 0) gaps.push_back(cycles - last_head);
      last_head = cycles;
      --in_flight;
    }
    if (cycles >= 8 && engine.get(out_valid[0])) {
      answers << engine.get(out_last[0]) << ' ';
      for (std::size_t i = out_data.size(); i >= 4; i -= 4) {
        int digit = 0;
        for (std::size_t b = 0; b < 4; ++b) digit |= int{engine.get(out_data[i - 4 + b])} << b;
        answers << "0123456789abcdef"[digit];
      }
      answers << '\n';
      ++taken;
      quiet = 0;
    }
    engine.clock();
  }
  std::sort(gaps.begin(), gaps.end());
  std::cout << watched << ' ' << heads << ' ' << (gaps.empty() ? watched : gaps[gaps.size() / 2]) << '\n';
  for (const Memory& memory : engine.memories)
    std::cout << memory.read_count << ' ' << memory.write_count << '\n';
  std::ofstream activity(argv[4], std::ios::binary);
  activity.write(reinterpret_cast<const char*>(engine.transitions.data()),
                 static_cast<std::streamsize>(engine.transitions.size() * sizeof engine.transitions[0]));
  return activity && answers ? 0 : 1;
}

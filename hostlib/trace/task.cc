// SPDX-License-Identifier: Apache-2.0
// Prompts and scores of the tasks; formats are RULER's and BABILong's.
#include "hostlib/trace/task.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "hostlib/io/strict_json.h"
#include "hostlib/trace/babi.h"
#include "hostlib/trace/passkey.h"
#include "hostlib/trace/random.h"
#include "hostlib/trace/score.h"

namespace lawcat {
namespace {

// Beside the answer itself: an end token, and a few words that a model may put before it.
constexpr int kAnswerSlack = 8;
constexpr int kBeginTokens = 1;

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

/// Prompts of different tasks and splits have nothing in common: each has streams of its own (FNV-1a).
std::uint64_t salt_of(std::string_view name, Split split) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  for (const std::string_view part : {name, split_name(split)})
    for (const char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

class PasskeyTask final : public Task {
 public:
  double chance() const override { return 1.0 / 90000; }
  bool ends() const override { return false; }

  TaskPrompt make(const TaskSpec& spec) const override {
    const PasskeyPrompt made = make_passkey({.tokens = spec.tokens,
                                             .seed = spec.seed,
                                             .index = spec.index,
                                             .depth = spec.depth,
                                             .noise = spec.noise,
                                             .distractors = spec.distractors});
    TaskPrompt prompt;
    prompt.text = made.text;
    prompt.answer = made.answer;
    prompt.depth = made.depth;
    for (const char digit : made.answer) (prompt.completion += ' ') += digit;
    prompt.completion += " .";
    prompt.answer_tokens = static_cast<int>(made.answer.size());
    return prompt;
  }

  bool score(const TaskPrompt& prompt, std::string_view output) const override {
    return exact_match(prompt.answer, output);
  }
};

/// What tasks with a haystack have in common.
class HaystackTask : public Task {
 public:
  HaystackTask(std::string name, Split split, CountTokens count, Haystack haystack)
      : name_(std::move(name)),
        salt_(salt_of(name_, split)),
        count_(std::move(count)),
        haystack_(std::move(haystack)) {}

 protected:
  void check(const TaskSpec& spec) const {
    if (spec.depth && !(*spec.depth >= 0 && *spec.depth <= 1))
      throw InputError(name_ + " prompt: depth", "a number from 0 to 1", fmt::format("{}", *spec.depth));
    if (spec.noise != 0 || spec.distractors != 0)
      throw InputError(name_ + " prompt: noise and distractors", "none: only passkey has them",
                       fmt::format("{} and {}", spec.noise, spec.distractors));
  }
  Random random_of(const TaskSpec& spec) const {
    return Random(spec.seed, salt_ ^ (spec.index << 32 | static_cast<std::uint32_t>(spec.tokens)));
  }
  int added(std::string_view text) const { return added_tokens(count_, text); }

  InputError too_short(const TaskSpec& spec, std::int64_t needed) const {
    return {fmt::format("{} prompt {}: tokens", name_, spec.index),
            fmt::format("at least {}, as question and answer take", needed), std::to_string(spec.tokens)};
  }

  /// `build(n, rest)` with the most haystack sentences from `first`, `estimate` of them or fewer, that keep
  /// the whole within the length; `rest` are words of the next one, as both benchmarks cut their last
  /// sentence. Noise is not cut.
  template <typename Build>
  TaskPrompt fitted(const TaskSpec& spec, std::size_t first, std::size_t estimate, Build build) const {
    const auto room = [&](const TaskPrompt& prompt) {
      return spec.tokens - kBeginTokens - count_(prompt.text) - prompt.answer_tokens;
    };
    // The estimate is off only where a tokenizer joins characters across sentences: then by little.
    TaskPrompt prompt = build(estimate, "");
    int left = room(prompt);
    std::size_t sentences = estimate;
    for (; left < 0 && sentences > 0; left = room(prompt)) prompt = build(--sentences, "");
    if (left < 0) throw too_short(spec, spec.tokens - left);
    if (haystack_.size() == 1) return prompt;  // noise
    for (int allowed = left;;) {
      const std::string rest = haystack_.beginning(first, sentences, allowed, count_);
      if (rest.empty()) break;
      const bool whole =
          rest.size() == haystack_.separator().size() + haystack_.sentence(first, sentences).size();
      TaskPrompt more = whole ? build(sentences + 1, "") : build(sentences, rest);
      const int more_left = room(more);
      if (more_left < 0) {
        allowed += more_left;
        continue;
      }
      prompt = std::move(more);
      if (!whole) break;
      ++sentences;
      allowed = more_left;
    }
    prompt.repeats = sentences > haystack_.size();
    return prompt;
  }

  std::string name_;
  std::uint64_t salt_;
  CountTokens count_;
  Haystack haystack_;
};

enum class Value { number, uuid };

struct NiahWords {
  std::string prompt;
  std::string needle;
  std::string completion;
  std::string noise;
  std::vector<std::string> adjectives;
  std::vector<std::string> nouns;

  explicit NiahWords(StrictObject words)
      : prompt(template_of(words, "prompt", {"context"})),
        needle(template_of(words, "needle", {"key", "value"})),
        completion(words.get_string("completion")),
        noise(words.get_string("noise")),
        adjectives(words.get_string_array("adjectives")),
        nouns(words.get_string_array("nouns")) {
    words.finish();
  }
};

std::string seven_digits(Random& random) {
  return std::to_string(1000000 + random.below(9000000));
}

/// Version 4 of RFC 9562: 122 random bits.
std::string uuid4(Random& random) {
  std::string text;
  for (int digit = 0; digit < 32; ++digit) {
    if (digit == 8 || digit == 12 || digit == 16 || digit == 20) text += '-';
    std::uint64_t value = random.below(16);
    if (digit == 12) value = 4;
    if (digit == 16) value = 8 | (value & 3);
    text += "0123456789abcdef"[value];
  }
  return text;
}

class NiahTask final : public HaystackTask {
 public:
  NiahTask(std::string name, Split split, CountTokens count, NiahWords words, Haystack haystack, Value value)
      : HaystackTask(std::move(name), split, std::move(count), std::move(haystack)),
        words_(std::move(words)),
        value_(value) {}

  double chance() const override { return value_ == Value::number ? 1 / 9e6 : std::ldexp(1.0, -122); }

  TaskPrompt make(const TaskSpec& spec) const override {
    check(spec);
    Random random = random_of(spec);
    const std::string key = words_.adjectives[random.below(words_.adjectives.size())] + "-" +
                            words_.nouns[random.below(words_.nouns.size())];
    const std::string value = value_ == Value::number ? seven_digits(random) : uuid4(random);
    const std::size_t first = static_cast<std::size_t>(random.below(haystack_.size()));
    // Drawn even when given, so that nothing else of a seed depends on the depth asked for.
    const double drawn = random.uniform();

    const std::vector<std::pair<std::string, std::string>> values = {
        {"kind", value_ == Value::number ? "number" : "uuid"}, {"key", key}, {"value", value}};
    const std::string frame = filled(words_.prompt, values);
    const std::string needle = filled(words_.needle, values);
    TaskPrompt prompt;
    prompt.answer = value;
    prompt.completion = filled(words_.completion, values);
    prompt.answer_tokens = added(prompt.completion) + kAnswerSlack;
    const std::string& separator = haystack_.separator();
    const int fixed = kBeginTokens + count_(filled(frame, {{"context", needle}})) + prompt.answer_tokens;
    const std::size_t estimate = haystack_.fitting(first, spec.tokens - fixed);

    return fitted(spec, first, estimate, [&](std::size_t sentences, const std::string& rest) {
      const auto n = static_cast<double>(sentences);
      const auto before = static_cast<std::size_t>(spec.depth ? std::llround(*spec.depth * n)
                                                              : static_cast<long long>(drawn * (n + 1)));
      std::string context;
      for (std::size_t i = 0; i <= sentences; ++i) {
        if (i == before) (context += i == 0 ? "" : separator) += needle;
        if (i < sentences) (context += context.empty() ? "" : separator) += haystack_.sentence(first, i);
      }
      TaskPrompt made = prompt;
      made.text = filled(frame, {{"context", context + rest}});
      made.depth = sentences ? static_cast<double>(before) / n : 0;
      return made;
    });
  }

  /// RULER's string_match_all with one reference: the answer is part of the output, letters of either case.
  bool score(const TaskPrompt& prompt, std::string_view output) const override {
    return lower(output).find(lower(prompt.answer)) != std::string::npos;
  }

 private:
  NiahWords words_;
  Value value_;
};

class BabilongTask final : public HaystackTask {
 public:
  BabilongTask(std::string name, Split split, CountTokens count, BabiWorld world, bool place_in_question,
               Haystack haystack)
      : HaystackTask(std::move(name), split, std::move(count), std::move(haystack)),
        world_(std::move(world)),
        place_in_question_(place_in_question) {
    for (const std::string& fact : world_.all_facts()) fact_tokens_.emplace(fact, added(" " + fact));
  }

  double chance() const override {
    return 1.0 / static_cast<double>(world_.places().size() - (place_in_question_ ? 1 : 0));
  }
  bool has_needle() const override { return false; }

  TaskPrompt make(const TaskSpec& spec) const override {
    check(spec);
    Random random = random_of(spec);
    // Stories as bAbI asks them; what does not fit is drawn again, at last with the first question of a
    // story, so that short lengths have shorter stories.
    constexpr int kTries = 64;
    BabiStory story;
    TaskPrompt prompt;
    std::string frame;
    std::int64_t fixed = 0;
    std::int64_t shortest = 0;
    for (int attempt = 0;; ++attempt) {
      story =
          world_.draw(random, attempt < kTries ? static_cast<int>(random.below(BabiWorld::kQuestions)) : 0);
      prompt.answer = story.answer;
      prompt.completion = story.completion;
      prompt.answer_tokens = added(prompt.completion) + kAnswerSlack;
      frame = filled(world_.prompt(), {{"question", story.question}});
      if (spec.tokens == 0) break;
      fixed = kBeginTokens + count_(filled(frame, {{"context", ""}})) + prompt.answer_tokens;
      for (const std::string& fact : story.facts) fixed += fact_tokens_.at(fact);
      // Exactly, where the sum over the facts says that they fit.
      if (fixed <= spec.tokens)
        fixed = kBeginTokens + prompt.answer_tokens +
                count_(filled(frame, {{"context", fmt::format("{}", fmt::join(story.facts, " "))}}));
      if (fixed <= spec.tokens) break;
      shortest = shortest ? std::min(shortest, fixed) : fixed;
      if (attempt == 4 * kTries) throw too_short(spec, shortest);
    }
    const std::size_t first = static_cast<std::size_t>(random.below(haystack_.size()));
    std::vector<double> drawn;
    for (std::size_t i = 0; i < story.facts.size(); ++i) drawn.push_back(random.uniform());
    std::sort(drawn.begin(), drawn.end());

    const auto build = [&](std::size_t sentences, const std::string& rest) {
      const auto n = static_cast<double>(sentences);
      TaskPrompt made = prompt;
      std::string context;
      const auto append = [&context](const std::string& sentence) {
        (context += context.empty() ? "" : " ") += sentence;
      };
      std::size_t fact = 0;
      for (std::size_t i = 0; i <= sentences; ++i) {
        for (; fact < story.facts.size(); ++fact) {
          const auto place = static_cast<std::size_t>(
              spec.depth ? std::llround(*spec.depth * n) : static_cast<long long>(drawn[fact] * (n + 1)));
          if (place > i) break;
          if (fact == story.deciding)
            made.depth = static_cast<double>(i + fact) / (n + static_cast<double>(story.facts.size()));
          append(story.facts[fact]);
        }
        if (i < sentences) append(haystack_.sentence(first, i));
      }
      made.text = filled(frame, {{"context", context + rest}});
      return made;
    };
    if (spec.tokens == 0) return build(0, "");
    return fitted(spec, first, haystack_.fitting(first, spec.tokens - fixed), build);
  }

  /// BABILong's rule on the output's first sentence, without case: it names the answer, and no other place
  /// but those of the question.
  bool score(const TaskPrompt& prompt, std::string_view output) const override {
    std::string said = lower(output);
    for (const char* end : {".", "<context>", "<example>"})
      said.resize(std::min(said.find(end), said.size()));
    const std::size_t asked = prompt.text.rfind('\n') + 1;  // 0 without a line break
    const std::string question = lower(prompt.text.substr(asked));
    bool named = false;
    for (const std::string& place : world_.places()) {
      if (said.find(place) == std::string::npos || question.find(place) != std::string::npos) continue;
      if (place != prompt.answer) return false;
      named = true;
    }
    return named;
  }

 private:
  BabiWorld world_;
  bool place_in_question_;
  std::unordered_map<std::string, int> fact_tokens_;
};

}  // namespace

const std::vector<std::string>& task_names() {
  static const std::vector<std::string> names = {"passkey",  "s-niah-1",     "s-niah-2",
                                                 "s-niah-3", "babilong-qa2", "babilong-qa3"};
  return names;
}

std::unique_ptr<const Task> make_task(const std::string& name, const CountTokens& count, Split split,
                                      const std::filesystem::path& folder) {
  if (std::find(task_names().begin(), task_names().end(), name) == task_names().end())
    throw InputError("task", fmt::format("one of {}", fmt::join(task_names(), ", ")), name);
  if (name == "passkey") return std::make_unique<PasskeyTask>();

  const std::filesystem::path file = folder / "tasks" / "words.json";
  const nlohmann::json json = read_json(file);
  StrictObject root(json, file.string());
  if (const std::string schema = root.get_string("schema"); schema != "lawcat-words/1")
    throw InputError(root.place("schema"), "lawcat-words/1", schema);
  NiahWords niah(root.get_object("niah"));
  BabiWorld babi(root.get_object("babi"), name == "babilong-qa3" ? "qa3" : "qa2");
  root.finish();

  if (name == "s-niah-1") {
    Haystack noise({niah.noise}, "\n", count);
    return std::make_unique<NiahTask>(name, split, count, std::move(niah), std::move(noise), Value::number);
  }
  const bool is_niah = name.starts_with("s-niah");
  Haystack haystack =
      Haystack::read(folder / "haystack" / (is_niah ? "essays.txt" : "book.txt"), split, count);
  if (is_niah)
    return std::make_unique<NiahTask>(name, split, count, std::move(niah), std::move(haystack),
                                      name == "s-niah-3" ? Value::uuid : Value::number);
  return std::make_unique<BabilongTask>(name, split, count, std::move(babi), name == "babilong-qa3",
                                        std::move(haystack));
}

std::unique_ptr<const Task> make_task(const std::string& name, const CountTokens& count, Split split) {
  return make_task(name, count, split, data_root() / "traces");
}

}  // namespace lawcat

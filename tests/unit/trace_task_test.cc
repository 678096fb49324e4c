// SPDX-License-Identifier: Apache-2.0
// Generated tasks: lengths, needles, facts that give the answer, splits, scores, and what is refused.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <regex>
#include <set>

#include "hostlib/io/file.h"
#include "hostlib/trace/babi.h"
#include "hostlib/trace/passkey.h"
#include "hostlib/trace/task.h"
#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using test::expect_input_error;
using test::TemporaryFolder;
using testing::EndsWith;
using testing::MatchesRegex;
using testing::StartsWith;

/// Words, single digits and marks: sums over sentences are exact.
int count_words(std::string_view text) {
  int count = 0;
  bool in_word = false;
  for (const char c : text) {
    const bool letter = std::isalpha(static_cast<unsigned char>(c)) != 0;
    if (!letter && !std::isspace(static_cast<unsigned char>(c))) ++count;
    count += letter && !in_word;
    in_word = letter;
  }
  return count;
}

/// Three characters a token, across words and sentences: sums over sentences are never exact.
int count_triples(std::string_view text) {
  return static_cast<int>((text.size() + 2) / 3);
}

int occurrences(const std::string& text, const std::string& part) {
  int found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

std::vector<std::string> haystack_tasks() {
  std::vector<std::string> names = task_names();
  std::erase(names, "passkey");
  return names;
}

std::string between(const std::string& text, const std::string& before, const std::string& behind) {
  const std::size_t start = text.find(before) + before.size();
  return text.substr(start, text.rfind(behind) - start);
}

std::string babilong_context(const TaskPrompt& prompt) {
  return between(prompt.text, "<context>\n", "\n</context>");
}

TEST(Task, PromptsKeepToTheLengthAndComeCloseToIt) {
  for (const auto& [count, slack] : {std::pair{&count_words, 12}, {&count_triples, 16}})
    for (const std::string& name : haystack_tasks()) {
      const auto task = make_task(name, count);
      for (const int tokens : {900, 1500, 6000})
        for (std::uint64_t index = 0; index < 5; ++index) {
          const TaskPrompt prompt = task->make({.tokens = tokens, .seed = index % 2, .index = index});
          const int used = 1 + count(prompt.text) + prompt.answer_tokens;
          EXPECT_LE(used, tokens) << name;
          // Noise comes in whole blocks of 24 words, 89 characters.
          EXPECT_GT(used, tokens - slack - (name == "s-niah-1" ? 24 : 0)) << name << ' ' << prompt.text;
          EXPECT_GT(prompt.answer_tokens, count(prompt.completion)) << name;
        }
    }
}

TEST(Task, PromptOfSniahIsTheTemplateAroundHaystackAndNeedle) {
  const std::string uuid = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
  for (const auto& [name, kind, value] :
       {std::tuple<std::string, std::string, std::string>{"s-niah-1", "number", "[1-9][0-9]{6}"},
        {"s-niah-2", "number", "[1-9][0-9]{6}"},
        {"s-niah-3", "uuid", uuid}}) {
    const TaskPrompt prompt = make_task(name, count_words)->make({.tokens = 400, .seed = 1});
    ASSERT_TRUE(std::regex_match(prompt.answer, std::regex(value))) << prompt.answer;
    std::smatch key;
    const std::regex needle(
        fmt::format("One of the special magic {}s for ([a-z]+-[a-z]+) is: {}\\.", kind, prompt.answer));
    ASSERT_TRUE(std::regex_search(prompt.text, key, needle)) << prompt.text;
    EXPECT_THAT(prompt.text, StartsWith(fmt::format(
                                 "A special magic {0} is hidden within the following text. Make sure to "
                                 "memorize it. I will quiz you about the {0} afterwards.\n",
                                 kind)));
    EXPECT_THAT(prompt.text,
                EndsWith(fmt::format("\nWhat is the special magic {0} for {1} mentioned in the provided "
                                     "text? The special magic {0} for {1} mentioned in the provided text is",
                                     kind, key[1].str())));
    EXPECT_EQ(prompt.completion, " " + prompt.answer + ".");
    if (name != "s-niah-1") continue;
    const std::string noise =
        "\nThe grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
    EXPECT_GT(occurrences(prompt.text, noise + "\n"), 5);
    EXPECT_EQ(occurrences(prompt.text, "\n"), occurrences(prompt.text, noise) + 2);
  }
}

TEST(Task, TheNeedleStandsOnceAtTheDepthAskedFor) {
  for (const std::string name : {"s-niah-1", "s-niah-2", "s-niah-3"}) {
    const auto task = make_task(name, count_words);
    EXPECT_TRUE(task->has_needle());
    double last = -1;
    std::string answer;
    for (const double depth : {0.0, 0.25, 0.5, 0.75, 1.0}) {
      const TaskPrompt prompt = task->make({.tokens = 3000, .seed = 4, .index = 2, .depth = depth});
      EXPECT_EQ(occurrences(prompt.text, prompt.answer), 1) << prompt.text;
      EXPECT_EQ(occurrences(prompt.text, "One of the special magic"), 1);
      EXPECT_NEAR(prompt.depth, depth, 0.02);
      // By characters, too.
      const double place = static_cast<double>(prompt.text.find("One of the special magic")) /
                           static_cast<double>(prompt.text.size());
      EXPECT_NEAR(place, depth, 0.1) << name;
      EXPECT_GT(place, last);
      last = place;
      if (answer.empty()) answer = prompt.answer;
      EXPECT_EQ(prompt.answer, answer) << "the answer depends on the depth";
    }
  }
}

TEST(Task, DrawnDepthsAreUniformOverTheBoundaries) {
  const auto task = make_task("s-niah-1", count_words);
  std::map<double, int> seen;
  constexpr int kPrompts = 1000;
  for (std::uint64_t index = 0; index < kPrompts; ++index)
    ++seen[task->make({.tokens = 200, .seed = 1, .index = index}).depth];
  // Four blocks, so five places.
  ASSERT_EQ(seen.size(), 5u);
  for (const auto& [depth, times] : seen) EXPECT_NEAR(times, kPrompts / 5.0, 60) << depth;
}

/// What a reader of the facts knows; other sentences are skipped.
struct Reader {
  std::map<std::string, std::string> person_at;
  std::map<std::string, std::string> held_by;
  std::map<std::string, std::vector<std::string>> places_of;
  std::size_t facts = 0;

  void place(const std::string& object, const std::string& where) {
    auto& places = places_of[object];
    if (places.empty() || places.back() != where) places.push_back(where);
  }

  void read(const std::string& text) {
    static const std::regex fact(
        "(John|Mary|Sandra|Daniel) (went to|went back to|journeyed to|travelled to|moved to|got|grabbed|took|"
        "picked up|dropped|discarded|left|put down) the (\\w+)( there)?\\.");
    static const std::set<std::string> takes = {"got", "grabbed", "took", "picked up"};
    for (std::sregex_iterator it(text.begin(), text.end(), fact), end; it != end; ++it, ++facts) {
      const std::string who = (*it)[1], did = (*it)[2], what = (*it)[3];
      if (did.ends_with(" to")) {
        EXPECT_NE(person_at[who], what) << who << " is there already";
        person_at[who] = what;
        for (const auto& [object, holder] : held_by)
          if (holder == who) place(object, what);
      } else if (takes.contains(did)) {
        EXPECT_TRUE(held_by[what].empty()) << what << " is taken already";
        held_by[what] = who;
        if (!person_at[who].empty()) place(what, person_at[who]);
      } else {
        EXPECT_EQ(held_by[what], who) << what << " is dropped by another";
        held_by[what].clear();
      }
    }
  }

  std::string answer(const std::string& question) const {
    std::smatch part;
    if (std::regex_search(question, part, std::regex("Where is the (\\w+)\\?")))
      return places_of.at(part[1]).back();
    if (!std::regex_search(question, part, std::regex("Where was the (\\w+) before the (\\w+)\\?")))
      return "";
    const std::vector<std::string>& places = places_of.at(part[1]);
    for (std::size_t i = places.size() - 1; i > 0; --i)
      if (places[i] == part[2]) return places[i - 1];
    return "";
  }
};

TEST(Task, BabilongsAnswersFollowFromTheFacts) {
  for (const std::string name : {"babilong-qa2", "babilong-qa3"}) {
    const auto task = make_task(name, count_words);
    EXPECT_FALSE(task->has_needle());
    std::map<std::string, int> answers;
    for (const int tokens : {400, 1000, 2500})
      for (std::uint64_t index = 0; index < 100; ++index) {
        const TaskPrompt prompt = task->make({.tokens = tokens, .seed = 9, .index = index});
        Reader reader;
        reader.read(babilong_context(prompt));
        EXPECT_GE(reader.facts, 3u);
        const std::string question = prompt.text.substr(prompt.text.rfind("Question: "));
        EXPECT_EQ(reader.answer(question), prompt.answer) << prompt.text;
        EXPECT_TRUE(task->score(prompt, prompt.completion));
        ++answers[prompt.answer];
      }
    EXPECT_EQ(answers.size(), 6u);
  }
}

TEST(Task, BabilongPromptHasThePublishedFormAndFactsAtTheDepthAskedFor) {
  const auto task = make_task("babilong-qa2", count_words);
  const TaskPrompt prompt = task->make({.tokens = 2000, .seed = 2, .depth = 1.0});
  EXPECT_THAT(prompt.text,
              StartsWith("I give you context with the facts about locations and actions of "
                         "different persons hidden in some random text and a question.You need"));
  EXPECT_EQ(occurrences(prompt.text,
                        "</example>\nAlways return your answer in the following format: The "
                        "\u2019item\u2019 is in \u2019location\u2019. Do not write anything else "
                        "after that.\n<context>\n"),
            1);
  EXPECT_TRUE(std::regex_search(prompt.text, std::regex("\n</context>\nQuestion: Where is the [a-z]+\\?$")));
  EXPECT_THAT(prompt.completion, MatchesRegex("\nAnswer: The [a-z]+ is in the [a-z]+\\."));
  const std::string context = babilong_context(prompt);
  Reader front;
  front.read(context.substr(0, context.size() / 2));
  EXPECT_EQ(front.facts, 0u) << context;
  EXPECT_GT(prompt.depth, 0.5);
  Reader all;
  all.read(context);
  EXPECT_GE(all.facts, 3u);
}

TEST(Task, BabilongWithoutRoomForABookIsFactsOnly) {
  for (const std::string name : {"babilong-qa2", "babilong-qa3"}) {
    const auto task = make_task(name, count_words);
    int without = 0;
    // Stories that fit by their sum only are drawn again.
    const auto inexact = make_task(name, count_triples);
    for (std::uint64_t index = 0; index < 500; ++index)
      EXPECT_NO_THROW(inexact->make({.tokens = 550, .seed = 3, .index = index}));
    for (std::uint64_t index = 0; index < 20; ++index) {
      const TaskPrompt prompt = task->make({.tokens = 330, .seed = 3, .index = index});
      Reader reader;
      const std::string context = babilong_context(prompt);
      reader.read(context);
      without += static_cast<std::size_t>(occurrences(context, ".")) == reader.facts;
    }
    EXPECT_GT(without, 0) << name;
  }
}

TEST(Task, LengthZeroIsBabilongsFactsOnlyAndNothingForTheOthers) {
  for (const std::string& name : task_names()) {
    const auto task = make_task(name, count_words);
    for (std::uint64_t index = 0; index < 20; ++index) {
      const TaskSpec spec{.tokens = 0, .seed = 3, .index = index};
      if (!name.starts_with("babilong")) {
        expect_input_error([&] { task->make(spec); }, "tokens");
        continue;
      }
      const std::string context = babilong_context(task->make(spec));
      Reader reader;
      reader.read(context);
      EXPECT_GE(reader.facts, 2u);
      EXPECT_EQ(static_cast<std::size_t>(occurrences(context, ".")), reader.facts) << context;
    }
  }
}

TEST(Task, OnePromptIsTheSameEveryTimeAndOthersDiffer) {
  for (const std::string& name : task_names()) {
    const auto task = make_task(name, count_words);
    const TaskSpec spec{.tokens = 600, .seed = 5, .index = 7};
    const TaskPrompt first = task->make(spec);
    const TaskPrompt again = make_task(name, count_words)->make(spec);
    EXPECT_EQ(first.text, again.text);
    EXPECT_EQ(first.answer, again.answer);
    EXPECT_EQ(first.depth, again.depth);
    EXPECT_NE(first.text, task->make({.tokens = 600, .seed = 6, .index = 7}).text);
    EXPECT_NE(first.text, task->make({.tokens = 600, .seed = 5, .index = 8}).text);
    if (name == "passkey") continue;
    EXPECT_NE(first.text, make_task(name, count_words, Split::train)->make(spec).text);
  }
  EXPECT_NE(make_task("s-niah-1", count_words)->make({.tokens = 600}).answer,
            make_task("s-niah-2", count_words)->make({.tokens = 600}).answer);
}

TEST(Task, PasskeyIsTheGeneratorThatItWas) {
  const auto task = make_task("passkey", count_words);
  const PasskeyPrompt old =
      make_passkey({.tokens = 300, .seed = 3, .index = 2, .noise = 0.5, .distractors = 2});
  const TaskPrompt prompt =
      task->make({.tokens = 300, .seed = 3, .index = 2, .noise = 0.5, .distractors = 2});
  EXPECT_EQ(prompt.text, old.text);
  EXPECT_EQ(prompt.answer, old.answer);
  EXPECT_EQ(prompt.depth, old.depth);
  EXPECT_EQ(prompt.answer_tokens, 5);
  EXPECT_FALSE(task->ends());
  std::string spaced = " ";
  for (const char digit : old.answer) (spaced += digit) += ' ';
  EXPECT_EQ(prompt.completion, spaced + '.');
  EXPECT_TRUE(task->score(prompt, spaced));
  EXPECT_FALSE(task->score(prompt, spaced + "1"));
}

TEST(Task, SniahScoresLikeRuler) {
  const auto task = make_task("s-niah-3", count_words);
  TaskPrompt prompt;
  prompt.answer = "ab12-Cd";
  EXPECT_TRUE(task->score(prompt, "ab12-cd"));
  EXPECT_TRUE(task->score(prompt, "It is AB12-CD, I think."));
  EXPECT_FALSE(task->score(prompt, "ab12 -cd"));
  EXPECT_FALSE(task->score(prompt, "ab12"));
  EXPECT_FALSE(task->score(prompt, ""));
}

TEST(Task, BabilongScoresTheFirstSentenceAndRefusesASecondPlace) {
  const auto task = make_task("babilong-qa3", count_words);
  TaskPrompt prompt;
  prompt.text = "the office.\nQuestion: Where was the milk before the kitchen?";
  prompt.answer = "garden";
  for (const char* right : {"garden", "\nAnswer: Before the kitchen the milk was in the Garden.",
                            "the garden. Or the office.", "garden<example>office"})
    EXPECT_TRUE(task->score(prompt, right)) << right;
  for (const char* wrong : {"", "office", "the garden or the office", "kitchen", "I think. garden"})
    EXPECT_FALSE(task->score(prompt, wrong)) << wrong;
}

TEST(Task, ChanceIsThatOfOneWhoKnowsTheForm) {
  const std::map<std::string, double> chances = {{"passkey", 1.0 / 90000},    {"s-niah-1", 1 / 9e6},
                                                 {"s-niah-2", 1 / 9e6},       {"s-niah-3", 0x1p-122},
                                                 {"babilong-qa2", 1.0 / 6.0}, {"babilong-qa3", 1.0 / 5.0}};
  for (const auto& [name, chance] : chances) EXPECT_DOUBLE_EQ(make_task(name, count_words)->chance(), chance);
}

/// A traces folder with the shipped words and haystacks of numbered paragraphs.
void fill(const TemporaryFolder& folder, int paragraphs) {
  std::filesystem::create_directories(folder / "tasks");
  std::filesystem::create_directories(folder / "haystack");
  folder.add("tasks/words.json", read_file(data_root() / "traces/tasks/words.json"));
  std::string text;
  for (int i = 0; i < paragraphs; ++i) text += fmt::format("Part {0} begins. Here part {0} ends.\n", i);
  folder.add("haystack/essays.txt", text);
  folder.add("haystack/book.txt", text);
}

TEST(Haystack, TheLastFifthOfTheParagraphsIsForTestsOnly) {
  const TemporaryFolder folder;
  fill(folder, 11);
  for (const auto& [split, parts] :
       {std::pair{Split::train, std::pair{0, 9}}, {Split::test, std::pair{9, 11}}}) {
    const Haystack haystack = Haystack::read(folder / "haystack/book.txt", split, count_words);
    ASSERT_EQ(haystack.size(), 2u * static_cast<unsigned>(parts.second - parts.first));
    for (int part = parts.first; part < parts.second; ++part) {
      const auto place = 2 * static_cast<std::size_t>(part - parts.first);
      EXPECT_EQ(haystack.sentence(0, place), fmt::format("Part {} begins.", part));
      EXPECT_EQ(haystack.sentence(0, place + 1), fmt::format("Here part {} ends.", part));
    }
    EXPECT_EQ(haystack.sentence(1, haystack.size()), haystack.sentence(1, 0));
  }
}

TEST(Haystack, PromptsSayWhenTheTextRepeats) {
  const TemporaryFolder folder;
  fill(folder, 40);
  for (const std::string name : {"s-niah-2", "babilong-qa2"}) {
    const auto task = make_task(name, count_words, Split::test, folder.path());
    EXPECT_TRUE(task->make({.tokens = 1500}).repeats) << name;
    EXPECT_FALSE(make_task(name, count_words)->make({.tokens = 1500}).repeats) << name;
  }
  EXPECT_FALSE(make_task("s-niah-1", count_words)->make({.tokens = 1500}).repeats);
}

TEST(Haystack, FittingIsTheMostThatFits) {
  const Haystack haystack({"One.", "Two words.", "Three more words.", "Four."}, " ", count_words);
  const std::vector<int> tokens = {2, 3, 4, 2};
  for (std::size_t first = 0; first < 4; ++first)
    for (int room = -1; room < 40; ++room) {
      std::size_t most = 0;
      for (int used = tokens[first]; used <= room; used += tokens[(first + most) % 4]) ++most;
      EXPECT_EQ(haystack.fitting(first, room), most) << first << ' ' << room;
    }
  EXPECT_EQ(haystack.beginning(1, 1, 2, count_words), " Three more");
  EXPECT_EQ(haystack.beginning(0, 0, 1, count_words), "");
}

TEST(Haystack, SentencesEndWhereReadersEndThem) {
  EXPECT_EQ(split_sentences("It is. \"Is it?\" she said. Mr. J. Bennet went!  (No.) Oh--so it was"),
            (std::vector<std::string>{"It is.", "\"Is it?\" she said.", "Mr. J. Bennet went!", "(No.)",
                                      "Oh--so it was"}));
  EXPECT_EQ(split_sentences("One 3.5 times."), std::vector<std::string>{"One 3.5 times."});
  EXPECT_TRUE(split_sentences("  ").empty());
}

TEST(Task, BadInputIsRefusedInWords) {
  expect_input_error([] { make_task("riddle", count_words); }, "task: expected one of passkey, s-niah-1",
                     "babilong-qa3, got riddle");
  const TemporaryFolder folder;
  expect_input_error([&] { make_task("s-niah-1", count_words, Split::test, folder.path()); }, "words.json");
  fill(folder, 4);
  EXPECT_NO_THROW(make_task("s-niah-1", count_words, Split::test, folder.path()));
  expect_input_error([&] { make_task("s-niah-2", count_words, Split::test, folder.path()); },
                     "essays.txt: expected at least five paragraphs, one a line, got 4");
  std::filesystem::remove(folder / "haystack/book.txt");
  expect_input_error([&] { make_task("babilong-qa2", count_words, Split::test, folder.path()); }, "book.txt");

  const std::string words = read_file(folder / "tasks/words.json");
  const auto changed = [&](const std::string& from, const std::string& to, const std::string& sentence) {
    std::string text = words;
    text.replace(text.find(from), from.size(), to);
    folder.add("tasks/words.json", text);
    expect_input_error([&] { make_task("s-niah-1", count_words, Split::test, folder.path()); }, sentence);
  };
  changed("lawcat-words/1", "lawcat-words/2", "schema: expected lawcat-words/1, got lawcat-words/2");
  changed("\"noise\"", "\"noises\"", "niah.noise");
  changed("\"schema\"", "\"extra\": 1, \"schema\"", "extra: expected one of the keys");
  changed("\"Daniel\": \"hallway\"", "\"Daniel\": \"moon\"", "babi.people.Daniel: expected one of bathroom");
  changed("\\n{context}\\nWhat", "What", "niah.prompt: expected a text with {context}");
  changed("is: {value}.", "is.", "niah.needle: expected a text with {value}");
  changed("Question: {question}", "Question?", "babi.qa2.prompt: expected a text with {question}");
  changed("{verb} to the {place}.", "{verb} away.", "babi.move.sentence: expected a text with {place}");
  changed("\"able\"", "7", "niah.adjectives[0]: expected a string, got 7");

  for (const std::string& name : haystack_tasks()) {
    const auto task = make_task(name, count_words);
    expect_input_error([&] { task->make({.tokens = 50}); }, name + " prompt 0: tokens: expected at least",
                       "got 50");
    expect_input_error([&] { task->make({.tokens = 900, .depth = 1.5}); },
                       "depth: expected a number from 0 to 1");
    expect_input_error([&] { task->make({.tokens = 900, .noise = 0.5}); }, "only passkey has them");
  }
}

}  // namespace
}  // namespace lawcat

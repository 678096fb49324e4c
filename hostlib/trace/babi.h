// SPDX-License-Identifier: Apache-2.0
// Stories of bAbI's tasks 2 and 3 (two and three supporting facts): people move, take objects and drop them.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "hostlib/io/strict_json.h"
#include "hostlib/trace/random.h"

namespace lawcat {

struct BabiStory {
  std::vector<std::string> facts;  ///< sentences
  std::string question;
  std::string answer;        ///< a place
  std::string completion;    ///< what a model is to write behind the prompt
  std::size_t deciding = 0;  ///< the last fact that tells where the object is (QA2) or came to be last (QA3)
};

/// The world of bAbI's generator (Weston et al., arXiv 1502.05698; world and rules as in its `world_basic`):
/// people and objects start where the file says; each step is a move (1/3), else any possible taking or
/// dropping. From the third fact since the last question on, a question is due with probability 1/2 when some
/// object's place (QA2) or last two places (QA3) follow from what was told. A story ends at its question
/// number `skipped`; those before it are left out, as BABILong does.
class BabiWorld {
 public:
  /// Reads `babi` of a words file; `question` is "qa2" or "qa3". Throws InputError.
  BabiWorld(StrictObject words, const std::string& question);

  BabiStory draw(Random& random, int skipped) const;

  /// Every sentence that a story may have.
  std::vector<std::string> all_facts() const;
  const std::vector<std::string>& places() const { return places_; }
  /// The prompt with {context} and {question}.
  const std::string& prompt() const { return prompt_; }
  /// Most questions that bAbI asks in one story.
  static constexpr int kQuestions = 5;

 private:
  struct Action {
    std::string sentence;
    std::vector<std::string> verbs;
  };
  struct Thing {
    std::string name;
    std::size_t place;
  };
  std::string tell(const Action& action, std::size_t verb, std::size_t person, std::size_t what,
                   std::size_t there) const;
  std::vector<Thing> read_things(StrictObject& words, const std::string& key) const;

  bool before_last_;  ///< QA3 asks for the place before the last one
  std::vector<std::string> places_;
  std::vector<Thing> people_;
  std::vector<Thing> objects_;
  Action move_;
  Action get_;
  Action drop_;
  std::vector<std::string> there_;
  std::string prompt_;
  std::string question_;
  std::string completion_;
};

/// The text of `key` of a tasks' words, in which each of the {names} must stand. Throws InputError.
std::string template_of(StrictObject& words, const std::string& key,
                        std::initializer_list<const char*> names);

/// `text` with every {key} replaced.
std::string filled(std::string text, const std::vector<std::pair<std::string, std::string>>& values);

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The small world that bAbI's stories come from.
#include "hostlib/trace/babi.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "hostlib/io/error.h"

namespace lawcat {
namespace {

constexpr std::size_t kNobody = static_cast<std::size_t>(-1);

struct PersonState {
  std::size_t place;
  bool told = false;  ///< a fact said where
};

struct ObjectState {
  explicit ObjectState(std::size_t start) : place(start) {}
  std::size_t place;
  std::size_t holder = kNobody;
  std::vector<std::size_t> told;  ///< places that follow from the facts, each other than the one before
  std::size_t deciding = 0;
};

}  // namespace

std::string template_of(StrictObject& words, const std::string& key,
                        std::initializer_list<const char*> names) {
  std::string text = words.get_string(key);
  for (const char* name : names)
    if (text.find(fmt::format("{{{}}}", name)) == std::string::npos)
      throw InputError(words.place(key), fmt::format("a text with {{{}}}", name), shown(text));
  return text;
}

std::string filled(std::string text, const std::vector<std::pair<std::string, std::string>>& values) {
  for (const auto& [key, value] : values) {
    const std::string mark = "{" + key + "}";
    for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + value.size()))
      text.replace(at, mark.size(), value);
  }
  return text;
}

BabiWorld::BabiWorld(StrictObject words, const std::string& question)
    : before_last_(question == "qa3"),
      places_(words.get_string_array("places")),
      there_(words.get_string_array("there")) {
  if (places_.size() < 2) throw InputError(words.place("places"), "at least two", "one");
  people_ = read_things(words, "people");
  objects_ = read_things(words, "objects");
  for (const auto& [key, action] : {std::pair{"move", &move_}, {"get", &get_}, {"drop", &drop_}}) {
    StrictObject object = words.get_object(key);
    action->sentence = template_of(object, "sentence", {"person", action == &move_ ? "place" : "object"});
    action->verbs = object.get_string_array("verbs");
    object.finish();
  }
  // Both are read, so that a mistake in the one not asked for is found too.
  for (const std::string name : {"qa2", "qa3"}) {
    StrictObject form = words.get_object(name);
    const std::string prompt = template_of(form, "prompt", {"context", "question"});
    const std::string asked = form.get_string("question");
    const std::string completion = form.get_string("completion");
    form.finish();
    if (name != question) continue;
    prompt_ = prompt;
    question_ = asked;
    completion_ = completion;
  }
  words.finish();
}

std::vector<BabiWorld::Thing> BabiWorld::read_things(StrictObject& words, const std::string& key) const {
  StrictObject things = words.get_object(key);
  std::vector<Thing> result;
  for (const auto& item : words.get_any(key).items()) {
    const std::string& name = item.key();
    const std::string start = things.get_string(name);
    const auto found = std::find(places_.begin(), places_.end(), start);
    if (found == places_.end())
      throw InputError(things.place(name), fmt::format("one of {}", fmt::join(places_, ", ")), start);
    result.push_back({name, static_cast<std::size_t>(found - places_.begin())});
  }
  if (result.empty()) throw InputError(words.place(key), "at least one name with a place", "none");
  return result;
}

std::string BabiWorld::tell(const Action& action, std::size_t verb, std::size_t person, std::size_t what,
                            std::size_t there) const {
  return filled(action.sentence, {{"person", people_[person].name},
                                  {"verb", action.verbs[verb]},
                                  {&action == &move_ ? "place" : "object",
                                   &action == &move_ ? places_[what] : objects_[what].name},
                                  {"there", there_[there]}});
}

std::vector<std::string> BabiWorld::all_facts() const {
  std::vector<std::string> facts;
  for (const Action* action : {&move_, &get_, &drop_})
    for (std::size_t verb = 0; verb < action->verbs.size(); ++verb)
      for (std::size_t person = 0; person < people_.size(); ++person)
        for (std::size_t what = 0; what < (action == &move_ ? places_.size() : objects_.size()); ++what)
          for (std::size_t there = 0; there < (action == &move_ ? 1 : there_.size()); ++there)
            facts.push_back(tell(*action, verb, person, what, there));
  return facts;
}

BabiStory BabiWorld::draw(Random& random, int skipped) const {
  std::vector<PersonState> people;
  for (const Thing& person : people_) people.push_back({person.place});
  std::vector<ObjectState> objects;
  for (const Thing& object : objects_) objects.emplace_back(object.place);
  BabiStory story;
  const auto learn = [&story](ObjectState& object) {
    if (!object.told.empty() && object.told.back() == object.place) return;
    object.told.push_back(object.place);
    object.deciding = story.facts.size();
  };
  const auto any = [&random](const auto& list) {
    return static_cast<std::size_t>(random.below(list.size()));
  };

  for (int since_question = 0;;) {
    if (random.below(3) == 0) {
      const std::size_t person = any(people);
      std::size_t place = static_cast<std::size_t>(random.below(places_.size() - 1));
      place += place >= people[person].place;
      people[person] = {place, true};
      for (ObjectState& object : objects)
        if (object.holder == person) {
          object.place = place;
          learn(object);
        }
      story.facts.push_back(tell(move_, any(move_.verbs), person, place, 0));
    } else {
      std::vector<std::pair<std::size_t, std::size_t>> possible;  // person, object
      for (std::size_t o = 0; o < objects.size(); ++o)
        for (std::size_t p = 0; p < people.size(); ++p)
          if (objects[o].holder == p || (objects[o].holder == kNobody && objects[o].place == people[p].place))
            possible.emplace_back(p, o);
      if (possible.empty()) continue;
      const auto [person, o] = possible[any(possible)];
      ObjectState& object = objects[o];
      const Action& action = object.holder == kNobody ? get_ : drop_;
      object.holder = object.holder == kNobody ? person : kNobody;
      if (people[person].told) learn(object);
      const std::size_t verb = any(action.verbs);
      story.facts.push_back(tell(action, verb, person, o, any(there_)));
    }

    if (++since_question < 3 || random.below(2) == 0) continue;
    std::vector<std::size_t> known;
    for (std::size_t o = 0; o < objects.size(); ++o)
      if (objects[o].told.size() > (before_last_ ? 1u : 0u)) known.push_back(o);
    if (known.empty()) continue;
    const std::size_t asked = known[any(known)];
    since_question = 0;
    if (skipped-- > 0) continue;
    const std::vector<std::size_t>& told = objects[asked].told;
    story.answer = places_[told[told.size() - (before_last_ ? 2 : 1)]];
    story.deciding = objects[asked].deciding;
    const std::vector<std::pair<std::string, std::string>> values = {
        {"object", objects_[asked].name}, {"last", places_[told.back()]}, {"place", story.answer}};
    story.question = filled(question_, values);
    story.completion = filled(completion_, values);
    return story;
  }
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Strict reading of trace files and the search for what they name.
#include "hostlib/trace/trace.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "hostlib/io/safetensors.h"
#include "hostlib/io/strict_json.h"

namespace lawcat {
namespace {

constexpr int kMaxTokens = 1 << 24;

void read_task(StrictObject task, const std::filesystem::path& folder, Trace& trace) {
  const int kinds =
      task.has("generator") + task.has("text") + task.has("text_file") + task.has("tokens_file");
  if (kinds != 1)
    throw InputError(task.place("generator"), "exactly one of generator, text, text_file, tokens_file",
                     fmt::format("{} of them", kinds));
  if (task.has("generator")) {
    const std::string generator = task.get_string("generator");
    if (std::find(task_names().begin(), task_names().end(), generator) == task_names().end())
      throw InputError(task.place("generator"), fmt::format("one of {}", fmt::join(task_names(), ", ")),
                       generator);
    const bool is_passkey = generator == "passkey";
    TaskSpec spec;
    spec.tokens = static_cast<int>(task.get_int("tokens", is_passkey ? kMinPasskeyTokens : 1, kMaxTokens));
    spec.seed = static_cast<std::uint64_t>(task.get_int("seed", 0, std::int64_t{1} << 53));
    if (task.has("index"))
      spec.index = static_cast<std::uint64_t>(task.get_int("index", 0, std::int64_t{1} << 31));
    if (task.has("depth")) spec.depth = task.get_number("depth", 0, 1);
    if (is_passkey && task.has("noise")) spec.noise = task.get_number("noise", 0, 1);
    if (is_passkey && task.has("distractors"))
      spec.distractors = static_cast<int>(task.get_int("distractors", 0, max_distractors(spec.tokens)));
    if (is_passkey)
      trace.passkey = {.tokens = spec.tokens,
                       .seed = spec.seed,
                       .index = spec.index,
                       .depth = spec.depth,
                       .noise = spec.noise,
                       .distractors = spec.distractors};
    else
      trace.generated = {generator, spec};
  } else {
    if (task.has("text")) trace.text = task.get_string("text");
    if (task.has("text_file")) trace.text = read_file(folder / task.get_string("text_file"));
    if (task.has("tokens_file")) trace.tokens_file = folder / task.get_string("tokens_file");
    if (task.has("expected")) trace.expected = task.get_string("expected");
  }
  task.finish();
}

}  // namespace

Trace load_trace(const std::filesystem::path& file) {
  const nlohmann::json json = read_json(file);
  StrictObject root(json, file.string());
  const std::string schema = root.get_string("schema");
  if (schema != "lawcat-trace/1") throw InputError(root.place("schema"), "lawcat-trace/1", schema);

  Trace trace;
  trace.file = file;
  trace.sha256 = sha256(read_file(file));
  trace.name = root.get_string("name");
  // The name becomes the default output folder.
  if (trace.name.empty() || trace.name.find_first_of("/\\") != std::string::npos || trace.name[0] == '.')
    throw InputError(root.place("name"), "a name that can be a folder's", '"' + trace.name + '"');
  if (root.has("description")) trace.description = root.get_string("description");
  trace.model = root.get_string("model");
  trace.preset = root.get_string("preset");
  if (root.has("gpu_reference")) trace.gpu_reference = file.parent_path() / root.get_string("gpu_reference");
  if (root.has("task")) read_task(root.get_object("task"), file.parent_path(), trace);

  StrictObject phases = root.get_object("phases");
  trace.decode_tokens = static_cast<int>(phases.get_int("decode_tokens", 0, kMaxTokens));
  if (!root.has("task"))
    trace.prefill_tokens = static_cast<int>(phases.get_int("prefill_tokens", 1, kMaxTokens));
  phases.finish();
  root.finish();
  return trace;
}

std::filesystem::path find_trace(const std::string& name) {
  const std::filesystem::path shipped = data_root() / "traces";
  std::string looked;
  for (const std::filesystem::path& place :
       {std::filesystem::path(name), std::filesystem::path(name + ".json"), shipped / name,
        shipped / (name + ".json")}) {
    // A folder of that name, such as a run's output, is no trace.
    if (std::error_code ignored; std::filesystem::is_regular_file(place, ignored)) return place;
    looked += (looked.empty() ? "" : ", ") + place.string();
  }
  throw InputError("trace " + name, "one of the files " + looked, "none of them");
}

std::vector<int> read_tokens(const std::filesystem::path& file, int vocab_size) {
  const SafeTensors tensors = SafeTensors::open(file);
  const TensorView& tensor = tensors.at("tokens");
  const std::string& place = tensor.place;
  if (tensor.shape.size() != 1 || tensor.element_count() == 0)
    throw InputError(place, "shape [T] with T > 0",
                     fmt::format("{} dimensions, {} elements", tensor.shape.size(), tensor.element_count()));
  std::vector<int> tokens;
  for (const std::int64_t token : tensor.to_ints()) {
    if (token < 0 || token >= vocab_size)
      throw InputError(fmt::format("{}[{}]", place, tokens.size()),
                       fmt::format("a token id from 0 to {}", vocab_size - 1), std::to_string(token));
    tokens.push_back(static_cast<int>(token));
  }
  return tokens;
}

}  // namespace lawcat

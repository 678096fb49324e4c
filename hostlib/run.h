// SPDX-License-Identifier: Apache-2.0
// The spine: what a command does, from trace, model and backend to a report. No printing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hostlib/arch/preset.h"
#include "hostlib/backend/backend.h"
#include "hostlib/model/runner.h"
#include "hostlib/report/error_meter.h"
#include "hostlib/report/report.h"
#include "hostlib/trace/score.h"
#include "hostlib/trace/task.h"
#include "hostlib/trace/trace.h"
#include "hostlib/trace/vectors.h"

namespace lawcat {

/// Called now and then from one thread at a time: what is being done, and how much of it.
using Progress = std::function<void(std::string_view what, std::int64_t done, std::int64_t total)>;

/// What computes the model outside the unit.
struct HostChoice {
  MakeHost make = make_cpu_host;
  /// The host has the backend's unit itself: LAWCAT models run on it whole, without jobs. A backend is still
  /// given: what a run verifies and compares goes through it.
  bool has_unit = false;
};

struct RunRequest {
  Trace trace;
  Preset preset;
  bool verify_against_fixed = false;  ///< the backend promises the bits of `fixed`: hold it to them
  std::string commit;                 ///< of the program, for the report
  Progress progress;                  ///< may be empty
  HostChoice host = {};
};

/// The main job: the trace's prompt through its model with the unit on `backend`, then the answer token by
/// token. With weights every unit job also runs on the float64 reference with the same inputs, and the prompt
/// once more through a model whose unit is the reference; where the host has the unit itself, these are runs
/// of their own behind the one that is timed. Throws InputError.
Report run(const RunRequest& request, Backend& backend);

/// Tokens of the prompt that run() feeds for this trace. Throws InputError.
int prompt_tokens(const Trace& trace);

/// Depth bins of samples whose depths were drawn, equal parts of the filler.
inline constexpr int kDepthBins = 5;

struct EvalRequest {
  std::string task = "passkey";  ///< one of task_names(), on its test split
  std::vector<int> lengths;      ///< prompt lengths in tokens
  int samples = 0;               ///< prompts per length
  std::uint64_t seed = 0;
  std::vector<double> depths;  ///< taken in turn; empty: drawn, one from each of `samples` equal ranges
                               ///< (BABILong: facts are spread)
  double noise = 0;            ///< these two: passkey only
  int distractors = 0;         ///< see PasskeySpec
  bool parallel =
      true;  ///< samples over cores, each with its own session; only for backends and hosts that can
  Progress progress;
  HostChoice host = {};
};

struct EvalSample {
  int tokens = 0;
  std::uint64_t index = 0;
  double depth = 0;
  std::string expected;
  std::string got;
  bool correct = false;
  bool repeats = false;     ///< TaskPrompt::repeats
  std::string against_got;  ///< of the second run, where one was asked for
  bool against_correct = false;
};

struct EvalResult {
  std::vector<EvalSample> samples;  ///< by length, then index
  /// Depth bins: place in EvalRequest::depths, or one of kDepthBins.
  ScoreBoard scores;
  ScoreBoard against_scores;  ///< of the second run; empty without one
  bool has_unit = true;       ///< false for softmax models: no backend computed anything
  double chance = 0;          ///< Task::chance()
};

/// Accuracy on a task of the model in `folder` with its unit on `backend` (not used by softmax models). With
/// `against` every prompt is also answered with the unit there, on the same host, or on the processor where
/// the host has its own unit. The same request gives the same samples in any order of work. Throws
/// InputError, also for `against` with a softmax model.
EvalResult evaluate(const EvalRequest& request, const std::filesystem::path& folder, Backend& backend,
                    Backend* against = nullptr);

struct PoolRequest {
  std::vector<std::string> tasks;  ///< of task_names(), taken in turn
  std::vector<int> lengths;        ///< TaskSpec::tokens, taken in turn behind the tasks
  int samples = 0;                 ///< in all
  std::optional<double> depth;     ///< TaskSpec::depth
  std::uint64_t seed = 0;
  Split split = Split::train;
  int jobs = 0;             ///< threads; 0: one a core
  bool keep_texts = false;  ///< else TaskPrompt::text is empty afterwards
  Progress progress;
};

struct PoolSample {
  std::size_t task = 0;  ///< place in PoolRequest::tasks
  int length = 0;        ///< that was asked for
  TaskPrompt prompt;
  std::vector<int> tokens;  ///< begin token, prompt, completion, end token; the model may lack begin and end
  int answer = 0;           ///< index of the completion's first token; what is before is the prompt alone
};

struct Pool {
  std::vector<PoolSample> samples;
};

/// Prompts and answers for training and evaluation with the tokenizer in `folder`, which needs no weights.
/// The same request gives the same pool with any number of threads. Throws InputError, also for a tokenizer
/// whose tokens of a prompt depend on the answer behind it.
Pool make_pool(const PoolRequest& request, const std::filesystem::path& folder);

/// `tokens` I32 [total], `offsets` I64 [N + 1], `answer` I32 [N], `task` I32 [N]; task names, lengths, seed
/// and split in the metadata. Throws InputError.
void write_pool(const PoolRequest& request, const Pool& pool, const std::filesystem::path& file);

struct UnitRun {
  UnitResult result;
  Counters counters;
};
/// Runs vectors through a one-layer session in blocks. Throws InputError.
UnitRun run_unit(const UnitVectors& vectors, Backend& backend, const Progress& progress = {});

/// How far one result is from another.
struct UnitComparison {
  ErrorMeter output;
  ErrorMeter state;
  /// First output that is off by more than `tolerance` x the largest expected magnitude.
  struct Place {
    int token = 0;
    int head = 0;
    int channel = 0;
    float expected = 0;
    float got = 0;
  };
  std::optional<Place> first_off;
  /// Error over the tokens up to `tokens`, doubling: how it grows with length.
  struct CurvePoint {
    int tokens = 0;
    ErrorMeter meter;
  };
  std::vector<CurvePoint> curve;
};
UnitComparison compare(const UnitVectors& vectors, const UnitResult& expected, const UnitResult& got,
                       double tolerance);

/// Logits [last, vocab] of the whole model on the given tokens. Throws InputError.
std::vector<float> run_logits(const Model& model, std::span<const int> tokens, int last, Backend& backend,
                              const Progress& progress = {}, const HostChoice& host = {});

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// The main job, from a trace to a report.
#include "hostlib/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "hostlib/arch/energy_table.h"
#include "hostlib/arch/timing.h"
#include "hostlib/backend/fixed.h"
#include "hostlib/backend/reference.h"
#include "hostlib/io/error.h"
#include "hostlib/io/file.h"
#include "hostlib/io/interrupt.h"
#include "hostlib/model/generate.h"
#include "hostlib/model/tokenizer.h"
#include "hostlib/observed_session.h"
#include "hostlib/report/comparing_session.h"
#include "hostlib/report/energy.h"
#include "hostlib/report/gpu_reference.h"
#include "hostlib/token_count.h"

namespace lawcat {
namespace {

constexpr int kTop1Tokens = 256;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Figure peak_memory_mib() {
  const std::string kib = field_of("/proc/self/status", "VmHWM");
  if (kib.empty()) return Figure::none("this system does not tell a process's peak memory");
  return std::stod(kib) / 1024;
}

/// What the run itself has to say; figures that follow from it are filled in by finish().
struct Work {
  UnitShape shape;
  int layers = 0;
  int prefill_tokens = 0;
  int decode_steps = 0;
  double prefill_cycles = 0;
  double prefill_host_s = 0;
  double decode_host_s = 0;
  double backend_s = 0;                                  ///< wall time inside the backend
  std::function<bool(std::string_view answer)> correct;  ///< the task's own rule; empty: exact match
};

std::vector<int> prompt_of(const Trace& trace, const Model& model, const Tokenizer* tokenizer, Report& report,
                           Work& work) {
  if (trace.tokens_file) {
    report.answer.expected = trace.expected;
    return read_tokens(*trace.tokens_file, model.config().vocab_size);
  }
  std::string text;
  if (trace.passkey) {
    const PasskeyPrompt prompt = make_passkey(*trace.passkey);
    text = prompt.text;
    report.answer.expected = prompt.answer;
    report.provenance.seeds = {trace.passkey->seed};
  } else if (trace.generated) {
    const std::shared_ptr<const Task> task = make_task(trace.generated->task, count_with(*tokenizer));
    const TaskPrompt prompt = task->make(trace.generated->spec);
    text = prompt.text;
    report.answer.expected = prompt.answer;
    report.provenance.seeds = {trace.generated->spec.seed};
    work.correct = [task, prompt](std::string_view answer) { return task->score(prompt, answer); };
  } else {
    text = *trace.text;
    report.answer.expected = trace.expected;
  }
  std::vector<int> tokens;
  if (model.config().bos_token) tokens.push_back(*model.config().bos_token);
  const std::vector<int> words = tokenizer->encode(text);
  tokens.insert(tokens.end(), words.begin(), words.end());
  if (tokens.empty())
    throw InputError(trace.file.string() + ": task", "a prompt of at least one token", "none");
  return tokens;
}

std::vector<int> likeliest_rows(std::span<const float> logits, int vocab) {
  std::vector<int> tokens;
  for (std::size_t row = 0; row < logits.size(); row += static_cast<std::size_t>(vocab))
    tokens.push_back(likeliest(logits.subspan(row, static_cast<std::size_t>(vocab))));
  return tokens;
}

void run_with_weights(const RunRequest& request, const Model& model, Backend& backend, Report& report,
                      Work& work) {
  const Tokenizer tokenizer = Tokenizer::load(find_model(request.trace.model));
  const std::vector<int> prompt = prompt_of(request.trace, model, &tokenizer, report, work);
  const int vocab = model.config().vocab_size;
  const int last = std::min(kTop1Tokens, static_cast<int>(prompt.size()));
  work.prefill_tokens = static_cast<int>(prompt.size());

  const std::unique_ptr<ModelHost> host = request.host.make(model);
  report.host = host->description();

  // The backend's session innermost; around it what it is held to.
  Comparison bits;
  Comparison errors;
  double backend_s = 0;
  const auto open = [&](Backend& of, const char* what, double* seconds) {
    return std::make_unique<ObservedSession>(
        of.open(work.shape, model.unit_weights(), work.layers),
        Observer{request.progress, what, work.layers - 1, work.prefill_tokens}, seconds);
  };
  std::unique_ptr<Session> unit = open(backend, request.host.has_unit ? "numerics" : "prompt",
                                       request.host.has_unit ? nullptr : &backend_s);
  ComparingSession* verifier = nullptr;
  if (request.verify_against_fixed) {
    const std::unique_ptr<Backend> fixed = make_fixed_backend(request.preset);
    auto session = std::make_unique<ComparingSession>(
        work.shape, work.layers, std::move(unit), fixed->open(work.shape, model.unit_weights(), work.layers),
        true, bits);
    verifier = session.get();
    unit = std::move(session);
  }
  const std::unique_ptr<Backend> reference = make_reference_backend();
  const bool is_reference = backend.name() == reference->name();
  if (!is_reference)
    unit = std::make_unique<ComparingSession>(work.shape, work.layers, std::move(unit),
                                              reference->open(work.shape, model.unit_weights(), work.layers),
                                              false, errors);

  // A host with the unit in it hands no jobs out: what they are compared in is a run of its own, not timed.
  std::optional<int> block_tokens = kJobTokens;
  std::unique_ptr<ModelRunner> compared;
  if (request.host.has_unit) {
    compared = host->open(std::move(unit));
    compared->forward(prompt, 0, kJobTokens);
    block_tokens.reset();
  }
  const std::unique_ptr<ModelRunner> session = host->open(std::move(unit));
  const std::vector<float> logits = session->forward(prompt, last, block_tokens);
  const std::vector<int> next = likeliest_rows(logits, vocab);
  work.prefill_host_s = session->host_seconds();
  work.prefill_cycles = session->counters().value("unit.cycles");

  std::vector<int> answer;
  for (int token = next.back(); static_cast<int>(answer.size()) < request.trace.decode_tokens;) {
    answer.push_back(token);
    if (static_cast<int>(answer.size()) == request.trace.decode_tokens) break;
    token = likeliest(session->forward({&answer.back(), 1}, 1));
    ++work.decode_steps;
  }
  work.decode_host_s = session->host_seconds() - work.prefill_host_s;
  work.backend_s = backend_s;
  report.counters = session->counters();

  if (!answer.empty()) report.answer.got = tokenizer.decode(answer);
  if (report.answer.expected && report.answer.got)
    report.answer.correct = work.correct ? work.correct(*report.answer.got)
                                         : exact_match(*report.answer.expected, *report.answer.got);
  report.answer.reason =
      answer.empty() ? "the trace asks for no answer" : "the trace states no expected answer";

  if (verifier) {
    verifier->compare_contexts();
    report.verification.against = "fixed";
    report.verification.equal = bits.first_difference.empty();
    report.verification.detail = bits.first_difference;
  } else {
    report.verification.detail =
        fmt::format("backend {} is not one that promises fixed's bits", backend.name());
  }

  if (is_reference) {
    report.numerics.reason = "the backend is the reference itself";
    report.numerics.top1_agreement = Figure::none(report.numerics.reason);
    return;
  }
  report.numerics.against = "reference";
  report.numerics.layers = errors.layers;
  const std::unique_ptr<ModelRunner> expected = host->open(open(*reference, "reference", nullptr));
  const std::vector<int> likely = likeliest_rows(expected->forward(prompt, last, kJobTokens), vocab);
  int same = 0;
  for (std::size_t i = 0; i < next.size(); ++i) same += likely[i] == next[i];
  report.numerics.top1_agreement = static_cast<double>(same) / static_cast<double>(next.size());
  report.numerics.top1_tokens = last;
}

/// Time of the dense work on the preset's host: weights cross its memory once per block of tokens.
double modelled_host_s(const ModelConfig& config, const Preset::Host& host, int tokens, bool with_head) {
  const auto time = [&host](double weights, double count) {
    return std::max(2 * weights * count / host.matmul_flop_per_s,
                    host.bytes_per_weight * weights / host.bandwidth_bytes_per_s);
  };
  return time(static_cast<double>(config.dense_weights()), tokens) +
         (with_head ? time(static_cast<double>(config.head_weights()), 1) : 0);
}

void run_timing_only(const RunRequest& request, const Model& model, Backend& backend, Report& report,
                     Work& work) {
  const std::string reason = "the trace's model is only a shape: timing and energy, no values";
  work.prefill_tokens = *request.trace.prefill_tokens;
  // The answer's first token comes out of the prefill.
  work.decode_steps = std::max(0, request.trace.decode_tokens - 1);
  const int all = work.prefill_tokens + work.decode_steps;
  const Observer observer{request.progress, "tokens", work.layers - 1, all};
  ObservedSession session(backend.open(work.shape, {}, work.layers), observer, &work.backend_s);
  const auto pass = [&](int tokens) {
    check_interrupt();
    for (int layer = 0; layer < work.layers; ++layer) {
      Job job;
      job.layer = layer;
      job.tokens = tokens;
      session.run(job);
    }
  };
  for (int token = 0; token < work.prefill_tokens; token += kJobTokens) {
    const int tokens = std::min(kJobTokens, work.prefill_tokens - token);
    pass(tokens);
    work.prefill_host_s +=
        modelled_host_s(model.config(), request.preset.host, tokens, token + tokens == work.prefill_tokens);
  }
  work.prefill_cycles = session.counters().value("unit.cycles");
  for (int step = 0; step < work.decode_steps; ++step) {
    pass(1);
    work.decode_host_s += modelled_host_s(model.config(), request.preset.host, 1, true);
  }
  report.counters = session.counters();
  report.answer.reason = reason;
  report.numerics.reason = reason;
  report.numerics.top1_agreement = Figure::none(reason);
  report.verification.detail = reason;
}

void fill_latency(const Preset& preset, const Work& work, Report& report) {
  Report::Latency& l = report.latency;
  l.prefill_tokens = work.prefill_tokens;
  l.decode_steps = work.decode_steps;
  l.host_s = work.prefill_host_s + work.decode_host_s;
  Figure prefill_s;
  Figure decode_s;
  const double cycles = report.counters.value("unit.cycles");
  if (cycles > 0) {
    l.accelerator_cycles = cycles;
    l.accelerator_s = cycles / preset.clock_hz;
    prefill_s = work.prefill_cycles / preset.clock_hz;
    decode_s = (cycles - work.prefill_cycles) / preset.clock_hz;
    report.simulator.cycles_per_s = cycles / work.backend_s;
    const CounterReader counter = [&report](const std::string& name) { return report.counters.value(name); };
    for (const Utilization& unit : utilization(counter))
      report.utilization.emplace_back(unit.unit, unit.share);
    const Bottleneck bottleneck = find_bottleneck(counter);
    report.bottleneck = bottleneck.unit + ": " + bottleneck.reason;
  } else {
    report.timing_reason = fmt::format("backend {} has no notion of time", report.backend);
    l.accelerator_cycles = l.accelerator_s = prefill_s = decode_s = report.simulator.cycles_per_s =
        Figure::none(report.timing_reason);
  }
  l.end_to_end_s = sum(l.accelerator_s, l.host_s);
  l.prefill_s = sum(prefill_s, work.prefill_host_s);
  l.decode_s_per_token =
      work.decode_steps > 0 ? ratio(sum(decode_s, work.decode_host_s), static_cast<double>(work.decode_steps))
                            : Figure::none("the run had no decode step");
}

void fill_energy(const Preset& preset, const EnergyTable& table, Report& report) {
  Report::Energy& energy = report.energy;
  energy.table = preset.technology.energy_table;
  if (report.latency.accelerator_cycles.value) {
    const EnergyEstimate estimate = estimate_energy(report.counters, preset, table);
    energy.by_component_j = estimate.by_component_j;
    energy.accelerator_j = estimate.total_j();
  } else {
    energy.accelerator_reason = report.timing_reason + " and counts no events";
  }
  energy.host_j = report.timing_only
                      ? Figure(*report.latency.host_s.value * preset.host.power_w)
                      : Figure::none("host time was measured on this machine, whose power was not metered");
}

/// The unit's work on the GPU, each layer's calls one after another.
void fill_gpu(const std::optional<GpuReference>& gpu, const Work& work, Report& report) {
  Report::Latency& l = report.latency;
  if (!gpu) {
    l.gpu_s = report.energy.gpu_j = Figure::none(report.provenance.gpu_reference_reason);
  } else {
    const auto prefill = gpu->find(work.shape, "prefill", work.prefill_tokens);
    const auto decode = gpu->find(work.shape, "decode", work.prefill_tokens);
    const std::string lacks = "the GPU reference has no measurement of this shape: ";
    if (!prefill) {
      l.gpu_s = Figure::none(
          fmt::format("{}prefill of {} tokens or of fewer and more", lacks, work.prefill_tokens));
    } else if (!decode && work.decode_steps > 0) {
      l.gpu_s = Figure::none(lacks + "decode");
    } else {
      const double steps = work.decode_steps;
      l.gpu_s = work.layers * (prefill->seconds + (steps > 0 ? steps * decode->seconds : 0));
      l.gpu_s_source = prefill->source;
      if (prefill->energy_j && (steps == 0 || decode->energy_j))
        report.energy.gpu_j =
            work.layers * (*prefill->energy_j + (steps > 0 ? steps * *decode->energy_j : 0));
      else
        report.energy.gpu_j = Figure::none(gpu->energy_reason.empty()
                                               ? "the GPU reference has no energy for these calls"
                                               : "the GPU reference has no energy: " + gpu->energy_reason);
    }
    if (!l.gpu_s.value) report.energy.gpu_j = l.gpu_s;
  }
  l.speedup_vs_gpu = ratio(l.gpu_s, l.accelerator_s);
  report.energy.ratio_vs_gpu = ratio(
      report.energy.gpu_j, report.energy.accelerator_j ? Figure(report.energy.accelerator_j->nominal)
                                                       : Figure::none(report.energy.accelerator_reason));
}

void fill_saturations(Report& report) {
  static constexpr std::string_view prefix = "fixed.saturations.";
  std::map<std::string, double> points;
  for (const auto& [name, counter] : report.counters.all())
    if (name.starts_with(prefix)) points[name.substr(prefix.size())] = counter.value;
  if (report.timing_only)
    report.numerics.saturations_reason = report.numerics.reason;
  else if (points.empty())
    report.numerics.saturations_reason = "backend " + report.backend + " counts no saturations";
  else
    report.numerics.saturations = std::move(points);
}

}  // namespace

int prompt_tokens(const Trace& trace) {
  if (trace.timing_only()) return *trace.prefill_tokens;
  const Model model = Model::load(find_model(trace.model));
  const Tokenizer tokenizer = Tokenizer::load(find_model(trace.model));
  Report unused;
  Work unused_work;
  return static_cast<int>(prompt_of(trace, model, &tokenizer, unused, unused_work).size());
}

Report run(const RunRequest& request, Backend& backend) {
  const Clock::time_point start = Clock::now();
  const Trace& trace = request.trace;
  const Preset& preset = request.preset;
  const Model model = Model::load(find_model(trace.model));
  if (!trace.timing_only() && !model.has_weights())
    throw InputError(trace.file.string() + ": model", "a model with weights, as the trace has a task",
                     "the shape " + trace.model);
  // Everything that can be wrong with the input is asked for before the long part.
  const EnergyTable table = load_energy_table(preset.technology.energy_table);
  require_fit(table, preset);

  Report report;
  report.trace = trace.name;
  report.description = trace.description;
  report.model = trace.model;
  report.preset = preset.name;
  report.backend = backend.name();
  report.timing_only = trace.timing_only();
  report.provenance.commit = request.commit;
  report.provenance.preset_hash = preset.hash;
  report.provenance.trace_sha256 = trace.sha256;
  std::optional<GpuReference> gpu;
  if (!trace.gpu_reference) {
    report.provenance.gpu_reference_reason = "the trace names no GPU reference";
  } else if (!is_there(*trace.gpu_reference)) {
    report.provenance.gpu_reference_reason =
        fmt::format("no measured GPU reference: {} is not there", trace.gpu_reference->filename().string());
  } else {
    gpu = load_gpu_reference(*trace.gpu_reference);
    report.provenance.gpu_reference = fmt::format("{} ({}, commit {})", gpu->device, gpu->date, gpu->commit);
  }

  Work work;
  work.shape = model.unit_shape();
  work.layers = model.config().layers;
  if (trace.timing_only()) {
    report.latency.host_s_source = "modelled";
    report.host = preset.host.part;
    run_timing_only(request, model, backend, report, work);
  } else {
    report.latency.host_s_source = "measured";
    run_with_weights(request, model, backend, report, work);
  }

  fill_latency(preset, work, report);
  fill_energy(preset, table, report);
  fill_gpu(gpu, work, report);
  fill_saturations(report);
  report.simulator.wall_s = seconds_since(start);
  report.simulator.peak_memory_mib = peak_memory_mib();
  return report;
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// lawcat-sim: reads the command line, runs one command, turns every failure into one line and an exit code.
#include <fmt/format.h>

#include <exception>
#include <new>

#include "hostlib/io/error.h"
#include "hostlib/io/interrupt.h"
#include "sim/cli/options.h"
#include "sim/cli/terminal.h"

int main(int argc, char** argv) {
  using namespace lawcat;
  catch_interrupts();
  CLI::App app(
      "Runs a LAWCAT model's prompt with its attention unit on a simulated accelerator, and compares "
      "latency,\n"
      "energy and numerics with the GPU reference.\n"
      "Exit code: 0 done, 1 a mismatch or a wrong answer, 2 bad usage or bad input.",
      "lawcat-sim");
  app.require_subcommand(0, 1);
  int code = kDone;
  add_trace_command(app, code);
  add_eval_command(*app.add_subcommand("eval", "Task accuracy of a model on a backend"), code);
  add_prompts_command(
      *app.add_subcommand("prompts", "Prompts of the tasks with their answers, as tokens or text"), code);
  add_unit_command(*app.add_subcommand("unit", "The bare unit on the tensors of a file"), code);
  add_logits_command(*app.add_subcommand("logits", "Logits of a whole model on given token ids"), code);
  add_calibrate_command(
      *app.add_subcommand("calibrate", "Cycles of the simulated tile against those of the SystemVerilog"),
      code);
  add_gpu_command(*app.add_subcommand("gpu", "Times and energies of the CUDA kernels on this machine's GPU"),
                  code);
  add_list_command(*app.add_subcommand("list", "Traces, models, presets and backends, and what can run here"),
                   code);

  const auto fail = [](const std::string& sentence) {
    clear_progress();
    fmt::print(stderr, "lawcat-sim: {}\n", sentence);
    return kBadInput;
  };
  try {
    app.parse(argc, argv);
    return code;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    return fail(error.what());
  } catch (const InputError& error) {
    return fail(error.what());
  } catch (const std::bad_alloc&) {
    return fail("out of memory");
  } catch (const std::exception& error) {
    return fail(std::string("internal error: ") + error.what());
  }
}

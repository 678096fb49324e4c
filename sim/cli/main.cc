// SPDX-License-Identifier: Apache-2.0
// lawcat-sim: reads the command line, runs one command, turns every failure into one line and an exit code.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iostream>
#include <new>
#include <string>

#include "hostlib/io/error.h"
#include "hostlib/io/interrupt.h"
#include "sim/cli/options.h"
#include "sim/cli/terminal.h"

namespace lawcat {
namespace {

/// A closed standard stream would be the next file's number, and what is printed would go into that file.
/// Opened the wrong way round, so that writing to it still fails.
void keep_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(stream, F_GETFD) < 0) ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/// One line on stderr, whatever the sentence quotes.
int fail(std::string sentence) {
  for (char& c : sentence)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  sentence = "lawcat-sim: " + sentence + "\n";
  clear_progress();
  std::fwrite(sentence.data(), 1, sentence.size(), stderr);
  return kBadInput;
}

/// What was printed has arrived, or it was no success.
int flushed(int code) {
  if (std::fflush(stdout) == 0 && !std::ferror(stdout) && std::cout.flush()) return code;
  return fail(fmt::format("standard output: cannot write: {}", std::strerror(errno)));
}

/// No option takes an empty text for its value.
void refuse_empty_values(CLI::App& app) {
  for (CLI::Option* option : app.get_options())
    if (option->get_items_expected_max() > 0)
      option->check([](const std::string& value) {
        return value.empty() ? std::string("expected some text, got none") : std::string();
      });
  for (CLI::App* command : app.get_subcommands({})) refuse_empty_values(*command);
}

int run_program(int argc, char** argv) {
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

  refuse_empty_values(app);
  try {
    app.parse(argc, argv);
    return flushed(code);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return flushed(app.exit(error));  // --help
    return fail(error.what());
  } catch (const InputError& error) {
    return fail(error.what());
  } catch (const std::bad_alloc&) {
    return fail("out of memory");
  } catch (const std::exception& error) {
    if (std::ferror(stdout)) return flushed(kBadInput);
    return fail(std::string("internal error: ") + error.what());
  }
}

}  // namespace
}  // namespace lawcat

int main(int argc, char** argv) {
  lawcat::keep_standard_streams();
  lawcat::catch_interrupts();
  try {
    return lawcat::run_program(argc, argv);
  } catch (...) {
    return lawcat::kBadInput;  // not even a sentence had room
  }
}

// SPDX-License-Identifier: Apache-2.0
// Ctrl-C as bad input: the flag and its handler.
#include "hostlib/io/interrupt.h"

#include <atomic>
#include <csignal>

#include "hostlib/io/error.h"

namespace lawcat {
namespace {

std::atomic<int> received = 0;  // threads ask for it
static_assert(std::atomic<int>::is_always_lock_free);

void note(int signal) {
  received = signal;
  // A second signal, of either kind, meets the default action.
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

}  // namespace

void catch_interrupts() {
  // Without SA_RESTART: reading from a pipe that nobody writes to ends as well.
  struct sigaction action {};
  action.sa_handler = note;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  // A file that must not grow further is an error of its write.
  std::signal(SIGXFSZ, SIG_IGN);
}

void check_interrupt() {
  if (received == 0) return;
  throw InputError(std::string("interrupted by ") + (received == SIGINT ? "SIGINT" : "SIGTERM") +
                   " before the run was complete");
}

}  // namespace lawcat

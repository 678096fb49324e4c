// SPDX-License-Identifier: Apache-2.0
// Ctrl-C as bad input: a flag that long loops ask for, so that files are whole and the exit code is 2.
#pragma once

namespace lawcat {

/// Makes SIGINT and SIGTERM set a flag instead of ending the process; a second signal ends it at once. Writes
/// beyond a limit of files' sizes fail instead of ending it.
void catch_interrupts();

/// Throws InputError ("interrupted by SIGINT ...") once a signal has come. Call between blocks of work;
/// nothing may leave a parallel region.
void check_interrupt();

}  // namespace lawcat

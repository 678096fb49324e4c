// SPDX-License-Identifier: Apache-2.0
// The one exception for bad input: every room throws it, only the command line catches it.
#pragma once

#include <stdexcept>
#include <string>

namespace lawcat {

/// Bad input from outside the program (a file, a key, a shape, a signal). `what()` is one sentence that
/// names the place, what was expected and what was found; the command line prints it and exits with 2.
class InputError : public std::runtime_error {
 public:
  explicit InputError(const std::string& sentence) : std::runtime_error(sentence) {}

  /// "PLACE: expected EXPECTED, got GOT"
  InputError(const std::string& place, const std::string& expected, const std::string& got)
      : std::runtime_error(place + ": expected " + expected + ", got " + got) {}
};

}  // namespace lawcat

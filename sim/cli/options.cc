// SPDX-License-Identifier: Apache-2.0
// Shared options.
#include "sim/cli/options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdint>

namespace lawcat {
namespace {

/// Of the whole text, and nothing but it.
template <class Number>
bool read(const std::string& text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

CLI::Validator finite_number(double min, double max) {
  return {[min, max](const std::string& text) {
            double value = 0;
            if (read(text, value) && value >= min && value <= max) return std::string();
            return fmt::format("expected a number from {:g} to {:g}, got {}", min, max, text);
          },
          fmt::format("FLOAT in [{:g} - {:g}]", min, max)};
}

CLI::Validator seed_number() {
  return {[](const std::string& text) {
            std::uint64_t value = 0;
            return read(text, value) ? std::string()
                                     : fmt::format("expected an integer from 0 to 2^64 - 1, got {}", text);
          },
          "UINT"};
}

void CommonOptions::add_to(CLI::App& app, const std::string& default_backend, bool with_host) {
  backend = default_backend;
  app.add_option("--backend", backend,
                 "What computes the unit: systemc, rtl, fixed, reference, cuda or cuda-fp32")
      ->capture_default_str();
  app.add_option("--preset", preset, "Accelerator: a name (see list) or a JSON file");
  // One value each: further words on the command line are not more of them.
  app.add_option("--set", sets, "key.path=value overrides one field of the preset; may be repeated")
      ->allow_extra_args(false)
      ->take_all();
  host = "cpu";
  if (with_host)
    app.add_option("--host", host, "What computes the rest of the model: cpu or cuda")
        ->check(CLI::IsMember({"cpu", "cuda"}))
        ->capture_default_str();
  app.add_flag("--quiet", quiet, "No progress on the terminal");
}

Preset CommonOptions::load(const std::string& preset_if_none_given) const {
  return load_preset(preset.empty() ? preset_if_none_given : preset, sets);
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Shared options.
#include "sim/cli/options.h"

namespace lawcat {

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

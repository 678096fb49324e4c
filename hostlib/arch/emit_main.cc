// SPDX-License-Identifier: Apache-2.0
// lawcat-arch-emit: writes what RTL is built from, for one preset.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "hostlib/arch/rtl_package.h"
#include "hostlib/io/error.h"
#include "hostlib/io/file.h"

namespace {

/// A file that would not change stays as it is, so that nothing is built again from it.
void write(const std::filesystem::path& file, const std::string& text) {
  if (lawcat::is_there(file) && lawcat::read_file(file) == text) return;
  lawcat::AtomicFile out(file);
  out.write(text);
  out.commit();
}

int emit(const std::vector<std::string>& arguments) {
  std::string preset_name;
  std::filesystem::path folder;
  std::vector<std::string> overrides;
  for (std::size_t i = 0; i + 1 < arguments.size(); i += 2) {
    if (arguments[i] == "--preset") preset_name = arguments[i + 1];
    if (arguments[i] == "--set") overrides.push_back(arguments[i + 1]);
    if (arguments[i] == "--out") folder = arguments[i + 1];
  }
  if (arguments.size() != 4 + 2 * overrides.size() || preset_name.empty() || folder.empty()) {
    std::fputs(
        "usage: lawcat-arch-emit --preset NAME|FILE [--set KEY.PATH=VALUE]... --out FOLDER\n"
        "writes lawcat_arch_pkg.sv, the tables exp2.hex, gate.hex and reciprocal.hex, and preset_hash.h\n",
        stderr);
    return 2;
  }
  const lawcat::Preset preset = lawcat::load_preset(preset_name, overrides);
  write(folder / "lawcat_arch_pkg.sv", lawcat::rtl_package(preset));
  for (int t = 0; t < lawcat::kRtlTableCount; ++t) {
    const auto table = static_cast<lawcat::RtlTable>(t);
    write(folder / (std::string(to_string(table)) + ".hex"), lawcat::rtl_table_hex(preset, table));
  }
  write(folder / "preset_hash.h", "// SPDX-License-Identifier: Apache-2.0\n// Generated from preset " +
                                      preset.name + ".\nstatic constexpr char kPresetHash[] = \"" +
                                      preset.hash + "\";\n");
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return emit({arguments + 1, arguments + count});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lawcat-arch-emit: %s\n", error.what());
    return 2;
  }
}

// SPDX-License-Identifier: Apache-2.0
// A backend under which one layer's inputs are kept, as vectors of the bare unit.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hostlib/run.h"

namespace lawcat {

/// Runs everything on `backend` and keeps what `layer` is asked, in `vectors`; both outlive this.
class RecordingBackend final : public Backend {
 public:
  RecordingBackend(Backend& backend, int layer, UnitVectors& vectors)
      : backend_(backend), layer_(layer), vectors_(vectors) {}

  std::string_view name() const override { return backend_.name(); }
  /// Throws InputError when there is no such layer.
  std::unique_ptr<Session> open(const UnitShape& shape, std::span<const UnitWeights> layers,
                                int layer_count) override;

 private:
  Backend& backend_;
  int layer_;
  UnitVectors& vectors_;
};

/// LAYER=FILE. Throws InputError otherwise.
struct RecordOption {
  int layer = 0;
  std::string file;
};
RecordOption parse_record_option(const std::string& text);

}  // namespace lawcat

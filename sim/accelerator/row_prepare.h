// SPDX-License-Identifier: Apache-2.0
// Scalars of the state's rows before the lanes touch them: new exponents, shifts, the read-out's scale.
#pragma once

#include "sim/accelerator/pipeline_stage.h"

namespace lawcat {

/// In: phi(q), phi(k), [2, K]; a, [K]; the values' lead bits; the rows' scalars as the state update left
/// them, so that a head's next token waits until the one before is written back. Out: descriptors of the
/// rows, [K].
class RowPrepare : public PipelineStage {
 public:
  explicit RowPrepare(sc_core::sc_module_name name) : PipelineStage(name, Stage::row_prepare) {}
};

}  // namespace lawcat

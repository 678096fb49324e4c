// SPDX-License-Identifier: Apache-2.0
// Backend `cuda`: the unit's kernels behind the interface that all backends share.
#pragma once

#include <memory>
#include <string>

#include "hostlib/backend/backend.h"

namespace lawcat {

/// Empty when a cuda backend can run here, else why not.
std::string why_no_cuda();

/// The fast kernels: inputs and outputs rounded to bf16, state in fp32. `plain` takes the fp32 form instead,
/// name `cuda-fp32`. Jobs of up to eight tokens go to the decode kernel, others to prefill. Counts wall time
/// of the kernels
/// ("cuda.kernel_time", microseconds). Throws InputError when there is no usable GPU; open() does for shapes
/// that the form lacks.
std::unique_ptr<Backend> make_cuda_backend(bool plain = false);

}  // namespace lawcat

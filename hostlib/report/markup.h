// SPDX-License-Identifier: Apache-2.0
// What the pages and pictures of a report share.
#pragma once

#include <string>
#include <string_view>

namespace lawcat {

/// Text as content or attribute value of HTML and SVG: < > & " become entities.
std::string escape(std::string_view text);

}  // namespace lawcat

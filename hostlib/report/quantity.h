// SPDX-License-Identifier: Apache-2.0
// Figures as words, shared by the text and the page of a report.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "hostlib/report/report.h"

namespace lawcat {

/// Four significant digits with a metric prefix, "1.234 ms"; "-" when there is none.
std::string to_words(const Figure& figure, const std::string& unit);

/// How many times something is another, three significant digits: "14.2 x".
std::string ratio_words(double ratio);

/// Components, largest nominal energy first.
std::vector<std::pair<std::string, EnergyRange>> by_size(
    const std::map<std::string, EnergyRange>& components);

}  // namespace lawcat

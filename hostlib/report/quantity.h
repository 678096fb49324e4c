// SPDX-License-Identifier: Apache-2.0
// Figures as words, shared by the text and the page of a report.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hostlib/report/report.h"

namespace lawcat {

/// The number in a form of fmt::format's, or what it is instead: "not a number", "infinite", "minus
/// infinity".
std::string number_words(double value, std::string_view form);

/// Four significant digits with a metric prefix, "1.234 ms"; "-" when there is none.
std::string to_words(const Figure& figure, const std::string& unit);

/// How many times something is another, three significant digits: "14.2 x".
std::string ratio_words(double ratio);

/// Components, largest nominal energy first.
std::vector<std::pair<std::string, EnergyRange>> by_size(
    const std::map<std::string, EnergyRange>& components);

}  // namespace lawcat

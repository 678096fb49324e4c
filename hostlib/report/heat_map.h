// SPDX-License-Identifier: Apache-2.0
// Accuracy over two variables as a picture: one coloured cell with its counts for each pair.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace lawcat {

/// Correct answers out of `samples`, with the ends of the interval that is shown with them.
struct HeatCell {
  int correct = 0;
  int samples = 0;  ///< 0: an empty cell
  std::pair<double, double> interval{0, 1};
};

struct HeatMap {
  std::string title;
  std::vector<std::string> notes;  ///< lines below the title
  std::string column_title;
  std::string row_title;
  std::vector<std::string> columns;
  std::vector<std::string> rows;  ///< from top to bottom
  std::vector<HeatCell> cells;    ///< [rows][columns]
  std::vector<HeatCell> totals;   ///< of the columns, shown with their intervals
};

/// A self-contained SVG file. Colour runs from dark blue (none correct) to yellow (all), which readers
/// without red-green vision and grey printers keep apart; every cell also says its number. The same map gives
/// the same bytes. Throws InputError when cells or totals do not fit rows and columns.
std::string to_svg(const HeatMap& map);

}  // namespace lawcat

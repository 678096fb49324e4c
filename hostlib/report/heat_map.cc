// SPDX-License-Identifier: Apache-2.0
// The heat map's drawing.
#include "hostlib/report/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string_view>

#include "hostlib/io/error.h"
#include "hostlib/report/markup.h"

namespace lawcat {
namespace {

// Sizes in pixels.
constexpr int kMargin = 24;
constexpr int kCellWidth = 104;
constexpr int kCellHeight = 52;
constexpr int kRowLabels = 130;
constexpr int kLegend = 110;
constexpr int kCharacter = 8;  // width of one at the notes' size, on the wide side

struct Colour {
  double red, green, blue;
};
// Five points of the colour map cividis (Nunez, Anderton and Renslow 2018), linear between them.
constexpr std::array<Colour, 5> kColours = {
    {{0, 32, 77}, {65, 77, 107}, {124, 123, 120}, {188, 175, 111}, {255, 234, 70}}};

Colour colour_of(double share) {
  const double place = std::clamp(share, 0.0, 1.0) * (kColours.size() - 1);
  const auto below = std::min(static_cast<std::size_t>(place), kColours.size() - 2);
  const double part = place - static_cast<double>(below);
  const Colour& a = kColours[below];
  const Colour& b = kColours[below + 1];
  return {a.red + part * (b.red - a.red), a.green + part * (b.green - a.green),
          a.blue + part * (b.blue - a.blue)};
}

std::string hex(const Colour& colour) {
  return fmt::format("#{:02x}{:02x}{:02x}", std::lround(colour.red), std::lround(colour.green),
                     std::lround(colour.blue));
}

/// Relative luminance of WCAG 2.1, 0 to 1.
double luminance(const Colour& colour) {
  const auto linear = [](double c) {
    c /= 255;
    return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
  };
  return 0.2126 * linear(colour.red) + 0.7152 * linear(colour.green) + 0.0722 * linear(colour.blue);
}

/// Black or white, whichever contrasts more: at 0.179 both reach 4.6 : 1.
const char* ink_on(const Colour& colour) {
  return luminance(colour) > 0.179 ? "#000" : "#fff";
}

std::string text(int x, int y, std::string_view attributes, std::string_view words) {
  return fmt::format("<text x=\"{}\" y=\"{}\" {}>{}</text>\n", x, y, attributes, escape(words));
}

/// A share in percent, without decimals that say nothing.
std::string percent(double share) {
  const double value = 100 * share;
  const bool whole = std::abs(value - std::round(value)) < 0.05;
  return whole ? fmt::format("{:.0f} %", value) : fmt::format("{:.1f} %", value);
}

double share_of(const HeatCell& cell) {
  return static_cast<double>(cell.correct) / cell.samples;
}

std::string box(int x, int y, std::string_view fill) {
  return fmt::format(
      "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\" stroke=\"#fff\" stroke-width=\"2\"/>\n",
      x, y, kCellWidth, kCellHeight, fill);
}

std::string cell_svg(int x, int y, const HeatCell& cell, std::string_view below) {
  const int centre = x + kCellWidth / 2;
  if (cell.samples == 0)
    return box(x, y, "url(#none)") +
           text(centre, y + 31, "text-anchor=\"middle\" class=\"small\" fill=\"#333\"", "no prompts");
  const Colour colour = colour_of(share_of(cell));
  const std::string ink = fmt::format("text-anchor=\"middle\" fill=\"{}\"", ink_on(colour));
  return box(x, y, hex(colour)) + text(centre, y + 24, ink + " class=\"number\"", percent(share_of(cell))) +
         text(centre, y + 42, ink + " class=\"small\"", below);
}

std::string counts(const HeatCell& cell) {
  return fmt::format("{} of {}", cell.correct, cell.samples);
}

std::string legend(int x, int y, int height) {
  std::string svg;
  svg += text(x, y - 16, "class=\"small\"", "accuracy");
  svg += fmt::format(
      "<rect x=\"{}\" y=\"{}\" width=\"18\" height=\"{}\" fill=\"url(#scale)\" stroke=\"#333\"/>\n", x, y,
      height);
  for (int tick = 0; tick <= 4; ++tick) {
    const int at = y + height - height * tick / 4;
    svg += fmt::format("<path d=\"M{} {}h5\" stroke=\"#333\"/>\n", x + 18, at);
    svg += text(x + 28, at + 4, "class=\"small\"", fmt::format("{} %", 25 * tick));
  }
  return svg;
}

}  // namespace

std::string to_svg(const HeatMap& map) {
  const std::size_t columns = map.columns.size();
  const std::size_t rows = map.rows.size();
  if (columns == 0 || rows == 0 || map.cells.size() != rows * columns || map.totals.size() != columns)
    throw InputError("heat map",
                     fmt::format("{} x {} cells and {} totals, at least one", rows, columns, columns),
                     fmt::format("{} and {}", map.cells.size(), map.totals.size()));

  const int notes = static_cast<int>(map.notes.size());
  const int left = kMargin + kRowLabels;
  const int top = kMargin + 30 + 20 * notes + 52;
  const int grid_width = kCellWidth * static_cast<int>(columns);
  const int grid_height = kCellHeight * static_cast<int>(rows);
  const int totals_top = top + grid_height + 14;
  const int height = totals_top + kCellHeight + 22 + kMargin;
  std::size_t longest = map.title.size() * 5 / 4;
  for (const std::string& note : map.notes) longest = std::max(longest, note.size());
  const int width =
      std::max(left + grid_width + 34 + kLegend, static_cast<int>(longest) * kCharacter) + kMargin;

  std::string stops;
  for (std::size_t i = 0; i < kColours.size(); ++i)
    stops += fmt::format("<stop offset=\"{}%\" stop-color=\"{}\"/>", 25 * i, hex(kColours[i]));
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "role=\"img\" font-family=\"'DejaVu Sans', 'Noto Sans', Arial, sans-serif\" font-size=\"14\" "
      "fill=\"#111\">\n<title>{2}</title>\n"
      "<style>.title{{font-size:18px;font-weight:bold}}.number{{font-size:17px;font-weight:bold}}"
      ".small{{font-size:12px}}</style>\n<defs>"
      "<linearGradient id=\"scale\" x1=\"0\" y1=\"1\" x2=\"0\" y2=\"0\">{3}</linearGradient>"
      "<pattern id=\"none\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">"
      "<path d=\"M0 8L8 0\" stroke=\"#bbb\"/></pattern></defs>\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n",
      width, height, escape(map.title), stops);
  svg += text(kMargin, kMargin + 16, "class=\"title\"", map.title);
  for (int i = 0; i < notes; ++i)
    svg += text(kMargin, kMargin + 42 + 20 * i, "fill=\"#333\"", map.notes[static_cast<std::size_t>(i)]);

  svg += text(left + grid_width / 2, top - 28, "text-anchor=\"middle\"", map.column_title);
  for (std::size_t column = 0; column < columns; ++column)
    svg += text(left + kCellWidth * static_cast<int>(column) + kCellWidth / 2, top - 8,
                "text-anchor=\"middle\"", map.columns[column]);
  const int middle = top + grid_height / 2;
  svg += text(kMargin + 12, middle,
              fmt::format("text-anchor=\"middle\" transform=\"rotate(-90 {} {})\"", kMargin + 12, middle),
              map.row_title);
  for (std::size_t row = 0; row < rows; ++row) {
    const int y = top + kCellHeight * static_cast<int>(row);
    svg += text(left - 10, y + kCellHeight / 2 + 5, "text-anchor=\"end\"", map.rows[row]);
    for (std::size_t column = 0; column < columns; ++column) {
      const HeatCell& cell = map.cells[row * columns + column];
      svg += cell_svg(left + kCellWidth * static_cast<int>(column), y, cell, counts(cell));
    }
  }
  svg += text(left - 10, totals_top + kCellHeight / 2 + 5, "text-anchor=\"end\" font-weight=\"bold\"", "all");
  for (std::size_t column = 0; column < columns; ++column) {
    const HeatCell& cell = map.totals[column];
    const int x = left + kCellWidth * static_cast<int>(column);
    svg += cell_svg(x, totals_top, cell, counts(cell));
    svg += text(x + kCellWidth / 2, totals_top + kCellHeight + 18, "text-anchor=\"middle\" class=\"small\"",
                fmt::format("{:.1f} to {:.1f}", 100 * cell.interval.first, 100 * cell.interval.second));
  }
  svg += text(left - 10, totals_top + kCellHeight + 18, "text-anchor=\"end\" class=\"small\"",
              "95 % interval, %");
  svg += legend(left + grid_width + 34, top, grid_height);
  return svg + "</svg>\n";
}

}  // namespace lawcat

// SPDX-License-Identifier: Apache-2.0
// Number formats of the datapath: fixed point, block floating point, small floats; and their text form.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lawcat {

enum class FormatKind {
  fixed,    ///< integer mantissa times 2^-fraction
  block,    ///< signed integer mantissas that share one run-time exponent per block
  floating  ///< sign, exponent field, mantissa field with a hidden one
};

/// One number format. Text forms, used in presets and reports:
///   `s16.9`, `u16.16`   fixed point, signed or unsigned: width 2-40, fraction bits -8..40
///   `bfp16e8`           block floating point: mantissa width (sign included) 4-40, exponent bits 4-10
///   `e5m10`             signed small float (fp16 is e5m10, bf16 e8m7): IEEE-like bias and subnormals,
///                       the top exponent code is an ordinary exponent, overflow saturates
///   `ue6m11`            unsigned small float for values in [0, 2): exponents 0 down to -(2^e - 2), code 0 is
///                       zero, smaller values flush to zero
struct Format {
  FormatKind kind = FormatKind::fixed;
  bool is_signed = true;
  int width = 16;         ///< storage bits of one element; a block's exponent is not counted
  int fraction = 0;       ///< fixed: weight of the last bit is 2^-fraction
  int exponent_bits = 0;  ///< block, floating
  int mantissa_bits = 0;  ///< floating: stored bits, without the hidden one

  bool operator==(const Format&) const = default;

  constexpr std::int64_t max_mantissa() const {
    return is_signed ? (std::int64_t{1} << (width - 1)) - 1 : (std::int64_t{1} << width) - 1;
  }
  constexpr std::int64_t min_mantissa() const { return is_signed ? -(std::int64_t{1} << (width - 1)) : 0; }
  /// floating: bits of a normalised significand, hidden one included.
  constexpr int precision() const { return mantissa_bits + 1; }
  /// block, and signed floats: exponent range. block: of the shared exponent of integer mantissas.
  /// floating: of the leading one (signed: emin is where subnormals begin).
  constexpr int max_exponent() const {
    if (kind == FormatKind::floating) return is_signed ? 1 << (exponent_bits - 1) : 0;
    return (1 << (exponent_bits - 1)) - 1;
  }
  constexpr int min_exponent() const {
    if (kind == FormatKind::floating)
      return is_signed ? 2 - (1 << (exponent_bits - 1)) : -((1 << exponent_bits) - 2);
    return -(1 << (exponent_bits - 1));
  }

  static constexpr Format fixed(bool is_signed, int width, int fraction) {
    return {FormatKind::fixed, is_signed, width, fraction, 0, 0};
  }
};

/// Reads a text form; throws InputError at `place` when it is not one of the forms above.
Format parse_format(std::string_view text, const std::string& place);
std::string to_string(const Format& format);

enum class Rounding {
  truncate,        ///< towards minus infinity
  nearest_even,    ///< to nearest, ties to even
  stochastic,      ///< up with probability equal to the dropped part, from a counter-based generator
  error_feedback,  ///< truncate, and keep the dropped part with the element for its next rounding
};

Rounding parse_rounding(std::string_view text, const std::string& place);
std::string_view to_string(Rounding rounding);

}  // namespace lawcat

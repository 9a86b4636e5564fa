// SPDX-License-Identifier: Apache-2.0
// Element types as steps see them: a name, a size, and which C++ type holds them.
//
// Truth values are std::uint8_t holding 0 or 1 (NumPy's bool_).
#pragma once

#include <cstddef>
#include <cstdint>

namespace lamella::steps {

enum class DType : std::uint8_t { f32, f64, i64, boolean };

constexpr std::size_t item_bytes(DType dtype) {
  return dtype == DType::boolean ? 1 : dtype == DType::f32 ? 4 : 8;
}

constexpr bool is_floating(DType dtype) { return dtype == DType::f32 || dtype == DType::f64; }

// The type's NumPy name.
constexpr const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float32";
    case DType::f64:
      return "float64";
    case DType::i64:
      return "int64";
    case DType::boolean:
      break;
  }
  return "bool";
}

}  // namespace lamella::steps

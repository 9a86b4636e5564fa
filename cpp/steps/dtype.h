// SPDX-License-Identifier: Apache-2.0
// Element types as steps see them, and the way from one that is known at run time to its C++ type.
//
// Everything here follows from the list in kernels/element.h.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "kernels/element.h"

namespace lamella::steps {

using DType = kernels::Element;

constexpr const kernels::ElementRow& row_of(DType dtype) {
  return kernels::kElements[static_cast<std::size_t>(dtype)];
}
constexpr std::size_t item_bytes(DType dtype) { return row_of(dtype).bytes; }
constexpr const char* dtype_name(DType dtype) { return row_of(dtype).name; }  // NumPy's
constexpr bool is_floating(DType dtype) {
  return row_of(dtype).kind == kernels::ElementClass::floating;
}
constexpr bool is_integer(DType dtype) {
  return row_of(dtype).kind == kernels::ElementClass::integer;
}
constexpr bool is_storage(DType dtype) {
  return row_of(dtype).kind == kernels::ElementClass::storage;
}

// "<step>: dtype must be <expected>; got <dtype>"
[[noreturn]] inline void refuse_dtype(DType dtype, const char* step, const char* expected) {
  throw std::invalid_argument(std::string(step) + ": dtype must be " + expected + "; got " +
                              dtype_name(dtype));
}

// use(tag), where decltype(tag)::type is the C++ type of an element type for which `Visits` holds;
// others are refused.
template <auto Visits, class Use>
auto with_element(DType dtype, const char* step, const char* expected, const Use& use) {
  switch (dtype) {
#define LAMELLA_CASE(tag, Type, name, kind)              \
  case DType::tag:                                       \
    if constexpr (Visits(kernels::ElementClass::kind)) { \
      using T = kernels::ElementType<DType::tag>::type;  \
      return use(std::type_identity<T>{});               \
    }                                                    \
    break;
    LAMELLA_ELEMENTS(LAMELLA_CASE)
#undef LAMELLA_CASE
  }
  refuse_dtype(dtype, step, expected);
}

// Every type that is computed with, or those of one class.
template <class Use>
auto with_type(DType dtype, const char* step, const Use& use) {
  constexpr auto kComputes = [](kernels::ElementClass kind) {
    return kind != kernels::ElementClass::storage;
  };
  return with_element<kComputes>(dtype, step, "a type that is computed with", use);
}
template <class Use>
auto with_floating(DType dtype, const char* step, const Use& use) {
  constexpr auto kFloats = [](kernels::ElementClass kind) {
    return kind == kernels::ElementClass::floating;
  };
  return with_element<kFloats>(dtype, step, "floating", use);
}
template <class Use>
auto with_integer(DType dtype, const char* step, const Use& use) {
  constexpr auto kCounts = [](kernels::ElementClass kind) {
    return kind == kernels::ElementClass::integer;
  };
  return with_element<kCounts>(dtype, step, "an integer type", use);
}

}  // namespace lamella::steps

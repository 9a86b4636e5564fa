// SPDX-License-Identifier: Apache-2.0
// The element types: one list, from which everything else that names them is made or checked.
//
// A row is (tag, C++ type, NumPy's name, class); the list has a part for each class. Floating types, integers and truth values are
// computed with; storage types only lie in memory and are cast. The C++ types differ from each
// other, so that templates tell them apart. Data only: kernels and the rest include it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lamella::kernels {

enum class Truth : std::uint8_t {};  // 0 or 1, as NumPy's bool_
struct Bfloat16 {
  std::uint16_t bits;  // the upper half of a float
};
struct Float16 {
  std::uint16_t bits;  // IEEE 754 binary16
};

enum class ElementClass : std::uint8_t { floating, integer, truth, storage };

// clang-format off
#define LAMELLA_FLOATING(row)                          \
  row(f32,     float,         "float32",  floating)    \
  row(f64,     double,        "float64",  floating)
#define LAMELLA_INTEGERS(row)                          \
  row(i64,     std::int64_t,  "int64",    integer)     \
  row(i32,     std::int32_t,  "int32",    integer)     \
  row(u8,      std::uint8_t,  "uint8",    integer)     \
  row(i8,      std::int8_t,   "int8",     integer)
#define LAMELLA_TRUTH(row)                             \
  row(boolean, Truth,         "bool",     truth)
#define LAMELLA_STORAGE(row)                           \
  row(bf16,    Bfloat16,      "bfloat16", storage)     \
  row(f16,     Float16,       "float16",  storage)
#define LAMELLA_ELEMENTS(row) \
  LAMELLA_FLOATING(row) LAMELLA_INTEGERS(row) LAMELLA_TRUTH(row) LAMELLA_STORAGE(row)
// clang-format on

#define LAMELLA_TAG(tag, Type, name, kind) tag,
enum class Element : std::uint8_t { LAMELLA_ELEMENTS(LAMELLA_TAG) };
#undef LAMELLA_TAG

struct ElementRow {
  const char* name;
  std::size_t bytes;
  ElementClass kind;
};

#define LAMELLA_ROW(tag, Type, name, kind) {name, sizeof(Type), ElementClass::kind},
inline constexpr ElementRow kElements[] = {LAMELLA_ELEMENTS(LAMELLA_ROW)};
#undef LAMELLA_ROW
inline constexpr std::size_t kElementCount = sizeof(kElements) / sizeof(kElements[0]);

// The C++ type of an element, and the element of a C++ type.
template <Element element>
struct ElementType;
template <class T>
struct ElementOf;
#define LAMELLA_TYPE(tag, Type, name, kind)        \
  template <>                                      \
  struct ElementType<Element::tag> {               \
    using type = Type;                             \
  };                                               \
  template <>                                      \
  struct ElementOf<Type> {                         \
    static constexpr Element value = Element::tag; \
  };
LAMELLA_ELEMENTS(LAMELLA_TYPE)
#undef LAMELLA_TYPE

template <class T>
inline constexpr ElementClass kClassOf = kElements[std::size_t(ElementOf<T>::value)].kind;

}  // namespace lamella::kernels

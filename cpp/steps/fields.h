// SPDX-License-Identifier: Apache-2.0
// How a kind of step describes itself: a spec of numbers and names, and the slots of its arrays.
//
// Both are plain structs whose `fields` names the members once, in a fixed order: a tuple of Field.
// What Python passes, comparison, listing and formulas for numbers follow from that tuple. A member
// is an integer, a bool, a double, a string, a DType, an Instruction, a Slot, or a vector of those.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace lamella::steps {

template <class T>
struct Field {
  const char* name;
  T& member;
  bool optional;  // has the struct's own value when it is not given
};

template <class T>
constexpr Field<T> field(const char* name, T& member) {
  return {name, member, false};
}
template <class T>
constexpr Field<T> optional_field(const char* name, T& member) {
  return {name, member, true};
}

// Calls visit(field) for each field of a spec or of its slots.
template <class Struct, class Visit>
void for_each_field(Struct& object, const Visit& visit) {
  std::apply([&](const auto&... each) { (visit(each), ...); },
             std::remove_const_t<Struct>::fields(object));
}

// Sizes, strides and counts: what a formula can stand for.
template <class T>
concept Number = std::integral<T> && !std::same_as<T, bool>;

template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;

// Calls visit(integer) for each integer among the members, in order.
template <class T, class Visit>
void for_each_number(T& member, const Visit& visit) {
  using Plain = std::remove_const_t<T>;
  if constexpr (Number<Plain>) {
    visit(member);
  } else if constexpr (is_vector<Plain>) {
    for (auto& item : member) for_each_number(item, visit);
  } else if constexpr (requires { Plain::fields(member); }) {
    for_each_field(member, [&](const auto& each) { for_each_number(each.member, visit); });
  }
}

// Whether two members are the same, floating numbers bit by bit.
template <class T>
bool same_member(const T& a, const T& b) {
  if constexpr (std::same_as<T, double>) {
    return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
  } else if constexpr (is_vector<T>) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (!same_member(a[i], b[i])) return false;
    }
    return true;
  } else if constexpr (requires { T::fields(a); }) {
    return [&]<std::size_t... I>(const auto& x, const auto& y, std::index_sequence<I...>) {
      return (same_member(std::get<I>(x).member, std::get<I>(y).member) && ...);
    }(T::fields(a), T::fields(b),
           std::make_index_sequence<std::tuple_size_v<decltype(T::fields(a))>>());
  } else {
    return a == b;
  }
}

}  // namespace lamella::steps

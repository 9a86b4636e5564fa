// SPDX-License-Identifier: Apache-2.0
// How a kind of step describes itself: a spec of numbers and names, and the slots of its arrays.
//
// Both are plain structs whose `fields` names the members once, in a fixed order. What Python passes,
// comparison, listing and formulas for numbers follow from that: each works on the fields of any
// kind, none is written for one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "steps/dtype.h"
#include "steps/instruction.h"
#include "steps/step.h"
#include "steps/strides.h"

namespace lamella::steps {

// All that a member can be.
using Member =
    std::variant<std::size_t*, std::ptrdiff_t*, bool*, double*, std::string*, DType*, Shape*,
                 Strides*, std::vector<double>*, std::vector<DType>*, std::vector<Strides>*,
                 std::vector<Instruction>*, Slot*, std::optional<Slot>*, std::vector<Slot>*>;

struct Field {
  const char* name;
  Member member;
  bool optional;  // keeps the struct's own value when it is not given
};

template <class T>
Field field(const char* name, T& member) {
  return {name, &member, false};
}
template <class T>
Field optional_field(const char* name, T& member) {
  return {name, &member, true};
}

// The fields of a struct behind those of what it is derived from.
template <std::size_t N, std::size_t M>
std::array<Field, N + M> joined(const std::array<Field, N>& a, const std::array<Field, M>& b) {
  std::array<Field, N + M> all;
  for (std::size_t i = 0; i < N; ++i) all[i] = a[i];
  for (std::size_t i = 0; i < M; ++i) all[N + i] = b[i];
  return all;
}

// One size, stride or count among the members: what a formula can stand for.
struct Number {
  std::int64_t* at = nullptr;
  bool is_signed = false;
};

// The numbers and slots among the members, in order.
std::vector<Number> numbers_of(std::span<const Field> fields);
std::vector<Slot*> slots_of(std::span<const Field> fields);

// What the members hold beside themselves.
std::size_t heap_bytes(std::span<const Field> fields);

// A member as Python would write it; equal members have equal texts, floating numbers bit by bit.
std::string text_of(const Member& member);

}  // namespace lamella::steps

// SPDX-License-Identifier: Apache-2.0
#include "steps/fields.h"

#include <charconv>
#include <type_traits>

namespace lamella::steps {
namespace {

static_assert(sizeof(std::size_t) == sizeof(std::int64_t));

template <class T>
void add_numbers(std::vector<Number>& list, T& member) {
  if constexpr (std::is_same_v<T, std::size_t>) {
    list.push_back({reinterpret_cast<std::int64_t*>(&member), false});
  } else if constexpr (std::is_same_v<T, std::ptrdiff_t>) {
    list.push_back({&member, true});
  } else if constexpr (std::is_same_v<T, Shape> || std::is_same_v<T, Strides> ||
                       std::is_same_v<T, std::vector<Strides>>) {
    for (auto& item : member) add_numbers(list, item);
  }
}

template <class T>
void add_slots(std::vector<Slot*>& list, T& member) {
  if constexpr (std::is_same_v<T, Slot>) {
    list.push_back(&member);
  } else if constexpr (std::is_same_v<T, std::optional<Slot>>) {
    if (member) list.push_back(&*member);
  } else if constexpr (std::is_same_v<T, std::vector<Slot>>) {
    for (Slot& slot : member) list.push_back(&slot);
  }
}

template <class T>
std::size_t held_by(const T& member) {
  if constexpr (std::is_same_v<T, std::string>) {
    return member.capacity() < sizeof(std::string) / 2 ? 0 : member.capacity();
  } else if constexpr (std::is_same_v<T, Instruction>) {
    return held_by(member.op) + held_by(member.args) + held_by(member.params);
  } else if constexpr (requires { member.capacity(); }) {
    std::size_t bytes = member.capacity() * sizeof(member[0]);
    for (const auto& item : member) bytes += held_by(item);
    return bytes;
  } else {
    return 0;
  }
}

std::string text(bool value) { return value ? "True" : "False"; }
std::string text(std::size_t value) { return std::to_string(value); }
std::string text(std::ptrdiff_t value) { return std::to_string(value); }
std::string text(const std::string& value) { return "'" + value + "'"; }
std::string text(DType value) { return std::string("'") + dtype_name(value) + "'"; }

// The shortest digits that give the same number back.
std::string text(double value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  std::string result(digits, end);
  return result.find_first_not_of("-0123456789") == std::string::npos ? result + ".0" : result;
}

std::string text(Slot slot) {
  return "(" + std::to_string(slot.buffer) + ", " + std::to_string(slot.offset) + ")";
}
std::string text(const std::optional<Slot>& slot) { return slot ? text(*slot) : "None"; }

std::string text(const Instruction& instruction);

template <class T>
std::string text(const std::vector<T>& values) {
  std::string result = "(";
  for (std::size_t i = 0; i < values.size(); ++i) {
    result += (i == 0 ? "" : ", ") + text(values[i]);
  }
  return result + (values.size() == 1 ? ",)" : ")");
}

std::string text(const Instruction& instruction) {
  return "(" + text(instruction.op) + ", " + text(instruction.dtype) + ", " +
         text(instruction.args) + ", " + text(instruction.params) + ")";
}

}  // namespace

std::vector<Number> numbers_of(std::span<const Field> fields) {
  std::vector<Number> list;
  for (const Field& field : fields) {
    std::visit([&list](auto* member) { add_numbers(list, *member); }, field.member);
  }
  return list;
}

std::vector<Slot*> slots_of(std::span<const Field> fields) {
  std::vector<Slot*> list;
  for (const Field& field : fields) {
    std::visit([&list](auto* member) { add_slots(list, *member); }, field.member);
  }
  return list;
}

std::size_t heap_bytes(std::span<const Field> fields) {
  std::size_t bytes = 0;
  for (const Field& field : fields) {
    bytes += std::visit([](const auto* member) { return held_by(*member); }, field.member);
  }
  return bytes;
}

std::string text_of(const Member& member) {
  return std::visit([](const auto* value) { return text(*value); }, member);
}

}  // namespace lamella::steps

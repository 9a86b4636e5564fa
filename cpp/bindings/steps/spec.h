// SPDX-License-Identifier: Apache-2.0
// Specs of steps for Python: one keyword-only class for each kind, made of the kind's own fields.
//
// From the tuple of fields (steps/fields.h) come the constructor, comparison, the listing, and the
// signatures in the stub, which are written into the docstrings that stubgen reads.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "steps/fields.h"
#include "steps/instruction.h"
#include "steps/recipe.h"

namespace lamella::bindings {

// What Python holds: the numbers of one step, without its arrays.
class AnySpec {
 public:
  virtual ~AnySpec() = default;
  // The step with these arrays, given by name.
  virtual std::unique_ptr<steps::Recipe> recipe(const pybind11::kwargs& slots) const = 0;
};

template <class Spec>
class SpecOf final : public AnySpec {
 public:
  SpecOf(const char* name, const pybind11::kwargs& given);
  std::unique_ptr<steps::Recipe> recipe(const pybind11::kwargs& slots) const override;

  const char* const name;
  Spec spec;
};

// What each kind adds to the module, and to the signatures of ProgramBuilder.add.
struct SpecRegister {
  pybind11::module_& module;
  pybind11::class_<AnySpec>& base;
  std::string& add_signatures;
  int count = 0;
};

// ---- one member

// Where a value comes from, for messages.
struct Origin {
  const char* owner;
  const char* name;
};

[[noreturn]] void refuse_value(const Origin& origin, const std::string& expected,
                               pybind11::handle got);

template <class T>
std::string type_text() {
  if constexpr (std::is_same_v<T, bool>)
    return "bool";
  else if constexpr (std::is_integral_v<T>)
    return "int";
  else if constexpr (std::is_same_v<T, double>)
    return "float";
  else if constexpr (std::is_same_v<T, steps::Slot>)
    return "lamella._core.Slot";
  else if constexpr (std::is_same_v<T, std::optional<steps::Slot>>)
    return "lamella._core.Slot | None";
  else if constexpr (std::is_same_v<T, steps::Instruction>)
    return "tuple[str, str, collections.abc.Sequence[int], collections.abc.Sequence[float]]";
  else if constexpr (steps::is_vector<T>)
    return "collections.abc.Sequence[" + type_text<typename T::value_type>() + "]";
  else
    return "str";
}

// As Python would write it.
template <class T>
std::string value_text(const T& value) {
  if constexpr (std::is_same_v<T, steps::DType>) {
    return std::string("'") + name_of(value) + "'";
  } else if constexpr (std::is_same_v<T, std::optional<steps::Slot>>) {
    return value ? "..." : "None";
  } else if constexpr (std::is_same_v<T, steps::Instruction>) {
    return "(" + value_text(value.op) + ", " + value_text(value.dtype) + ", " +
           value_text(value.args) + ", " + value_text(value.params) + ")";
  } else if constexpr (steps::is_vector<T>) {
    std::string text = "(";
    for (std::size_t i = 0; i < value.size(); ++i) {
      text += (i == 0 ? "" : " ") + value_text(value[i]) + (i + 1 < value.size() ? "," : "");
    }
    return text + (value.size() == 1 ? ",)" : ")");
  } else {
    return pybind11::repr(pybind11::cast(value)).template cast<std::string>();
  }
}

template <class T>
void read_value(const Origin& origin, pybind11::handle given, T& value) {
  if constexpr (std::is_same_v<T, std::optional<steps::Slot>>) {
    value.reset();
    if (!given.is_none()) read_value(origin, given, value.emplace());
  } else if constexpr (std::is_same_v<T, steps::DType>) {
    std::string name;
    read_value(origin, given, name);
    value = dtype_named(name);
  } else if constexpr (std::is_same_v<T, steps::Instruction>) {
    if (!pybind11::isinstance<pybind11::tuple>(given) || pybind11::len(given) != 4) {
      refuse_value(origin, type_text<T>(), given);
    }
    const auto parts = pybind11::reinterpret_borrow<pybind11::tuple>(given);
    read_value(origin, parts[0], value.op);
    read_value(origin, parts[1], value.dtype);
    read_value(origin, parts[2], value.args);
    read_value(origin, parts[3], value.params);
  } else if constexpr (steps::is_vector<T>) {
    if (PySequence_Check(given.ptr()) == 0 || pybind11::isinstance<pybind11::str>(given)) {
      refuse_value(origin, type_text<T>(), given);
    }
    value.clear();
    for (const pybind11::handle item : pybind11::reinterpret_borrow<pybind11::sequence>(given)) {
      read_value(origin, item, value.emplace_back());
    }
  } else {
    pybind11::detail::make_caster<T> caster;
    if (!caster.load(given, true)) refuse_value(origin, type_text<T>(), given);
    value = pybind11::detail::cast_op<T>(caster);
  }
}

// ---- all members of a struct

// Throws TypeError for an argument that is missing, unknown or of another type.
template <class Struct>
void read_fields(const char* owner, const pybind11::kwargs& given, Struct& object) {
  std::size_t found = 0;
  steps::for_each_field(object, [&](const auto& field) {
    PyObject* value = PyDict_GetItemString(given.ptr(), field.name);
    if (value != nullptr) {
      ++found;
      read_value({owner, field.name}, value, field.member);
    } else if (!field.optional) {
      throw pybind11::type_error(std::string(owner) + ": missing argument '" + field.name + "'");
    }
  });
  if (found == given.size()) return;
  for (const auto& [key, value] : given) {
    const auto name = key.template cast<std::string>();
    bool known = false;
    steps::for_each_field(object, [&](const auto& field) { known |= name == field.name; });
    if (!known) {
      throw pybind11::type_error(std::string(owner) + ": unexpected argument '" + name + "'");
    }
  }
}

template <class Struct>
std::string fields_text(const Struct& object) {
  std::string text;
  steps::for_each_field(object, [&](const auto& field) {
    text += (text.empty() ? "" : ", ") + std::string(field.name) + "=" + value_text(field.member);
  });
  return text;
}

// ", name: type = default" of each.
template <class Struct>
std::string parameters_text() {
  const Struct defaults{};
  std::string text;
  steps::for_each_field(defaults, [&](const auto& field) {
    using Member = std::remove_cvref_t<decltype(field.member)>;
    text += ", " + std::string(field.name) + ": " + type_text<Member>();
    if (field.optional) text += " = " + value_text(field.member);
  });
  return text;
}

// ---- the classes

template <class Spec>
SpecOf<Spec>::SpecOf(const char* spec_name, const pybind11::kwargs& given) : name(spec_name) {
  read_fields(name, given, spec);
}

template <class Spec>
std::unique_ptr<steps::Recipe> SpecOf<Spec>::recipe(const pybind11::kwargs& given) const {
  typename Spec::Slots slots;
  read_fields(name, given, slots);
  return std::make_unique<steps::RecipeOf<Spec>>(spec, std::move(slots));
}

template <class Spec>
std::size_t scratch_of(const Spec& spec) {
  if constexpr (requires { scratch_bytes(spec); }) {
    return scratch_bytes(spec);
  } else {
    return 0;
  }
}

// name: of the class; meaning: one sentence, that of the step.
template <class Spec>
void register_spec(SpecRegister& to, const char* name, const char* meaning) {
  namespace py = pybind11;
  using Held = SpecOf<Spec>;
  py::options options;
  options.disable_function_signatures();
  const std::string init = "__init__(self, *" + parameters_text<Spec>() + ") -> None\n";
  py::class_<Held, AnySpec>(to.module, name, meaning)
      .def(
          py::init([name](const py::kwargs& given) { return std::make_unique<Held>(name, given); }),
          init.c_str())
      .def(
          "__eq__",
          [](const Held& a, const py::object& other) {
            return py::isinstance<Held>(other) &&
                   steps::same_member(a.spec, other.cast<const Held&>().spec);
          },
          "__eq__(self, other: object) -> bool\n")
      .def(
          "__hash__", [](const Held& a) { return py::hash(py::str(fields_text(a.spec))); },
          "__hash__(self) -> int\n")
      .def(
          "__repr__",
          [](const Held& a) { return std::string(a.name) + "(" + fields_text(a.spec) + ")"; },
          "__repr__(self) -> str\n")
      .def_property_readonly(
          "scratch_bytes",
          py::cpp_function(
              [](const Held& a) { return scratch_of(a.spec); },
              "scratch_bytes(self) -> int\n\nBytes of arena that the step wants while it runs."))
      .def_property_readonly(
          "work", py::cpp_function(
                      [](const Held& a) { return work(a.spec); },
                      "work(self) -> float\n\nMultiply-adds; of steps that have none, elements."));
  to.add_signatures += std::to_string(++to.count) +
                       ". add(self: lamella._core.ProgramBuilder, spec: lamella._core." + name +
                       ", *" + parameters_text<typename Spec::Slots>() + ") -> None\n\n";
}

// One file for each family of steps.
void register_elementwise(SpecRegister& to);
void register_matmul(SpecRegister& to);
void register_reduce(SpecRegister& to);
void register_rows(SpecRegister& to);
void register_move(SpecRegister& to);
void register_gather(SpecRegister& to);
void register_random(SpecRegister& to);
void register_loss(SpecRegister& to);
void register_optimizer(SpecRegister& to);

}  // namespace lamella::bindings

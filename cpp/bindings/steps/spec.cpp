// SPDX-License-Identifier: Apache-2.0
// What all specs have in common, and ProgramBuilder.add: a spec and the slots of its arrays.
#include "bindings/steps/spec.h"

#include <optional>
#include <stdexcept>
#include <type_traits>

#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/builder.h"
#include "bindings/extents.h"
#include "bindings/register.h"
#include "steps/elementwise.h"
#include "steps/optimizer.h"

namespace py = pybind11;
using namespace py::literals;

namespace lamella::bindings {
namespace {

using steps::Field;
using steps::Instruction;
using steps::Slot;

// ---- the types of members

template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;

template <class T>
std::string type_text() {
  if constexpr (std::is_same_v<T, bool>) {
    return "bool";
  } else if constexpr (std::is_integral_v<T>) {
    return "int";
  } else if constexpr (std::is_same_v<T, double>) {
    return "float";
  } else if constexpr (std::is_same_v<T, Slot>) {
    return "lamella._core.Slot";
  } else if constexpr (std::is_same_v<T, std::optional<Slot>>) {
    return "lamella._core.Slot | None";
  } else if constexpr (std::is_same_v<T, Instruction>) {
    return "tuple[str, str, collections.abc.Sequence[int], collections.abc.Sequence[float]]";
  } else if constexpr (is_vector<T>) {
    return "collections.abc.Sequence[" + type_text<typename T::value_type>() + "]";
  } else {
    return "str";
  }
}

// ---- from Python

// Reads the members of one struct, and notes which of its numbers or slots have formulas.
class Reader {
 public:
  Reader(const char* kind, const py::kwargs& given) : kind_(kind), given_(given) {}

  void read(const std::vector<Field>& fields) {
    Py_ssize_t found = 0;
    for (const Field& field : fields) {
      name_ = field.name;
      PyObject* value = PyDict_GetItemString(given_.ptr(), field.name);
      if (value != nullptr) {
        ++found;
        std::visit([&](auto* member) { read(value, *member); }, field.member);
      } else if (!field.optional) {
        throw py::type_error(std::string(kind_) + ": missing argument '" + field.name + "'");
      }
    }
    if (found == PyDict_Size(given_.ptr())) return;
    for (const auto& [key, value] : given_) {
      const auto name = key.template cast<std::string>();
      bool known = false;
      for (const Field& field : fields) known = known || name == field.name;
      if (!known) {
        throw py::type_error(std::string(kind_) + ": unexpected argument '" + name + "'");
      }
    }
  }

  // Of these places, in the order in which the struct has them.
  template <class Place, class Address>
  std::vector<program::FreeNumber> free(const std::vector<Place>& places,
                                        const Address& address) const {
    std::vector<program::FreeNumber> found;
    for (std::uint32_t i = 0; i < places.size() && !formulas_.empty(); ++i) {
      for (const auto& [at, formula] : formulas_) {
        if (at == address(places[i])) found.push_back({i, formula});
      }
    }
    return found;
  }

 private:
  [[noreturn]] void refuse(py::handle given, const std::string& expected) const {
    throw py::type_error(std::string(kind_) + ": " + name_ + " must be " + expected + "; got " +
                         py::repr(given).cast<std::string>());
  }

  void note(const void* at, program::FormulaNumber formula) {
    if (formula != program::kNoFormula) formulas_.emplace_back(at, formula);
  }

  template <class T>
  void read(py::handle given, T& member) {
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      ExtentNumber number;
      bool overflow = false;
      const bool whole = read_number(given, number, overflow);
      constexpr bool kSigned = std::is_signed_v<T>;
      if (overflow) {
        throw std::overflow_error(std::string(kind_) + ": " + name_ + " does not fit; got " +
                                  py::repr(given).cast<std::string>());
      }
      if (!whole || (!kSigned && number.value < 0)) {
        refuse(given, kSigned ? "an int" : "an int of 0 or more");
      }
      member = static_cast<T>(number.value);
      note(&member, number.formula);
    } else if constexpr (std::is_same_v<T, Slot>) {
      if (!py::isinstance<PythonSlot>(given)) refuse(given, type_text<T>());
      const auto& slot = given.cast<const PythonSlot&>();
      member = slot.slot;
      ExtentNumber offset;
      bool overflow = false;
      read_number(slot.offset, offset, overflow);
      note(&member, offset.formula);
    } else if constexpr (std::is_same_v<T, std::optional<Slot>>) {
      member.reset();
      if (!given.is_none()) read(given, member.emplace());
    } else if constexpr (std::is_same_v<T, steps::DType>) {
      std::string name;
      read(given, name);
      member = dtype_named(name);
    } else if constexpr (std::is_same_v<T, Instruction>) {
      if (!py::isinstance<py::tuple>(given) || py::len(given) != 4) refuse(given, type_text<T>());
      const auto parts = py::reinterpret_borrow<py::tuple>(given);
      read(parts[0], member.op);
      read(parts[1], member.dtype);
      read(parts[2], member.args);
      read(parts[3], member.params);
    } else if constexpr (is_vector<T>) {
      if (PySequence_Check(given.ptr()) == 0 || py::isinstance<py::str>(given)) {
        refuse(given, type_text<T>());
      }
      const auto items = py::reinterpret_borrow<py::sequence>(given);
      member.assign(items.size(), typename T::value_type());  // no item moves any more
      for (std::size_t i = 0; i < member.size(); ++i) read(items[i], member[i]);
    } else {
      py::detail::make_caster<T> caster;
      if (!caster.load(given, true)) refuse(given, type_text<T>());
      member = py::detail::cast_op<T>(caster);
    }
  }

  const char* const kind_;
  const py::kwargs& given_;
  const char* name_ = "";
  std::vector<std::pair<const void*, program::FormulaNumber>> formulas_;
};

std::string text_of(const AnySpec& spec) {
  std::string text = std::string(spec.recipe->kind()) + "(";
  bool first = true;
  for (const Field& field : spec.recipe->fields()) {
    text += (first ? "" : ", ") + std::string(field.name) + "=" + steps::text_of(field.member);
    first = false;
  }
  return text + ")";
}

void add(PythonBuilder& builder, const AnySpec& spec, const py::kwargs& slots) {
  auto recipe = spec.recipe->clone();
  const std::vector<Field> fields = recipe->slots();
  Reader reader(recipe->kind(), slots);
  reader.read(fields);
  auto offsets = reader.free(steps::slots_of(fields), [](const Slot* slot) { return slot; });
  builder.add(std::move(recipe), spec.free, std::move(offsets));
}

}  // namespace

void read_spec(AnySpec& spec, const py::kwargs& given) {
  const std::vector<Field> fields = spec.recipe->fields();
  Reader reader(spec.recipe->kind(), given);
  reader.read(fields);
  spec.free =
      reader.free(steps::numbers_of(fields), [](const steps::Number& number) { return number.at; });
}

std::string parameters_text(const std::vector<Field>& fields) {
  std::string text;
  for (const Field& field : fields) {
    const auto type = [](auto* member) {
      return type_text<std::remove_cvref_t<decltype(*member)>>();
    };
    text += ", " + std::string(field.name) + ": " + std::visit(type, field.member);
    if (field.optional) text += " = " + steps::text_of(field.member);
  }
  return text;
}

void add_signature(SpecRegister& to, steps::Recipe& recipe) {
  to.add_signatures += std::to_string(++to.count) +
                       ". add(self: lamella._core.ProgramBuilder, spec: lamella._core." +
                       recipe.kind() + ", *" + parameters_text(recipe.slots()) + ") -> None\n\n";
}

void register_steps(py::module_& module, BuilderClass& builder) {
  py::class_<AnySpec>(module, "Spec", "The numbers of one step, without its arrays.")
      .def("__eq__",
           [](const AnySpec& a, const py::object& b) {
             return py::isinstance<AnySpec>(b) && text_of(a) == text_of(b.cast<const AnySpec&>());
           })
      .def("__hash__", [](const AnySpec& a) { return py::hash(py::str(text_of(a))); })
      .def("__repr__", &text_of)
      .def_property_readonly(
          "scratch_bytes", [](const AnySpec& a) { return a.recipe->scratch_bytes(); },
          "Bytes of arena that the step wants while it runs.")
      .def_property_readonly(
          "work", [](const AnySpec& a) { return a.recipe->work(); },
          "Multiply-adds; of steps that have none, elements.");
  SpecRegister to{module, "add(*args, **kwargs)\nOverloaded function.\n\n"};
  register_elementwise(to);
  register_matmul(to);
  register_reduce(to);
  register_rows(to);
  register_move(to);
  register_gather(to);
  register_order(to);
  register_random(to);
  register_loss(to);
  register_optimizer(to);
  register_quantize(to);
  builder.attr("elementwise_registers") = steps::kElementwiseRegisters;
  builder.attr("update_scalars_count") = steps::kUpdateScalars;
  py::options options;
  options.disable_function_signatures();
  builder.def("add", &add, "spec"_a, py::pos_only(), to.add_signatures.c_str());
}

}  // namespace lamella::bindings

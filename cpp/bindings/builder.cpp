// SPDX-License-Identifier: Apache-2.0
// Slot and ProgramBuilder for Python, without the steps (steps/ adds those).
#include "bindings/builder.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/extents.h"
#include "bindings/register.h"
#include "dispatch/select.h"
#include "program/program.h"
#include "program/storage.h"

namespace py = pybind11;
using namespace py::literals;

namespace lamella::bindings {
namespace {

using program::ArraySpec;
using program::ConstantArray;
using program::ProgramBuilder;
using steps::Slot;

// (dtype name, shape) of each, and the formulas of the extents.
using ArrayTypes = py::typing::Iterable<py::typing::Tuple<py::str, py::typing::Iterable<py::int_>>>;

std::vector<ArraySpec> read_specs(const ArrayTypes& arrays, const char* what,
                                  std::uint32_t& position,
                                  std::vector<program::FreeNumber>& extents) {
  std::vector<ArraySpec> specs;
  for (const py::handle one : arrays) {
    const auto [name, shape] =
        converted<std::pair<std::string, py::sequence>>(one, "(dtype name, shape)");
    std::vector<std::size_t> sizes;
    for (const py::handle size : shape) {
      const ExtentNumber number = read_count(size, what);
      if (number.formula != program::kNoFormula) extents.push_back({position, number.formula});
      ++position;
      sizes.push_back(static_cast<std::size_t>(number.value));
    }
    specs.push_back(program::make_array_spec(dtype_named(name), std::move(sizes)));
  }
  return specs;
}

std::unique_ptr<PythonBuilder> make_builder(const ArrayTypes& inputs, const ArrayTypes& outputs,
                                            const FormulaList& formulas,
                                            const std::optional<std::string>& isa) {
  const kernels::KernelTable& table = isa ? dispatch::table_of(*isa) : dispatch::selected();
  std::uint32_t position = 0;
  std::vector<program::FreeNumber> extents;
  auto in = read_specs(inputs, "inputs", position, extents);
  auto out = read_specs(outputs, "outputs", position, extents);
  return std::make_unique<PythonBuilder>(
      ProgramBuilder(std::move(in), std::move(out), std::move(extents), table), formulas);
}

PythonSlot python_slot(Slot slot) { return {slot, py::int_(slot.offset)}; }

// Keeps Python objects alive from C++; may be dropped without the GIL.
std::shared_ptr<const void> keep_alive(std::vector<py::object> objects) {
  return {new std::vector<py::object>(std::move(objects)), [](std::vector<py::object>* kept) {
            if (Py_IsInitialized() == 0) return;  // at exit the memory goes with the process
            const py::gil_scoped_acquire gil;
            delete kept;
          }};
}

PythonSlot constant(PythonBuilder& builder, const py::array& array,
                    const std::optional<py::array>& version) {
  const auto dtype = stored_dtype_of(array.ptr());
  if (!dtype || (fields(array.ptr())->flags & kReadable) != kReadable) {
    throw std::invalid_argument("constant: got " + describe(array.ptr()) +
                                "; expected a C-contiguous, aligned array of " + dtype_names());
  }
  ConstantArray result;
  result.data = reinterpret_cast<std::byte*>(fields(array.ptr())->data);
  result.bytes = byte_count(array.ptr(), *dtype);
  std::vector<py::object> kept{array};
  if (version) {
    static const ArrayKey cell(program::make_array_spec(steps::DType::i64, {1}));
    if (!matches(version->ptr(), cell, kWritable)) {
      throw std::invalid_argument("constant: got a version of " + describe(version->ptr()) +
                                  "; expected int64 (1,), writeable");
    }
    result.version = reinterpret_cast<std::int64_t*>(fields(version->ptr())->data);
    kept.push_back(*version);
    result.storage = storage_of(array.ptr());
    if (result.storage != nullptr && result.version != result.storage->version()) {
      throw std::invalid_argument("constant: the version is not that of the array's storage");
    }
  }
  result.owner = keep_alive(std::move(kept));
  return python_slot(builder.constant(std::move(result)));
}

PythonSlot shifted(const PythonSlot& slot, const AnyInt& bytes) {
  read_count(bytes.number, "shifted");
  PythonSlot moved{slot.slot, slot.offset + bytes.number};
  moved.slot.offset = static_cast<std::size_t>(read_count(moved.offset, "shifted").value);
  return moved;
}

PythonSlot range(PythonBuilder& builder, const AnyInt& nbytes) {
  const ExtentNumber number = read_count(nbytes.number, "range");
  return python_slot(builder.range(static_cast<std::size_t>(number.value), number.formula));
}

program::NumberTerm size_term(const std::string& form, py::handle n) {
  using Kind = program::NumberTerm::Kind;
  if (form != "value" && form != "reciprocal") {
    throw std::invalid_argument("number: got '" + form + "'; expected 'value' or 'reciprocal'");
  }
  const ExtentNumber extent = read_count(n, "number");
  return {form == "value" ? Kind::value : Kind::reciprocal, extent.value, extent.formula, 0};
}

using Factors = py::typing::Iterable<py::typing::Tuple<py::str, py::float_>>;

PythonSlot number(PythonBuilder& builder, const std::string& dtype, const std::string& form,
                  const AnyInt& n, const Factors& factors) {
  using Kind = program::NumberTerm::Kind;
  std::vector<program::NumberTerm> terms{size_term(form, n.number)};
  for (const py::handle factor : factors) {
    const auto [how, by] = converted<std::pair<std::string, py::object>>(factor, "(how, number)");
    if (how == "times" || how == "over") {
      const Kind kind = how == "times" ? Kind::times : Kind::over;
      terms.push_back({kind, 0, program::kNoFormula, converted<double>(by, "a number")});
    } else {
      terms.push_back(size_term(how, by));
    }
  }
  return python_slot(builder.number(dtype_named(dtype), std::move(terms)));
}

PythonSlot fold(PythonBuilder& builder, PythonBuilder& steps,
                const py::typing::Iterable<PythonSlot>& sources, const std::string& kind) {
  std::vector<Slot> slots;
  for (const py::handle one : sources) slots.push_back(converted<PythonSlot>(one, "a Slot").slot);
  return python_slot(builder.fold(std::move(steps), std::move(slots), kind));
}

std::uint32_t shown_buffer(const PythonSlot& slot) {
  return program::is_range(slot.slot) ? 0 : slot.slot.buffer;
}

std::optional<std::size_t> shown_range(const PythonSlot& slot) {
  if (!program::is_range(slot.slot)) return std::nullopt;
  return program::range_of(slot.slot);
}

std::string slot_text(const PythonSlot& slot) {
  const auto where = shown_range(slot);
  return "Slot(" +
         (where ? "range=" + std::to_string(*where)
                : "buffer=" + std::to_string(shown_buffer(slot))) +
         ", offset=" + std::to_string(slot.slot.offset) + ")";
}

}  // namespace

BuilderClass register_builder(py::module_& module) {
  py::class_<PythonSlot>(
      module, "Slot",
      "Where an array lies: a buffer, or a range of the arena, and a byte offset "
      "in it.")
      .def_property_readonly("buffer", &shown_buffer,
                             "0 is the arena; inputs, outputs, constants follow.")
      .def_property_readonly("range", &shown_range, "Of the arena, else None.")
      .def_property_readonly(
          "offset", [](const PythonSlot& slot) { return slot.slot.offset; },
          "Bytes from the start of the buffer or range.")
      .def("shifted", &shifted, "bytes"_a, "The slot that many bytes further on.")
      .def("__eq__",
           [](const PythonSlot& a, const py::object& b) {
             return py::isinstance<PythonSlot>(b) && a.slot == b.cast<const PythonSlot&>().slot;
           })
      .def("__hash__",
           [](const PythonSlot& a) {
             return py::hash(py::make_tuple(a.slot.buffer, a.slot.offset));
           })
      .def("__repr__", &slot_text);

  BuilderClass builder(module, "ProgramBuilder",
                       "Collects steps and the arrays they work on, and builds a Program.");
  builder
      .def(py::init(&make_builder), py::kw_only(), "inputs"_a, "outputs"_a,
           "formulas"_a = FormulaList(py::tuple()), "isa"_a = py::none(),
           "Inputs and outputs are (dtype name, shape) pairs. Sizes, strides and offsets may be "
           "Extents, whose formulas are read when the program is built.")
      .def_property_readonly(
          "step_count", [](const PythonBuilder& b) { return b.step_count(); },
          "Steps added so far.")
      .def("range", &range, "nbytes"_a,
           "A range of the arena, in use from the first step that touches it to the last.")
      .def(
          "input", [](const PythonBuilder& b, std::size_t i) { return python_slot(b.input(i)); },
          "index"_a, "The slot of an input.")
      .def(
          "output", [](const PythonBuilder& b, std::size_t i) { return python_slot(b.output(i)); },
          "index"_a, "The slot of an output.")
      .def("constant", &constant, "array"_a, "version"_a = py::none(),
           "The slot of an array that every run reads where it is; it is kept alive. `version` is "
           "an int64 array of shape (1,), changed whenever the array's contents change.")
      .def("number", &number, "dtype"_a, "form"_a, "n"_a, "factors"_a = Factors(py::tuple()),
           "The slot of a 0-d constant of the program's own: the 'value' of n, or its "
           "'reciprocal', then 'times' or 'over' numbers, or times a 'value' or 'reciprocal' "
           "again; each time computed in double, then in its type.")
      .def(
          "changes",
          [](PythonBuilder& b, const PythonSlot& slot) {
            b.declare(slot.slot, program::Access::update);
          },
          "constant"_a,
          "Declares that runs write this constant: they hold its version meanwhile, and advance it "
          "unless they fail.")
      .def(
          "hold",
          [](PythonBuilder& b, const PythonSlot& slot) {
            b.declare(slot.slot, program::Access::hold);
          },
          "constant"_a,
          "Declares that the steps that write constants read this one: runs hold its version.")
      .def(
          "random_source",
          [](PythonBuilder& b, const PythonSlot& slot) { b.random_source(slot.slot); },
          "constant"_a,
          "Makes an int64 constant (key, calls) the generator of this program's draws; each run "
          "that succeeds counts one call.")
      .def("fold", &fold, "steps"_a, "sources"_a, "kind"_a,
           "The slot of a value that the steps of another builder, without inputs and with one "
           "output, make of constants alone: computed ahead of the runs, once per version of the "
           "sources, the constants with versions that the steps read, in their order. Programs "
           "whose `kind`, all that the steps do, and sources are the same share it.")
      .def(
          "build", [](PythonBuilder& b) { return b.build(read_formulas(b.formulas)); },
          "Ends the building and returns the Program.");
  return builder;
}

}  // namespace lamella::bindings

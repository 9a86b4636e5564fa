// SPDX-License-Identifier: Apache-2.0
// Slot and ProgramBuilder for Python, without the steps (steps/ adds those).
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "base/checked.h"
#include "bindings/arrays.h"
#include "bindings/register.h"
#include "dispatch/select.h"
#include "program/program.h"

namespace py = pybind11;
using namespace py::literals;

namespace lamella::bindings {
namespace {

using program::ArraySpec;
using program::ConstantArray;
using program::ProgramBuilder;
using steps::Slot;

using SpecTuple = std::pair<std::string, std::vector<std::size_t>>;

std::vector<ArraySpec> specs_of(const std::vector<SpecTuple>& tuples) {
  std::vector<ArraySpec> specs;
  for (const auto& [name, shape] : tuples) {
    specs.push_back(program::make_array_spec(dtype_named(name), shape));
  }
  return specs;
}

std::unique_ptr<ProgramBuilder> make_builder(const std::vector<SpecTuple>& inputs,
                                             const std::vector<SpecTuple>& outputs,
                                             std::size_t arena_bytes,
                                             const std::optional<std::string>& isa) {
  const kernels::KernelTable& table = isa ? dispatch::table_of(*isa) : dispatch::selected();
  return std::make_unique<ProgramBuilder>(specs_of(inputs), specs_of(outputs), arena_bytes, table);
}

// Keeps Python objects alive from C++; may be dropped without the GIL.
std::shared_ptr<const void> keep_alive(std::vector<py::object> objects) {
  return {new std::vector<py::object>(std::move(objects)), [](std::vector<py::object>* kept) {
            if (Py_IsInitialized() == 0) return;  // at exit the memory goes with the process
            const py::gil_scoped_acquire gil;
            delete kept;
          }};
}

Slot constant(ProgramBuilder& builder, const py::array& array,
              const std::optional<py::array>& version) {
  const auto dtype = dtype_of(array.ptr());
  if (!dtype || (fields(array.ptr())->flags & kReadable) != kReadable) {
    throw std::invalid_argument("constant: got " + describe(array.ptr()) +
                                "; expected a C-contiguous, aligned float32, float64, int64 or "
                                "bool array");
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
  }
  result.owner = keep_alive(std::move(kept));
  return builder.constant(std::move(result));
}

Slot shifted(Slot slot, std::size_t bytes) {
  return {slot.buffer, base::checked_add(slot.offset, bytes)};
}

}  // namespace

BuilderClass register_builder(py::module_& module) {
  py::class_<Slot>(module, "Slot", "Where an array lives: a buffer and a byte offset in it.")
      .def_readonly("buffer", &Slot::buffer, "0 is the arena; inputs, outputs, constants follow.")
      .def_readonly("offset", &Slot::offset, "Bytes from the buffer's start.")
      .def("shifted", &shifted, "bytes"_a, "The slot that many bytes further on.")
      .def("__eq__",
           [](Slot a, const py::object& b) {
             if (!py::isinstance<Slot>(b)) return false;
             const Slot other = b.cast<Slot>();
             return a.buffer == other.buffer && a.offset == other.offset;
           })
      .def("__hash__", [](Slot a) { return py::hash(py::make_tuple(a.buffer, a.offset)); })
      .def("__repr__", [](Slot a) {
        return "Slot(buffer=" + std::to_string(a.buffer) + ", offset=" + std::to_string(a.offset) +
               ")";
      });

  BuilderClass builder(module, "ProgramBuilder",
                       "Collects steps and the arrays they work on, and builds a Program.");
  builder
      .def(py::init(&make_builder), py::kw_only(), "inputs"_a, "outputs"_a, "arena_bytes"_a,
           "isa"_a = py::none(), "Inputs and outputs are (dtype name, shape) pairs.")
      .def_property_readonly("step_count", &ProgramBuilder::step_count, "Steps added so far.")
      .def("arena", &ProgramBuilder::arena, "offset"_a, "A slot of the arena.")
      .def("input", &ProgramBuilder::input, "index"_a, "The slot of an input.")
      .def("output", &ProgramBuilder::output, "index"_a, "The slot of an output.")
      .def("constant", &constant, "array"_a, "version"_a = py::none(),
           "The slot of an array that every run reads where it is; it is kept alive. `version` is "
           "an int64 array of shape (1,), changed whenever the array's contents change.")
      .def(
          "changes", [](ProgramBuilder& b, Slot slot) { b.declare(slot, program::Access::update); },
          "constant"_a,
          "Declares that runs write this constant: they hold its version meanwhile, and advance it "
          "unless they fail.")
      .def(
          "hold", [](ProgramBuilder& b, Slot slot) { b.declare(slot, program::Access::hold); },
          "constant"_a,
          "Declares that the steps that write constants read this one: runs hold its version.")
      .def("random_source", &ProgramBuilder::random_source, "constant"_a,
           "Makes an int64 constant (key, calls) the generator of this program's draws; each run "
           "that succeeds counts one call.")
      .def("guard", &ProgramBuilder::guard, "slot"_a, "nbytes"_a,
           "Puts guard zones around a range of the arena.")
      .def("build", &ProgramBuilder::build, "Ends the building and returns the Program.");
  return builder;
}

}  // namespace lamella::bindings

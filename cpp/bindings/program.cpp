// SPDX-License-Identifier: Apache-2.0
// Program for Python, the random state, and the parameter epoch.
#include "program/program.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/execute.h"
#include "bindings/register.h"
#include "program/epochs.h"
#include "program/random_state.h"
#include "program/storage.h"

namespace py = pybind11;
using namespace py::literals;

namespace lamella::bindings {
namespace {

using program::ArraySpec;
using program::Program;

void require_arrays(const char* what, const std::vector<py::array>& arrays,
                    const std::vector<ArraySpec>& specs, int flags) {
  if (arrays.size() != specs.size()) {
    throw std::invalid_argument("run: got " + std::to_string(arrays.size()) + " " + what +
                                "s; expected " + std::to_string(specs.size()));
  }
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    if (matches(arrays[i].ptr(), specs[i], flags)) continue;
    throw std::invalid_argument("run: " + std::string(what) + " " + std::to_string(i) + " is " +
                                describe(arrays[i].ptr()) + "; expected " + describe(specs[i]));
  }
}

// Outputs are written while inputs and constants are read.
void require_disjoint(const Program& program, const std::vector<py::array>& inputs,
                      const std::vector<py::array>& outputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const void* data = fields(outputs[i].ptr())->data;
    const std::size_t bytes = program.outputs()[i].bytes;
    bool shared = false;
    for (std::size_t j = 0; j < inputs.size(); ++j) {
      shared |= overlap(data, bytes, fields(inputs[j].ptr())->data, program.inputs()[j].bytes);
    }
    for (std::size_t j = 0; j < i; ++j) {
      shared |= overlap(data, bytes, fields(outputs[j].ptr())->data, program.outputs()[j].bytes);
    }
    for (const auto& constant : program.constants()) {
      shared |= overlap(data, bytes, constant.data, constant.bytes);
    }
    if (shared) {
      throw std::invalid_argument("run: output " + std::to_string(i) +
                                  " shares memory with an input, a constant or another output");
    }
  }
}

py::tuple run(const Program& program, const std::vector<py::array>& inputs,
              const std::optional<std::vector<py::array>>& given) {
  require_arrays("input", inputs, program.inputs(), kReadable);
  std::vector<py::array> outputs;
  if (given) {
    require_arrays("output", *given, program.outputs(), kWritable);
    require_disjoint(program, inputs, *given);
    outputs = *given;
  } else {
    for (const ArraySpec& spec : program.outputs()) {
      PyObject* array = new_array(ArrayKey(spec));
      if (array == nullptr) throw py::error_already_set();
      outputs.push_back(py::reinterpret_steal<py::array>(array));
    }
  }
  {
    program::Run current(program);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      current.set_input(i, fields(inputs[i].ptr())->data);
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      current.set_output(i, fields(outputs[i].ptr())->data);
    }
    if (program.is_long() || !current.attempt()) execute_unlocked(current);
  }
  return py::tuple(py::cast(outputs));
}

std::vector<double> profile(const Program& program, const std::vector<py::array>& inputs,
                            int rounds) {
  require_arrays("input", inputs, program.inputs(), kReadable);
  if (rounds < 1) {
    throw std::invalid_argument("profile: got rounds = " + std::to_string(rounds) +
                                "; expected rounds >= 1");
  }
  std::vector<py::object> outputs;
  for (const ArraySpec& spec : program.outputs()) {
    PyObject* array = new_array(ArrayKey(spec));
    if (array == nullptr) throw py::error_already_set();
    outputs.push_back(py::reinterpret_steal<py::object>(array));
  }
  program::StepTimes steps(program);
  for (int round = 0; round < rounds; ++round) {
    program::TimedRun current(program, steps.times());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      current.set_input(i, fields(inputs[i].ptr())->data);
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      current.set_output(i, fields(outputs[i].ptr())->data);
    }
    execute_unlocked(current);
    steps.keep_least();
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
  return steps.least();
}

void assign(const py::array& target, const py::array& version, const py::array& value) {
  const auto dtype = stored_dtype_of(target.ptr());
  static const ArrayKey cell_key(program::make_array_spec(steps::DType::i64, {1}));
  const auto& to = *fields(target.ptr());
  const auto& from = *fields(value.ptr());
  if (!dtype || stored_dtype_of(value.ptr()) != dtype || to.nd != from.nd ||
      !std::equal(to.dimensions, to.dimensions + to.nd, from.dimensions) ||
      (to.flags & from.flags & kReadable) != kReadable ||
      !matches(version.ptr(), cell_key, kWritable)) {
    throw std::invalid_argument("assign: got " + describe(target.ptr()) + " and " +
                                describe(value.ptr()) + "; expected two contiguous arrays of the " +
                                "same type and shape, and a writeable int64 (1,)");
  }
  const program::Cell cell{reinterpret_cast<std::int64_t*>(fields(version.ptr())->data)};
  const std::span<const program::Cell> cells(&cell, 1);
  // The references of this call keep all three alive.
  const std::shared_ptr<program::Storage> storage = storage_of(target.ptr());
  const auto copy = [&] {
    // The old elements come back first: who reads them meanwhile sees old and new ones, but no others.
    if (storage != nullptr) storage->unfreeze();
    std::memmove(to.data, from.data, byte_count(target.ptr(), *dtype));
    program::give_back(cells, true);
  };
  const bool at_once = storage == nullptr || storage->is_here();
  if (at_once && program::try_hold(cells)) {
    copy();
  } else {
    without_gil([&] {
      program::hold(cells);
      copy();
    });
  }
}

py::list spec_list(const std::vector<ArraySpec>& specs) {
  py::list list;
  for (const ArraySpec& spec : specs) {
    list.append(py::make_tuple(steps::dtype_name(spec.dtype), py::tuple(py::cast(spec.shape))));
  }
  return list;
}

std::vector<std::string> step_names(const Program& program) {
  std::vector<std::string> names;
  for (const auto& step : program.steps()) names.emplace_back(step->name());
  return names;
}

std::vector<std::string> step_ways(const Program& program) {
  std::vector<std::string> ways;
  for (const auto& step : program.steps()) ways.push_back(step->way());
  return ways;
}

}  // namespace

void register_program(py::module_& module) {
  py::class_<Program, std::shared_ptr<Program>>(
      module, "Program", "Ordered steps over numbered buffers; immutable, callable by any thread.")
      .def("run", &run, "inputs"_a, "outputs"_a = py::none(),
           "Runs once. Arrays must have exactly the program's types and shapes and be C-contiguous "
           "and aligned; outputs are made unless given.")
      .def("profile", &profile, "inputs"_a, "rounds"_a,
           "The least time of each step in so many runs, in nanoseconds; runs as `run` does, and "
           "so changes the constants that the program updates.")
      .def_property_readonly("steps", &step_names, "The kinds of its steps, in order.")
      .def_property_readonly("ways", &step_ways,
                             "How each of them computes, where it has a choice; empty elsewhere.")
      .def_property_readonly(
          "inputs", [](const Program& p) { return spec_list(p.inputs()); },
          "(dtype name, shape) of each input.")
      .def_property_readonly(
          "outputs", [](const Program& p) { return spec_list(p.outputs()); },
          "(dtype name, shape) of each output.")
      .def_property_readonly("arena_bytes", &Program::arena_bytes, "Scratch memory of one run.")
      .def_property_readonly(
          "ranges",
          [](const Program& p) {
            std::vector<std::pair<std::size_t, std::size_t>> ranges;
            const program::Placement placement = p.placement();
            const auto recorded = p.recorded();
            for (std::size_t i = 0; i < placement.ranges.size(); ++i) {
              ranges.emplace_back(placement.ranges[i], recorded->ranges[i].bytes);
            }
            return ranges;
          },
          "(offset, bytes) of each range of the arena.")
      .def_property_readonly("nbytes", &Program::nbytes,
                             "Its own memory, without packed weights and arenas.")
      .def_property_readonly("cost_ns", &Program::cost_ns,
                             "Estimated time of a run on one thread, in nanoseconds.")
      .def_property_readonly("team", &Program::team,
                             "The most threads that a run uses which closely follows another.")
      .def_property_readonly("isa", &Program::isa, "The instruction set it was built for.");

  module.def("assign", &assign, "target"_a, "version"_a, "value"_a,
             "Copies `value` into `target`, an array of the same type and shape that may be "
             "read-only, and advances its version; waits for a program that is changing it.");
  module.def(
      "prepared_arrays",
      [] {
        const program::PreparedTotals totals = program::prepared_totals();
        return std::pair(totals.count, totals.bytes);
      },
      "How many packed weights and folded values programs keep, and their bytes.");
  module.def("touch_parameters", &program::touch_parameters,
             "To be called after version cells changed: programs look at theirs again.");
  module.def("seed", &program::seed, "key"_a, "Starts the random generator again.");
  module.def(
      "random_state",
      [] {
        const auto [key, calls] = program::random_state();
        return py::make_tuple(key, calls);
      },
      "The generator's (key, number of runs that drew from it).");
  module.def(
      "set_random_state",
      [](std::uint64_t key, std::uint64_t calls) { program::set_random_state({key, calls}); },
      "key"_a, "calls"_a, "Continues from what random_state() returned.");
}

}  // namespace lamella::bindings

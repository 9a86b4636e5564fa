// SPDX-License-Identifier: Apache-2.0
// The optimisers' steps of a ProgramBuilder for Python.
//
// Every array is checked against its buffer: range, alignment to its items, and that results lie
// apart from each other and either apart from an operand or exactly on it.
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <pybind11/stl.h>

#include "base/checked.h"
#include "bindings/arrays.h"
#include "bindings/register.h"
#include "steps/optimizer.h"

namespace py = pybind11;
using namespace py::literals;

namespace lamella::bindings {
namespace {

using program::ProgramBuilder;
using steps::Slot;

bool apart(Slot x, std::size_t x_bytes, Slot y, std::size_t y_bytes) {
  return x.buffer != y.buffer || x_bytes == 0 || y_bytes == 0 || x.offset >= y.offset + y_bytes ||
         y.offset >= x.offset + x_bytes;
}

bool same(Slot x, Slot y) { return x.buffer == y.buffer && x.offset == y.offset; }

void check_item(Slot slot, std::size_t item) {
  if (slot.offset % item == 0) return;
  throw std::invalid_argument("slot: offset " + std::to_string(slot.offset) +
                              " is not a multiple of the item size " + std::to_string(item));
}

void check_apart(Slot x, std::size_t x_bytes, Slot y, std::size_t y_bytes) {
  if (apart(x, x_bytes, y, y_bytes)) return;
  throw std::invalid_argument("slot: the output overlaps an operand; got offsets " +
                              std::to_string(x.offset) + " and " + std::to_string(y.offset) +
                              " of buffer " + std::to_string(y.buffer));
}

void add_update_scalars(ProgramBuilder& builder, const std::string& rule, Slot step,
                        std::size_t count, Slot hyper, Slot next, Slot scalars) {
  constexpr std::size_t kItem = sizeof(double), kBytes = steps::kUpdateScalars * kItem;
  const std::size_t bytes = base::checked_mul(count, kItem);
  for (const Slot slot : {step, hyper, next, scalars}) check_item(slot, kItem);
  builder.check_read(step, kItem);
  builder.check_read(hyper, bytes);
  builder.check_write(next, kItem);
  builder.check_write(scalars, kBytes);
  if (!same(step, next)) check_apart(step, kItem, next, kItem);
  check_apart(hyper, bytes, next, kItem);
  check_apart(step, kItem, scalars, kBytes);
  check_apart(hyper, bytes, scalars, kBytes);
  check_apart(next, kItem, scalars, kBytes);
  builder.add(steps::make_update_scalars({rule, step, count, hyper, next, scalars}));
}

void add_update(ProgramBuilder& builder, const std::string& rule, const std::string& dtype,
                std::size_t count, const std::vector<Slot>& x, Slot scalars,
                const std::vector<Slot>& y) {
  const steps::UpdateSpec spec{rule, dtype_named(dtype), count, x, scalars, y};
  const std::size_t item = steps::item_bytes(spec.dtype), bytes = base::checked_mul(count, item);
  constexpr std::size_t kScalars = steps::kUpdateScalars * sizeof(double);
  check_item(scalars, sizeof(double));
  builder.check_read(scalars, kScalars);
  for (const Slot operand : x) {
    check_item(operand, item);
    builder.check_read(operand, bytes);
  }
  for (std::size_t i = 0; i < y.size(); ++i) {
    check_item(y[i], item);
    builder.check_write(y[i], bytes);
    check_apart(scalars, kScalars, y[i], bytes);
    for (std::size_t j = 0; j < i; ++j) check_apart(y[j], bytes, y[i], bytes);
    for (const Slot operand : x) {
      if (!same(operand, y[i])) check_apart(operand, bytes, y[i], bytes);
    }
  }
  builder.add(steps::make_update(builder.table(), spec));
}

}  // namespace

void register_optimizer_steps(BuilderClass& builder) {
  builder
      .def("update_scalars", &add_update_scalars, py::kw_only(), "rule"_a, "step"_a, "count"_a,
           "hyper"_a, "next"_a, "scalars"_a,
           "Adds the numbers of an optimiser's step, float64: next = step + 1 and the rule's "
           "scalars, from `count` hyper-parameters.")
      .def("update", &add_update, py::kw_only(), "rule"_a, "dtype"_a, "count"_a, "x"_a, "scalars"_a,
           "y"_a,
           "Adds an optimiser's update of one parameter: from the parameter, its gradient and "
           "state to the new parameter and state. Each result may be exactly any operand.");
  builder.attr("update_scalars_count") = steps::kUpdateScalars;
}

}  // namespace lamella::bindings

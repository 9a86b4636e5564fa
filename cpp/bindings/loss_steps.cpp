// SPDX-License-Identifier: Apache-2.0
// The steps of losses for Python: types converted, arrays checked as in step_arrays.h.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "base/checked.h"
#include "bindings/arrays.h"
#include "bindings/register.h"
#include "bindings/step_arrays.h"
#include "steps/loss.h"

namespace py = pybind11;
using namespace py::literals;

namespace lamella::bindings {
namespace {

using steps::Slot;

void add_class_loss(program::ProgramBuilder& builder, const std::string& dtype, std::size_t rows,
                    std::size_t cols, bool log_probabilities, std::int64_t ignored,
                    double smoothing, Slot x, Slot target, std::optional<Slot> weight,
                    std::optional<Slot> losses, std::optional<Slot> slopes,
                    std::optional<Slot> weights) {
  const steps::ClassLossSpec spec{dtype_named(dtype),
                                  rows,
                                  cols,
                                  log_probabilities,
                                  ignored,
                                  smoothing,
                                  x,
                                  target,
                                  weight,
                                  losses,
                                  slopes,
                                  weights};
  auto step = steps::make_class_loss(builder.table(), spec);
  const std::size_t item = steps::item_bytes(spec.dtype), count = base::checked_mul(rows, cols);
  std::vector<Array> others = {contiguous(x, count, item),
                               contiguous(target, rows, sizeof(std::int64_t))};
  if (weight) others.push_back(contiguous(*weight, cols, item));
  // Each output is checked against the inputs and the outputs before it.
  const auto written = [&](Slot slot, std::size_t size) {
    const Array y = contiguous(slot, size, item);
    check_write(builder, y, others);
    others.push_back(y);
  };
  if (losses) written(*losses, rows);
  if (slopes) written(*slopes, count);
  if (weights) written(*weights, rows);
  builder.add(std::move(step));
}

}  // namespace

void register_loss_steps(BuilderClass& builder) {
  builder.def(
      "class_loss", &add_class_loss, py::kw_only(), "dtype"_a, "rows"_a, "cols"_a,
      "log_probabilities"_a, "ignored"_a, "smoothing"_a, "x"_a, "target"_a, "weight"_a = py::none(),
      "losses"_a = py::none(), "slopes"_a = py::none(), "weights"_a = py::none(),
      "Adds, where there are slots, the cross-entropy of each row and the class that target names, "
      "its slopes and the class's weight; a run with a target outside [0, cols) "
      "that is not the ignored one raises IndexError.");
}

}  // namespace lamella::bindings

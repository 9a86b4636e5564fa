// SPDX-License-Identifier: Apache-2.0
// The steps of a ProgramBuilder for Python: one keyword-only method per kind of step.
//
// Here types are converted, and every array a step will touch is checked (step_arrays.h). The step's
// constructor checks the rest.
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "base/checked.h"
#include "bindings/arrays.h"
#include "bindings/register.h"
#include "bindings/step_arrays.h"
#include "dispatch/select.h"
#include "steps/elementwise.h"
#include "steps/gather.h"
#include "steps/matmul.h"
#include "steps/move.h"
#include "steps/random.h"
#include "steps/reduce.h"
#include "steps/rows.h"

namespace py = pybind11;
using namespace py::literals;

namespace lamella::bindings {
namespace {

using base::checked_mul;
using program::ProgramBuilder;
using steps::DType;
using steps::item_bytes;
using steps::Shape;
using steps::Slot;
using steps::Strides;

// ---- elementwise

using OperandTuple = std::tuple<Slot, Strides, std::string>;
using CodeTuple =
    std::tuple<std::string, std::string, std::vector<std::size_t>, std::vector<double>>;

void add_elementwise(ProgramBuilder& builder, const Shape& shape,
                     const std::vector<OperandTuple>& inputs, const std::vector<CodeTuple>& code,
                     Slot output) {
  std::vector<steps::Operand> operands;
  std::vector<Array> read;
  for (const auto& [slot, strides, name] : inputs) {
    const DType dtype = dtype_named(name);
    operands.push_back({slot, strides, dtype});
    read.push_back(strided(slot, shape, strides, item_bytes(dtype)));
  }
  std::vector<steps::Instruction> instructions;
  for (const auto& [op, name, args, params] : code) {
    instructions.push_back({op, dtype_named(name), args, params});
  }
  if (instructions.empty()) throw std::invalid_argument("elementwise: code is empty");
  const std::size_t item = item_bytes(instructions.back().dtype);
  check_write(builder, contiguous(output, steps::element_count(shape), item), read, Sharing::exact);
  builder.add(
      std::make_unique<steps::Elementwise>(builder.table(), shape, operands, instructions, output));
}

// ---- matmul

Shape with_matrix(Shape batch, std::size_t rows, std::size_t cols) {
  batch.push_back(rows);
  batch.push_back(cols);
  return batch;
}

// The packed form of a constant b: filled by the step from make_pack_b, which sees the source as
// buffer 0 and its target as buffer 1.
Slot add_packed(ProgramBuilder& builder, const steps::MatMulSpec& spec, std::size_t bytes) {
  steps::MatMulSpec alone = spec;
  alone.b = Slot{0, 0};
  alone.packed = Slot{1, 0};
  return builder.add_prepared(steps::packed_kind(builder.table(), spec), bytes, {spec.b},
                              steps::make_pack_b(builder.table(), alone, Slot{1, 0}));
}

using ActivationTuple = std::pair<std::string, std::vector<double>>;

void add_matmul(ProgramBuilder& builder, const std::string& dtype, const Shape& batch,
                std::size_t m, std::size_t n, std::size_t k, Slot a, const Strides& a_batch,
                std::pair<std::ptrdiff_t, std::ptrdiff_t> a_strides, Slot b, const Strides& b_batch,
                std::pair<std::ptrdiff_t, std::ptrdiff_t> b_strides, bool b_constant,
                std::optional<Slot> bias, std::optional<Slot> residual,
                const std::optional<ActivationTuple>& activation, Slot y,
                std::optional<Slot> scratch) {
  steps::MatMulSpec spec;
  spec.dtype = dtype_named(dtype);
  spec.batch = batch;
  spec.m = m;
  spec.n = n;
  spec.k = k;
  spec.a = a;
  spec.a_batch = a_batch;
  std::tie(spec.a_row, spec.a_k) = a_strides;
  spec.b = b;
  spec.b_batch = b_batch;
  std::tie(spec.b_k, spec.b_col) = b_strides;
  spec.b_constant = b_constant;
  spec.bias = bias;
  spec.residual = residual;
  if (activation) std::tie(spec.activation, spec.activation_params) = *activation;
  spec.y = y;
  spec.scratch = scratch;

  const std::size_t item = item_bytes(spec.dtype);
  const auto all_strides = [](Strides strides, std::ptrdiff_t row, std::ptrdiff_t col) {
    strides.push_back(row);
    strides.push_back(col);
    return strides;
  };
  const std::size_t results = steps::element_count(with_matrix(batch, m, n));
  const Array second =
      strided(b, with_matrix(batch, k, n), all_strides(b_batch, spec.b_k, spec.b_col), item);
  std::vector<Array> read = {
      strided(a, with_matrix(batch, m, k), all_strides(a_batch, spec.a_row, spec.a_k), item)};
  const std::size_t packed = steps::packed_bytes(spec);
  if (packed > 0) {
    // What is copied ahead is not read by the step itself.
    check_aligned(second);
    builder.check(second.slot, second.bytes);
  } else {
    read.push_back(second);
  }
  if (bias) read.push_back(contiguous(*bias, n, item));
  if (residual) read.push_back(contiguous(*residual, results, item));
  const Array written = contiguous(y, results, item);
  check_write(builder, written, read);
  if (scratch) {
    read.push_back(written);
    check_write(builder, {*scratch, steps::matmul_scratch_bytes(spec), 64, true}, read);
  }
  if (packed > 0) spec.packed = add_packed(builder, spec, packed);
  builder.add(steps::make_matmul(builder.table(), spec));
}

std::size_t matmul_scratch(const std::string& dtype, const Shape& batch, std::size_t m,
                           std::size_t n, std::size_t k,
                           std::pair<std::ptrdiff_t, std::ptrdiff_t> b_strides, bool b_constant) {
  steps::MatMulSpec spec;
  spec.dtype = dtype_named(dtype);
  spec.batch = batch;
  spec.m = m;
  spec.n = n;
  spec.k = k;
  std::tie(spec.b_k, spec.b_col) = b_strides;
  spec.b_constant = b_constant;
  return steps::matmul_scratch_bytes(spec);
}

// ---- reductions and rows

void add_reduce(ProgramBuilder& builder, const std::string& kind, const std::string& dtype,
                std::size_t outer, std::size_t size, std::size_t inner, bool columns, Slot x,
                Slot y, double correction) {
  const steps::ReduceSpec spec{kind,    dtype_named(dtype), outer, size, inner, x, y,
                               columns, correction};
  const std::size_t results = checked_mul(outer, inner);
  check_write(builder, contiguous(y, results, item_bytes(steps::reduce_result(spec))),
              {contiguous(x, checked_mul(results, size), item_bytes(spec.dtype))});
  builder.add(steps::make_reduce(builder.table(), spec));
}

// The checked common part of softmax and the norms; `read` gets what else the step reads.
steps::RowsSpec rows_spec(ProgramBuilder& builder, const std::string& dtype, std::size_t rows,
                          std::size_t cols, Slot x, Slot y,
                          const std::vector<std::optional<Slot>>& vectors) {
  const steps::RowsSpec spec{dtype_named(dtype), rows, cols, x, y};
  const std::size_t item = item_bytes(spec.dtype), count = checked_mul(rows, cols);
  const Array written = contiguous(y, count, item);
  check_write(builder, written, {contiguous(x, count, item)}, Sharing::exact);
  for (const auto& vector : vectors) {
    if (vector) check_write(builder, written, {contiguous(*vector, cols, item)});
  }
  return spec;
}

void add_softmax(ProgramBuilder& builder, const std::string& dtype, std::size_t rows,
                 std::size_t cols, bool log, Slot x, Slot y) {
  const auto spec = rows_spec(builder, dtype, rows, cols, x, y, {});
  builder.add(steps::make_softmax(builder.table(), spec, log));
}

void add_layer_norm(ProgramBuilder& builder, const std::string& dtype, std::size_t rows,
                    std::size_t cols, Slot x, std::optional<Slot> weight, std::optional<Slot> bias,
                    double epsilon, Slot y) {
  const auto spec = rows_spec(builder, dtype, rows, cols, x, y, {weight, bias});
  builder.add(steps::make_layer_norm(builder.table(), spec, weight, bias, epsilon));
}

void add_rms_norm(ProgramBuilder& builder, const std::string& dtype, std::size_t rows,
                  std::size_t cols, Slot x, std::optional<Slot> weight, double epsilon, Slot y) {
  const auto spec = rows_spec(builder, dtype, rows, cols, x, y, {weight});
  builder.add(steps::make_rms_norm(builder.table(), spec, weight, epsilon));
}

// ---- moving, gathering, chance

void add_copy(ProgramBuilder& builder, std::size_t item, const Shape& shape, Slot x,
              const Strides& x_strides, Slot y, const Strides& y_strides) {
  auto step = steps::make_copy({item, shape, x, x_strides, y, y_strides});
  check_write(builder, strided(y, shape, y_strides, item), {strided(x, shape, x_strides, item)});
  builder.add(std::move(step));
}

void add_fill(ProgramBuilder& builder, const std::string& dtype, std::size_t count, double value,
              Slot y) {
  const steps::FillSpec spec{dtype_named(dtype), count, value, y};
  check_write(builder, contiguous(y, count, item_bytes(spec.dtype)), {});
  builder.add(steps::make_fill(spec));
}

void add_gather(ProgramBuilder& builder, std::size_t row_bytes, std::size_t rows, Slot table,
                std::size_t count, Slot indices, Slot y, bool from_end) {
  check_write(builder, contiguous(y, checked_mul(count, row_bytes), 1),
              {contiguous(table, checked_mul(rows, row_bytes), 1),
               contiguous(indices, count, sizeof(std::int64_t))});
  builder.add(steps::make_gather({row_bytes, rows, count, table, indices, y, from_end}));
}

void add_scatter_add(ProgramBuilder& builder, const std::string& dtype, std::size_t rows,
                     std::size_t cols, std::size_t count, Slot indices, Slot x, Slot y,
                     std::int64_t skipped, bool from_end) {
  const steps::ScatterAddSpec spec{
      dtype_named(dtype), rows, cols, count, indices, x, y, skipped, from_end};
  const std::size_t item = item_bytes(spec.dtype);
  check_write(builder, contiguous(y, checked_mul(rows, cols), item),
              {contiguous(x, checked_mul(count, cols), item),
               contiguous(indices, count, sizeof(std::int64_t))});
  builder.add(steps::make_scatter_add(builder.table(), spec));
}

void add_dropout(ProgramBuilder& builder, const std::string& dtype, std::size_t count, double p,
                 std::uint64_t stream, Slot x, Slot y) {
  const steps::DropoutSpec spec{dtype_named(dtype), count, p, stream, x, y};
  const std::size_t item = item_bytes(spec.dtype);
  check_write(builder, contiguous(y, count, item), {contiguous(x, count, item)}, Sharing::exact);
  builder.add(steps::make_dropout(builder.table(), spec));
}

// ---- names

template <class Fn>
void append_names(std::vector<std::string>& names, const kernels::Family<Fn>& family) {
  for (std::size_t i = 0; i < family.count; ++i) names.emplace_back(family.entries[i].name);
}

std::vector<std::pair<std::string, std::size_t>> unary_names() {
  std::vector<std::pair<std::string, std::size_t>> names;
  const auto& family = dispatch::selected().f32.elementwise->unary;
  for (std::size_t i = 0; i < family.count; ++i) {
    names.emplace_back(family.entries[i].name, family.entries[i].params);
  }
  return names;
}

std::vector<std::string> binary_names() {
  std::vector<std::string> names;
  append_names(names, dispatch::selected().f32.elementwise->binary);
  return names;
}

std::vector<std::string> compare_names() {
  std::vector<std::string> names;
  append_names(names, dispatch::selected().f32.elementwise->compare);
  return names;
}

std::vector<std::string> logical_names() {
  std::vector<std::string> names;
  append_names(names, dispatch::selected().truth->logical);
  return names;
}

std::vector<std::string> reduce_names() {
  std::vector<std::string> names;
  append_names(names, dispatch::selected().f32.rows->reduce_rows);
  append_names(names, dispatch::selected().f32.rows->arg_reduce);
  names.emplace_back("var");
  names.emplace_back("std");
  return names;
}

}  // namespace

void register_steps(py::module_& module, BuilderClass& builder) {
  builder
      .def("elementwise", &add_elementwise, py::kw_only(), "shape"_a, "inputs"_a, "code"_a,
           "output"_a,
           "Adds a fused chain. Registers are the inputs (slot, strides in elements, dtype), then "
           "one per instruction (op, result dtype, argument registers, parameters); the last one "
           "is stored contiguously.")
      .def("matmul", &add_matmul, py::kw_only(), "dtype"_a, "batch"_a, "m"_a, "n"_a, "k"_a, "a"_a,
           "a_batch"_a, "a_strides"_a, "b"_a, "b_batch"_a, "b_strides"_a, "b_constant"_a,
           "bias"_a = py::none(), "residual"_a = py::none(), "activation"_a = py::none(), "y"_a,
           "scratch"_a = py::none(),
           "Adds y = activation(a @ b + bias + residual). Strides count elements: a's are (row, "
           "k), b's (k, column). A constant b is packed ahead.")
      .def_static("matmul_scratch", &matmul_scratch, py::kw_only(), "dtype"_a, "batch"_a, "m"_a,
                  "n"_a, "k"_a, "b_strides"_a, "b_constant"_a,
                  "Bytes of arena that such a product wants as scratch.")
      .def("reduce", &add_reduce, py::kw_only(), "kind"_a, "dtype"_a, "outer"_a, "size"_a,
           "inner"_a, "columns"_a = false, "x"_a, "y"_a, "correction"_a = 1.0,
           "Adds a reduction of contiguous (outer, size, inner) to (outer, inner). columns: by the "
           "order of columns even if inner is 1.")
      .def("softmax", &add_softmax, py::kw_only(), "dtype"_a, "rows"_a, "cols"_a, "log"_a, "x"_a,
           "y"_a, "Adds the softmax of each row, or its logarithm.")
      .def("layer_norm", &add_layer_norm, py::kw_only(), "dtype"_a, "rows"_a, "cols"_a, "x"_a,
           "weight"_a = py::none(), "bias"_a = py::none(), "epsilon"_a, "y"_a,
           "Adds (x - mean) / sqrt(var + epsilon) * weight + bias for each row.")
      .def("rms_norm", &add_rms_norm, py::kw_only(), "dtype"_a, "rows"_a, "cols"_a, "x"_a,
           "weight"_a = py::none(), "epsilon"_a, "y"_a,
           "Adds x / sqrt(mean(x^2) + epsilon) * weight for each row.")
      .def("copy", &add_copy, py::kw_only(), "item_bytes"_a, "shape"_a, "x"_a, "x_strides"_a, "y"_a,
           "y_strides"_a, "Adds a strided copy; strides count items.")
      .def("fill", &add_fill, py::kw_only(), "dtype"_a, "count"_a, "value"_a, "y"_a,
           "Adds the filling of an array with one value.")
      .def("gather", &add_gather, py::kw_only(), "row_bytes"_a, "rows"_a, "table"_a, "count"_a,
           "indices"_a, "y"_a, "from_end"_a = false,
           "Adds y[i] = table[indices[i]], negative indices counting from the end where asked; a "
           "run with an index outside [0, rows), or [-rows, rows), raises IndexError.")
      .def("scatter_add", &add_scatter_add, py::kw_only(), "dtype"_a, "rows"_a, "cols"_a, "count"_a,
           "indices"_a, "x"_a, "y"_a, "skipped"_a = -1, "from_end"_a = false,
           "Adds y = 0, then y[indices[i]] += x[i] in increasing i but for the index `skipped`; "
           "negative indices count from the end where asked, and a run with one outside [0, rows), "
           "or [-rows, rows), raises IndexError.")
      .def("dropout", &add_dropout, py::kw_only(), "dtype"_a, "count"_a, "p"_a, "stream"_a, "x"_a,
           "y"_a, "Adds y = x * keep / (1 - p); each run draws a new mask.");
  builder.attr("elementwise_registers") = steps::kElementwiseRegisters;

  module.def("unary_names", &unary_names, "Unary kernels and how many parameters each takes.");
  module.def("binary_names", &binary_names, "Binary kernels.");
  module.def("compare_names", &compare_names, "Comparisons.");
  module.def("logical_names", &logical_names, "Kernels on truth values.");
  module.def("reduce_names", &reduce_names, "Kinds of reduction.");
}

}  // namespace lamella::bindings

// SPDX-License-Identifier: Apache-2.0
// The parts of arrays.h that are not on the hot path.
#include "bindings/arrays.h"

#include <algorithm>
#include <stdexcept>

#include "base/allocation.h"
#include "base/checked.h"

namespace py = pybind11;

namespace lamella::bindings {

NumPy numpy;

namespace {

using steps::DType;

struct DTypeRow {
  DType dtype;
  const char* name;
  int number;       // NumPy's type number
  int also_number;  // another C type of the same meaning ("long" beside "long long")
};

constexpr DTypeRow kDTypes[] = {
    {DType::f32, "float32", NumPyApi::NPY_FLOAT_, NumPyApi::NPY_FLOAT_},
    {DType::f64, "float64", NumPyApi::NPY_DOUBLE_, NumPyApi::NPY_DOUBLE_},
    {DType::i64, "int64", NumPyApi::NPY_INT64_,
     sizeof(long) == 8 ? NumPyApi::NPY_LONGLONG_ : NumPyApi::NPY_INT64_},
    {DType::boolean, "bool", NumPyApi::NPY_BOOL_, NumPyApi::NPY_BOOL_},
};

constexpr char kForeignOrder =
    '>';  // NumPy calls native order '=', and '|' where it has no meaning
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

std::string shape_text(const std::vector<std::size_t>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

}  // namespace

void init_arrays() {
  const NumPyApi& api = NumPyApi::get();
  numpy.array_type = api.PyArray_Type_;
  numpy.new_from_descr = api.PyArray_NewFromDescr_;
  for (const DTypeRow& row : kDTypes) {
    numpy.descriptors[static_cast<std::size_t>(row.dtype)] = api.PyArray_DescrFromType_(row.number);
  }
}

std::optional<DType> dtype_of(PyObject* array) {
  const auto* descr = py::detail::array_descriptor_proxy(fields(array)->descr);
  if (descr->byteorder == kForeignOrder) return std::nullopt;
  for (const DTypeRow& row : kDTypes) {
    if (descr->type_num == row.number || descr->type_num == row.also_number) return row.dtype;
  }
  return std::nullopt;
}

ArrayKey::ArrayKey(const program::ArraySpec& spec)
    : descr(numpy.descriptors[static_cast<std::size_t>(spec.dtype)]),
      dtype(spec.dtype),
      rank(static_cast<int>(spec.shape.size())) {
  static_assert(sizeof(Py_ssize_t) == sizeof(std::size_t));
  if (rank > kInlineRank) {
    more_dims.assign(spec.shape.begin(), spec.shape.end());
  } else {
    std::copy(spec.shape.begin(), spec.shape.end(), dims);
  }
}

ArrayKey ArrayKey::turned_from(const program::ArraySpec& spec) {
  program::ArraySpec seen = spec;
  std::swap(seen.shape[seen.shape.size() - 2], seen.shape[seen.shape.size() - 1]);
  ArrayKey key(seen);
  key.turned = true;
  return key;
}

bool is_turned(PyObject* array, DType dtype) {
  const ArrayFields& a = *fields(array);
  if (a.nd < 2 || (a.flags & NumPyApi::NPY_ARRAY_C_CONTIGUOUS_) != 0) return false;
  const int last = a.nd - 1;
  auto step = static_cast<Py_ssize_t>(steps::item_bytes(dtype));
  const auto follows = [&](int axis) {
    const bool fits = a.dimensions[axis] == 1 || a.strides[axis] == step;
    step *= a.dimensions[axis];
    return fits;
  };
  bool fits = follows(last - 1) && follows(last);
  for (int axis = last - 2; fits && axis >= 0; --axis) fits = follows(axis);
  return fits;
}

DType dtype_named(const std::string& name) {
  for (const DTypeRow& row : kDTypes) {
    if (name == row.name) return row.dtype;
  }
  throw std::invalid_argument("dtype: got '" + name +
                              "'; expected float32, float64, int64 or bool");
}

const char* name_of(DType dtype) {
  for (const DTypeRow& row : kDTypes) {
    if (dtype == row.dtype) return row.name;
  }
  return "";
}

std::size_t byte_count(PyObject* array, DType dtype) {
  const ArrayFields& a = *fields(array);
  std::size_t bytes = steps::item_bytes(dtype);
  for (int i = 0; i < a.nd; ++i) {
    bytes = base::checked_mul(bytes, static_cast<std::size_t>(a.dimensions[i]));
  }
  return bytes;
}

std::string describe(PyObject* array) {
  const ArrayFields& a = *fields(array);
  std::vector<std::size_t> shape;
  for (int i = 0; i < a.nd; ++i) shape.push_back(static_cast<std::size_t>(a.dimensions[i]));
  std::string text = py::str(py::handle(a.descr)).cast<std::string>() + " " + shape_text(shape);
  if ((a.flags & NumPyApi::NPY_ARRAY_C_CONTIGUOUS_) == 0) text += ", not C-contiguous";
  if ((a.flags & NumPyApi::NPY_ARRAY_ALIGNED_) == 0) text += ", misaligned";
  if ((a.flags & NumPyApi::NPY_ARRAY_WRITEABLE_) == 0) text += ", read-only";
  return text;
}

std::string describe(const program::ArraySpec& spec) {
  return name_of(spec.dtype) + (" " + shape_text(spec.shape));
}

PyObject* new_array(const ArrayKey& key) {
  try {
    base::count_allocation();
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_INCREF(key.descr);  // new_from_descr takes it over
  return numpy.new_from_descr(numpy.array_type, key.descr, key.rank, key.dimensions(), nullptr,
                              nullptr, 0, nullptr);
}

}  // namespace lamella::bindings

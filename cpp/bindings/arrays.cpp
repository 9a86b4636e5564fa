// SPDX-License-Identifier: Apache-2.0
// The parts of arrays.h that are not on the hot path.
#include "bindings/arrays.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string_view>
#include <type_traits>

#include "base/allocation.h"
#include "base/checked.h"

namespace py = pybind11;

namespace lamella::bindings {

NumPy numpy;

namespace {

using steps::DType;

// NumPy's number of the type that lies in memory as T does.
template <class T>
constexpr int number_of() {
  constexpr int kHalf = 23;  // NPY_HALF, which pybind11 does not name
  if constexpr (std::is_same_v<T, kernels::Truth>) return NumPyApi::NPY_BOOL_;
  if constexpr (std::is_same_v<T, kernels::Float16>) return kHalf;
  if constexpr (std::is_same_v<T, kernels::Bfloat16>) return NumPyApi::NPY_UINT16_;
  if constexpr (std::is_arithmetic_v<T>) return py::detail::npy_format_descriptor<T>::value;
}

constexpr int kNumbers[] = {
#define LAMELLA_NUMBER(tag, Type, name, kind) number_of<kernels::ElementType<DType::tag>::type>(),
    LAMELLA_ELEMENTS(LAMELLA_NUMBER)
#undef LAMELLA_NUMBER
};

// What dtype_of makes of NumPy's own numbers; types that others register begin at kFirstForeign.
constexpr int kOwnNumbers = 24, kFirstForeign = 256;
constexpr auto kNothing = static_cast<DType>(kernels::kElementCount);
constexpr std::array<DType, kOwnNumbers> kByNumber = [] {
  std::array<DType, kOwnNumbers> table;
  table.fill(kNothing);
  for (std::size_t i = 0; i < kernels::kElementCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (dtype != DType::bf16) table[static_cast<std::size_t>(kNumbers[i])] = dtype;
  }
  // "long" beside "long long".
  if (sizeof(long) == 8) table[NumPyApi::NPY_LONGLONG_] = DType::i64;
  return table;
}();

bool is_bfloat16(PyObject* descr) {
  if (descr == numpy.bfloat16) return true;
  const auto* type =
      reinterpret_cast<PyTypeObject*>(py::detail::array_descriptor_proxy(descr)->typeobj);
  const std::string_view name = type->tp_name;
  if (name.substr(name.rfind('.') + 1) != "bfloat16") return false;
  if (py::reinterpret_borrow<py::dtype>(descr).itemsize() != 2) return false;
  if (numpy.bfloat16 == nullptr) numpy.bfloat16 = Py_NewRef(descr);
  return true;
}

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
  for (std::size_t i = 0; i < kernels::kElementCount; ++i) {
    numpy.descriptors[i] = api.PyArray_DescrFromType_(kNumbers[i]);
  }
}

std::optional<DType> dtype_of(PyObject* array) {
  const auto* descr = py::detail::array_descriptor_proxy(fields(array)->descr);
  if (descr->byteorder == kForeignOrder) return std::nullopt;
  const int number = descr->type_num;
  if (number >= 0 && number < kOwnNumbers) {
    const DType found = kByNumber[static_cast<std::size_t>(number)];
    return found == kNothing ? std::nullopt : std::optional(found);
  }
  if (number >= kFirstForeign && is_bfloat16(fields(array)->descr)) return DType::bf16;
  return std::nullopt;
}

std::optional<DType> stored_dtype_of(PyObject* array) {
  const auto bf16 = static_cast<std::size_t>(DType::bf16);
  return fields(array)->descr == numpy.descriptors[bf16] ? DType::bf16 : dtype_of(array);
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
  for (std::size_t i = 0; i < kernels::kElementCount; ++i) {
    if (name == kernels::kElements[i].name) return static_cast<DType>(i);
  }
  throw std::invalid_argument("dtype: got '" + name + "'; expected " + dtype_names());
}

const std::string& dtype_names() {
  static const std::string names = [] {
    std::string text;
    for (std::size_t i = 0; i < kernels::kElementCount; ++i) {
      text += i == 0 ? "" : i + 1 == kernels::kElementCount ? " or " : ", ";
      text += kernels::kElements[i].name;
    }
    return text;
  }();
  return names;
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
  return steps::dtype_name(spec.dtype) + (" " + shape_text(spec.shape));
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

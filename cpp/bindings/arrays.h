// SPDX-License-Identifier: Apache-2.0
// NumPy arrays as the bindings see them: struct fields read directly, no conversion, no copy.
//
// The layouts come from pybind11's proxies (the stable head of NumPy's structs, the same in 1.26
// and 2.x), so that building needs no NumPy. Everything here expects the GIL to be held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <pybind11/numpy.h>

#include "program/builder.h"

namespace lamella::bindings {

using ArrayFields = pybind11::detail::PyArray_Proxy;
using NumPyApi = pybind11::detail::npy_api;

// What the hot path needs of NumPy's table of functions, copied once at import.
struct NumPy {
  PyTypeObject* array_type = nullptr;
  decltype(NumPyApi::PyArray_NewFromDescr_) new_from_descr = nullptr;
  // By steps::DType; NumPy's own singletons, never freed. NumPy has no bfloat16: uint16 holds its bits.
  PyObject* descriptors[kernels::kElementCount] = {};
  // The type of another library that is called bfloat16, once one has been met.
  PyObject* bfloat16 = nullptr;
};
extern NumPy numpy;

// Fills `numpy`; called once when the module is made.
void init_arrays();

inline constexpr int kReadable = NumPyApi::NPY_ARRAY_C_CONTIGUOUS_ | NumPyApi::NPY_ARRAY_ALIGNED_;
inline constexpr int kWritable = kReadable | NumPyApi::NPY_ARRAY_WRITEABLE_;
inline constexpr int kOwned = kWritable | NumPyApi::NPY_ARRAY_OWNDATA_;

inline ArrayFields* fields(PyObject* array) { return reinterpret_cast<ArrayFields*>(array); }

// ndarray itself: a subclass may mean something else by its memory.
inline bool is_exact_array(PyObject* object) { return Py_TYPE(object) == numpy.array_type; }

// The element type, if the library has it and its bytes are in native order. bfloat16 is told by the
// name of the type, as ml_dtypes has it, never by uint16.
std::optional<steps::DType> dtype_of(PyObject* array);

// The same, or bfloat16 for the uint16 that our own arrays of bfloat16 have.
std::optional<steps::DType> stored_dtype_of(PyObject* array);

// The type of that name; throws std::invalid_argument.
steps::DType dtype_named(const std::string& name);
// "float32, float64, ... or float16"
const std::string& dtype_names();

// Type and shape in the form that is compared on every call: no pointer to follow in common ranks.
// turned: the last two axes of a C-contiguous array exchanged, as `x.T` shows it.
struct ArrayKey {
  static constexpr int kInlineRank = 4;
  PyObject* descr = nullptr;  // NumPy's singleton
  steps::DType dtype = steps::DType::f32;
  bool turned = false;
  int rank = 0;
  Py_ssize_t dims[kInlineRank] = {};
  std::vector<Py_ssize_t> more_dims;  // all of them when there are more

  ArrayKey() = default;
  explicit ArrayKey(const program::ArraySpec& spec);
  // spec: of the array before its axes were exchanged; of two or more dimensions.
  static ArrayKey turned_from(const program::ArraySpec& spec);
  const Py_ssize_t* dimensions() const { return rank > kInlineRank ? more_dims.data() : dims; }
  void set_dimension(std::size_t axis, Py_ssize_t extent) {
    (rank > kInlineRank ? more_dims.data() : dims)[axis] = extent;
  }
};

// Whether the memory is that of a C-contiguous array whose last two axes were exchanged.
bool is_turned(PyObject* array, steps::DType dtype);

// Type, rank and flags as given; a turned key is that of the array before its axes were exchanged.
inline bool matches_but_extents(PyObject* array, const ArrayKey& key, int flags) {
  const ArrayFields& a = *fields(array);
  if (key.turned) {
    if (!is_turned(array, key.dtype)) return false;
    flags &= ~NumPyApi::NPY_ARRAY_C_CONTIGUOUS_;
  }
  return (a.flags & flags) == flags && a.nd == key.rank &&
         (a.descr == key.descr || dtype_of(array) == key.dtype);
}

// An array as a C++ function wants it: type, shape, and flags all as given.
inline bool matches(PyObject* array, const ArrayKey& key, int flags) {
  if (!matches_but_extents(array, key, flags)) return false;
  const Py_ssize_t* dims = key.dimensions();
  for (int i = 0; i < key.rank; ++i) {
    if (fields(array)->dimensions[i] != dims[i]) return false;
  }
  return true;
}

inline bool matches(PyObject* array, const program::ArraySpec& spec, int flags) {
  return matches(array, ArrayKey(spec), flags);
}

// Bytes of a C-contiguous array of one of our types.
std::size_t byte_count(PyObject* array, steps::DType dtype);

// "float32 (2, 3)" for messages; says too when the memory is not contiguous and aligned.
std::string describe(PyObject* array);
std::string describe(const program::ArraySpec& spec);

// A new uninitialised array; null with a Python exception set.
PyObject* new_array(const ArrayKey& key);

// The storage that the array lies in; null for any other memory (storage.cpp).
std::shared_ptr<program::Storage> storage_of(PyObject* array);

// Whether two ranges share a byte.
inline bool overlap(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes) {
  const auto a0 = reinterpret_cast<std::uintptr_t>(a), b0 = reinterpret_cast<std::uintptr_t>(b);
  return a_bytes != 0 && b_bytes != 0 && a0 < b0 + b_bytes && b0 < a0 + a_bytes;
}

}  // namespace lamella::bindings

// SPDX-License-Identifier: Apache-2.0
// Storage for Python: the memory of one parameter, arrays that lie in it, and freezing.
//
// Whatever may wait or unpack does so without the GIL.
#include "program/storage.h"

#include <cstring>
#include <memory>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/register.h"
#include "bindings/unlocked.h"

namespace py = pybind11;
using namespace py::literals;

namespace lamella::bindings {
namespace {

using program::Storage;

std::shared_ptr<Storage> copy_of(const py::array& array) {
  const auto dtype = stored_dtype_of(array.ptr());
  if (!dtype || (fields(array.ptr())->flags & kReadable) != kReadable) {
    throw std::invalid_argument("Storage: got " + describe(array.ptr()) +
                                "; expected a C-contiguous, aligned array of " + dtype_names());
  }
  auto storage = std::make_shared<Storage>(byte_count(array.ptr(), *dtype));
  without_gil([&] { std::memcpy(storage->data(), fields(array.ptr())->data, storage->bytes()); });
  return storage;
}

// An array whose memory is the storage's, which it keeps alive.
py::array array_in(const py::object& self, const std::string& dtype,
                   const std::vector<std::size_t>& shape) {
  auto& storage = self.cast<Storage&>();
  const auto spec = program::make_array_spec(dtype_named(dtype), shape);
  if (spec.bytes != storage.bytes()) {
    throw std::invalid_argument("Storage.array: got " + describe(spec) + "; expected " +
                                std::to_string(storage.bytes()) + " bytes");
  }
  const auto descr =
      py::reinterpret_borrow<py::dtype>(numpy.descriptors[static_cast<std::size_t>(spec.dtype)]);
  py::array array(descr, shape, storage.data(), self);
  fields(array.ptr())->flags &= ~NumPyApi::NPY_ARRAY_WRITEABLE_;
  return array;
}

py::array version_of(const py::object& self) {
  auto& storage = self.cast<Storage&>();
  const auto descr = py::reinterpret_borrow<py::dtype>(
      numpy.descriptors[static_cast<std::size_t>(steps::DType::i64)]);
  return py::array(descr, std::vector<std::size_t>{1}, storage.version(), self);
}

}  // namespace

std::shared_ptr<Storage> storage_of(PyObject* array) {
  PyObject* base = fields(array)->base;
  if (base == nullptr || !py::isinstance<Storage>(base)) return nullptr;
  auto storage = py::handle(base).cast<std::shared_ptr<Storage>>();
  return storage->data() == reinterpret_cast<std::byte*>(fields(array)->data) ? storage : nullptr;
}

void register_storage(py::module_& module) {
  py::class_<Storage, std::shared_ptr<Storage>>(
      module, "Storage",
      "The memory of a parameter, which frozen may lie in its packed form alone.")
      .def(py::init(&copy_of), "array"_a, "A copy of the array's elements.")
      .def("array", &array_in, "dtype"_a, "shape"_a,
           "A read-only array in this memory: right to read between show() and hide(), and as long "
           "as the storage is not frozen.")
      .def("version", &version_of, "The int64 (1,) that counts changes of the elements.")
      .def(
          "show",
          [](Storage& storage) {
            storage.need();
            without_gil([&] { storage.bring_back(); });
          },
          "Brings the elements back if they are not here, and keeps them until hide().")
      .def(
          "hide", [](Storage& storage) { without_gil([&] { storage.release(); }); },
          "Ends what show() began.")
      .def(
          "freeze", [](Storage& storage) { without_gil([&] { storage.freeze(); }); },
          "From now on gives the elements up while a packed form holds all of them and nobody "
          "needs them here; until they are assigned to.")
      .def(
          "unfreeze", [](Storage& storage) { without_gil([&] { storage.unfreeze(); }); },
          "Brings the elements back for good.")
      .def_property_readonly("frozen", &Storage::is_frozen, "Whether it may give its elements up.")
      .def_property_readonly("here", &Storage::is_here, "Whether the elements lie here.");
}

}  // namespace lamella::bindings

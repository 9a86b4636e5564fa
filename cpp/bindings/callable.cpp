// SPDX-License-Identifier: Apache-2.0
// The path of a call: find the entry, lend it result arrays, run its program.
#include "bindings/callable.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>

#include "bindings/entries.h"
#include "bindings/error.h"
#include "bindings/execute.h"
#include "bindings/watch.h"
#include "program/structure.h"

namespace py = pybind11;

namespace lamella::bindings {

namespace {

// Whether a caller's `out` can be written while everything else is read.
bool fits_out(const Entry& entry, const program::Program& program,
              const std::vector<ArrayKey>& outputs, const Arguments& arguments) {
  if (outputs.size() != 1 || entry.returns != Entry::Returns::kSingle ||
      !is_exact_array(arguments.out) || !matches(arguments.out, outputs[0], kWritable)) {
    return false;
  }
  const void* data = fields(arguments.out)->data;
  const std::size_t bytes = program.outputs()[0].bytes;
  for (std::size_t i = 0; i < entry.items.size(); ++i) {
    const KeyItem& item = entry.items[i];
    if (item.value == nullptr && overlap(data, bytes, fields(arguments.value(i))->data,
                                         program.inputs()[item.input].bytes)) {
      return false;
    }
  }
  return std::none_of(program.constants().begin(), program.constants().end(),
                      [&](const auto& c) { return overlap(data, bytes, c.data, c.bytes); });
}

// Only the ring holds it, nobody watches it, and it still is what it was when it was made.
bool reusable(PyObject* array, const ArrayKey& key) {
  if (Py_REFCNT(array) != 1) return false;
  const auto* watchers = reinterpret_cast<PyObject* const*>(reinterpret_cast<const char*>(array) +
                                                            numpy.array_type->tp_weaklistoffset);
  return *watchers == nullptr && is_exact_array(array) && matches(array, key, kOwned);
}

// A new reference to an array nobody else holds; null with an exception set.
PyObject* take_result(ResultRing& ring, const ArrayKey& key) {
  for (std::size_t i = 0; i < ring.count; ++i) {
    PyObject* array = ring.arrays[i];
    if (array != nullptr && reusable(array, key)) return Py_NewRef(array);
  }
  PyObject* array = new_array(key);
  if (array == nullptr) return nullptr;
  PyObject* before = std::exchange(ring.arrays[ring.next], Py_NewRef(array));
  ring.next = ring.next + 1 == ring.count ? 0 : ring.next + 1;
  Py_XDECREF(before);
  return array;
}

// The result arrays of one run; dropped unless handed over.
class Results {
 public:
  explicit Results(std::size_t count) : count_(count) {
    if (count > kInline) many_ = std::make_unique<PyObject*[]>(count);
  }
  ~Results() {
    for (std::size_t i = 0; i < taken_; ++i) Py_XDECREF(at(i));
  }
  Results(const Results&) = delete;
  Results& operator=(const Results&) = delete;

  void add(PyObject* array) { at(taken_++) = array; }
  PyObject* hand_over(std::size_t i) { return std::exchange(at(i), nullptr); }
  PyObject* hand_over_tuple() {
    PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(count_));
    for (std::size_t i = 0; tuple != nullptr && i < count_; ++i) {
      PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), hand_over(i));
    }
    return tuple;
  }

 private:
  static constexpr std::size_t kInline = 4;
  PyObject*& at(std::size_t i) { return many_ ? many_[i] : few_[i]; }

  std::size_t count_, taken_ = 0;
  PyObject* few_[kInline] = {};
  std::unique_ptr<PyObject*[]> many_;
};

// Holds the arguments, so that nobody can resize an array in place while the GIL is released.
class HeldArguments {
 public:
  explicit HeldArguments(const Arguments& arguments) : arguments_(arguments) {
    for (std::size_t i = 0; i < arguments_.count(); ++i) Py_INCREF(arguments_.value(i));
  }
  ~HeldArguments() {
    for (std::size_t i = 0; i < arguments_.count(); ++i) Py_DECREF(arguments_.value(i));
  }
  HeldArguments(const HeldArguments&) = delete;
  HeldArguments& operator=(const HeldArguments&) = delete;

 private:
  const Arguments& arguments_;
};

// Null with a Python exception set when it fails.
PyObject* run_entry(Entry& entry, const program::Program& program,
                    const std::vector<ArrayKey>& outputs, const Arguments& arguments) {
  const std::size_t count = outputs.size();
  try {
    Results results(count);
    {
      program::Run run(program);
      for (std::size_t i = 0; i < count; ++i) {
        PyObject* array = arguments.out != nullptr ? Py_NewRef(arguments.out)
                                                   : take_result(entry.rings[i], outputs[i]);
        if (array == nullptr) return nullptr;
        results.add(array);
        run.set_output(i, fields(array)->data);
      }
      std::size_t position = 0;
      for (const KeyItem& item : entry.items) {
        PyObject* value = arguments.value(position++);
        if (item.value == nullptr) run.set_input(item.input, fields(value)->data);
      }
      if (program.is_long() || !run.attempt()) {
        const HeldArguments held(arguments);
        execute_unlocked(run);
      }
    }
    if (entry.returns == Entry::Returns::kSingle) return results.hand_over(0);
    PyObject* tuple = results.hand_over_tuple();
    if (tuple == nullptr || entry.returns == Entry::Returns::kTuple) return tuple;
    PyObject* converted = PyObject_CallOneArg(entry.converter, tuple);
    Py_DECREF(tuple);
    return converted;
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::out_of_range& error) {
    PyErr_SetString(PyExc_IndexError, error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyObject* dispatch(PyObject* self, PyObject* const* args, std::size_t nargsf, PyObject* kwnames) {
  PyObject* method = PyObject_GetAttr(self, names.dispatch);
  if (method == nullptr) return nullptr;
  PyObject* result = PyObject_Vectorcall(
      method, args, static_cast<std::size_t>(PyVectorcall_NARGS(nargsf)), kwnames);
  Py_DECREF(method);
  return result;
}

#if PY_VERSION_HEX < 0x030C0000
// Before 3.12 a class keeps its vectorcall flag when somebody assigns to its __call__. The first call
// after that takes the flag away, as 3.12 does.
bool flag_is_stale(PyTypeObject* type) {
  return type->tp_call != PyVectorcall_Call &&
         PyType_HasFeature(type, Py_TPFLAGS_HAVE_VECTORCALL) != 0;
}

PyObject* call_overridden(PyObject* self, PyObject* const* args, std::size_t nargsf,
                          PyObject* kwnames) {
  Py_TYPE(self)->tp_flags &= ~static_cast<unsigned long>(Py_TPFLAGS_HAVE_VECTORCALL);
  PyType_Modified(Py_TYPE(self));
  const Py_ssize_t positional = PyVectorcall_NARGS(nargsf);
  PyObject* tuple = PyTuple_New(positional);
  PyObject* keywords = kwnames == nullptr ? nullptr : PyDict_New();
  PyObject* result = nullptr;
  bool failed = tuple == nullptr || (kwnames != nullptr && keywords == nullptr);
  for (Py_ssize_t i = 0; !failed && i < positional; ++i) {
    PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
  }
  for (Py_ssize_t i = 0; !failed && kwnames != nullptr && i < PyTuple_GET_SIZE(kwnames); ++i) {
    failed = PyDict_SetItem(keywords, PyTuple_GET_ITEM(kwnames, i), args[positional + i]) != 0;
  }
  if (!failed) result = Py_TYPE(self)->tp_call(self, tuple, keywords);
  Py_XDECREF(tuple);
  Py_XDECREF(keywords);
  return result;
}
#endif

// A hold on an entry: whatever runs meanwhile may make its object forget it.
class HeldEntry {
 public:
  explicit HeldEntry(Entry* entry) : entry_(entry) { ++entry_->holders; }
  ~HeldEntry() { entry_->release(); }
  HeldEntry(const HeldEntry&) = delete;
  HeldEntry& operator=(const HeldEntry&) = delete;

 private:
  Entry* entry_;
};

PyObject* run_used(Entries& entries, Entry& entry, const program::Program& program,
                   const std::vector<ArrayKey>& outputs, const Arguments& arguments) {
  Entry* cooled = entries.use(&entry);
  if (cooled == nullptr) return run_entry(entry, program, outputs, arguments);
  const HeldEntry held(cooled);
  PyObject* result = run_entry(entry, program, outputs, arguments);
  cooled->drop_results();
  return result;
}

bool is_answering(const CallableObject* object) {
  return object->entries != nullptr && object->follower.is_settled() && !program::is_tracing();
}

// Whether an entry has answered; null in `result` then means a Python exception.
bool answer(const CallableObject* object, const Arguments& arguments, PyObject*& result) {
  Entry* const last = object->entries->used_last();
  // What most calls are. The search would do the same, in some nanoseconds more.
  if (Extents none; last != nullptr && last->is_plain() && arguments.out == nullptr &&
                    last->answers(arguments, none)) {
    const HeldEntry held(last);
    result = run_entry(*last, *last->program, last->outputs, arguments);
    return true;
  }
  HeldSized made;
  // Twice, where a size has to be made: anything may have changed meanwhile.
  while (is_answering(object)) {
    Entries& entries = *object->entries;
    Search search(entries, arguments);
    bool is_new = false;
    while (Entry* entry = search.next(object->entries == &entries)) {
      const HeldEntry held(entry);
      // NumPy lets other threads run while the watch copies.
      if (entry->watch != nullptr && !watch_holds(entry->watch)) continue;
      if (object->entries != &entries || !search.is_valid()) return false;
      const program::Program* program = entry->program;
      const std::vector<ArrayKey>* outputs = &entry->outputs;
      HeldSized sized;
      if (entry->sizes != nullptr && search.extents() != entry->extents) {
        if (made.is_of(*entry->sizes, search.extents())) {
          sized = std::exchange(made, HeldSized());
        } else if (Sized* known = entry->sizes->find(search.extents())) {
          sized = HeldSized(known);
        } else if (made.get() != nullptr) {
          return false;
        } else {
          try {
            const HeldArguments arrays(arguments);
            made = entry->sizes->make(search.extents());
          } catch (...) {
            set_error_from_exception();
            return true;
          }
          is_new = true;
          break;
        }
        program = sized.get()->program();
        outputs = &sized.get()->outputs();
        // Python compiles what the text refuses, for this size alone.
        if (program == nullptr) continue;
      }
      if (arguments.out != nullptr && !fits_out(*entry, *program, *outputs, arguments)) {
        return false;
      }
      result = run_used(entries, *entry, *program, *outputs, arguments);
      return true;
    }
    if (!is_new) return false;
  }
  return false;
}

}  // namespace

PyObject* call(PyObject* self, PyObject* const* args, std::size_t nargsf, PyObject* kwnames) {
#if PY_VERSION_HEX < 0x030C0000
  if (flag_is_stale(Py_TYPE(self))) return call_overridden(self, args, nargsf, kwnames);
#endif
  if (is_answering(callable(self))) {
    const Arguments arguments(args, nargsf, kwnames);
    PyObject* result = nullptr;
    if (answer(callable(self), arguments, result)) return result;
  }
  return dispatch(self, args, nargsf, kwnames);
}

}  // namespace lamella::bindings

// SPDX-License-Identifier: Apache-2.0
// The path of a call: find the entry, lend it result arrays, run its program.
#include "bindings/callable.h"

#include <algorithm>
#include <new>
#include <stdexcept>

#include "bindings/execute.h"
#include "bindings/snapshot.h"
#include "bindings/watch.h"
#include "program/structure.h"

namespace py = pybind11;

namespace lamella::bindings {

Names names{};

namespace {

// The arguments of one call as a signature sees them: `out` is taken aside.
struct Arguments {
  PyObject* const* values;
  std::size_t positional;
  PyObject* kwnames;     // null or a tuple
  std::size_t keywords;  // without `out`
  std::size_t out_at;    // position of `out` among the keywords; their number when there is none
  PyObject* out;         // null when not given or None

  Arguments(PyObject* const* args, std::size_t nargsf, PyObject* kwnames_or_null)
      : values(args),
        positional(static_cast<std::size_t>(PyVectorcall_NARGS(nargsf))),
        kwnames(kwnames_or_null),
        keywords(0),
        out_at(0),
        out(nullptr) {
    if (kwnames != nullptr) find_out();
  }

  void find_out() {
    const auto count = static_cast<std::size_t>(PyTuple_GET_SIZE(kwnames));
    out_at = count;
    keywords = count;
    for (std::size_t i = 0; i < count; ++i) {
      PyObject* name = PyTuple_GET_ITEM(kwnames, static_cast<Py_ssize_t>(i));
      if (name != names.out && PyUnicode_Compare(name, names.out) != 0) continue;
      out_at = i;
      keywords = count - 1;
      out = values[positional + i] == Py_None ? nullptr : values[positional + i];
    }
  }

  std::size_t count() const { return positional + keywords; }
  std::size_t keyword_position(std::size_t i) const { return i < out_at ? i : i + 1; }
  PyObject* keyword(std::size_t i) const {
    return PyTuple_GET_ITEM(kwnames, static_cast<Py_ssize_t>(keyword_position(i)));
  }
  PyObject* value(std::size_t i) const {
    return i < positional ? values[i] : values[positional + keyword_position(i - positional)];
  }
};

bool answers(const Entry& entry, const Arguments& arguments) {
  if (entry.positional != arguments.positional || entry.keywords.size() != arguments.keywords) {
    return false;
  }
  for (std::size_t i = 0; i < entry.keywords.size(); ++i) {
    PyObject* name = arguments.keyword(i);
    if (name != entry.keywords[i] && PyUnicode_Compare(name, entry.keywords[i]) != 0) return false;
  }
  std::size_t i = 0;
  for (const KeyItem& item : entry.items) {
    PyObject* value = arguments.value(i++);
    if (item.value != nullptr) {
      if (!same_value(item.value, value)) return false;
    } else if (!is_exact_array(value) || !matches(value, item.array, kReadable)) {
      return false;
    }
  }
  return true;
}

// Whether a caller's `out` can be written while everything else is read.
bool fits_out(const Entry& entry, const Arguments& arguments) {
  const program::Program& program = *entry.program;
  if (program.outputs().size() != 1 || entry.returns != Entry::Returns::kSingle ||
      !is_exact_array(arguments.out) || !matches(arguments.out, entry.rings[0].key, kWritable)) {
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
PyObject* take_result(ResultRing& ring) {
  for (std::size_t i = 0; i < ring.count; ++i) {
    PyObject* array = ring.arrays[i];
    if (array != nullptr && reusable(array, ring.key)) return Py_NewRef(array);
  }
  PyObject* array = new_array(ring.key);
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
PyObject* run_entry(Entry& entry, const Arguments& arguments) {
  const program::Program& program = *entry.program;
  const std::size_t count = program.outputs().size();
  try {
    Results results(count);
    {
      program::Run run(program);
      for (std::size_t i = 0; i < count; ++i) {
        PyObject* array =
            arguments.out != nullptr ? Py_NewRef(arguments.out) : take_result(entry.rings[i]);
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

}  // namespace

Entry::~Entry() {
  for (PyObject* name : keywords) Py_DECREF(name);
  for (const KeyItem& item : items) Py_XDECREF(item.value);
  for (const ResultRing& ring : rings) {
    for (PyObject* array : ring.arrays) Py_XDECREF(array);
  }
  Py_XDECREF(converter);
  Py_XDECREF(keep);
  Py_XDECREF(watch);
  Py_XDECREF(program_object);
}

void Entries::move_to_front(std::size_t i) { std::rotate(list, list + i, list + i + 1); }

Entry* Entries::add(std::unique_ptr<Entry> entry) {
  std::size_t place = 0;
  while (place < count && !same_key(*list[place], *entry)) ++place;
  if (place == kMost) place = kMost - 1;
  if (place == count) ++count;
  Entry* displaced = std::exchange(list[place], entry.release());
  move_to_front(place);
  return displaced;
}

bool same_key(const Entry& a, const Entry& b) {
  if (a.positional != b.positional || a.keywords.size() != b.keywords.size() ||
      a.items.size() != b.items.size()) {
    return false;
  }
  if (a.watch != b.watch) return false;
  for (std::size_t i = 0; i < a.keywords.size(); ++i) {
    if (PyUnicode_Compare(a.keywords[i], b.keywords[i]) != 0) return false;
  }
  for (std::size_t i = 0; i < a.items.size(); ++i) {
    const KeyItem &x = a.items[i], &y = b.items[i];
    if ((x.value == nullptr) != (y.value == nullptr)) return false;
    if (x.value != nullptr) {
      if (!same_value(x.value, y.value)) return false;
      continue;
    }
    const auto &s = a.program->inputs()[x.input], &t = b.program->inputs()[y.input];
    if (s.dtype != t.dtype || s.shape != t.shape || x.array.turned != y.array.turned) return false;
  }
  return true;
}

PyObject* call(PyObject* self, PyObject* const* args, std::size_t nargsf, PyObject* kwnames) {
#if PY_VERSION_HEX < 0x030C0000
  if (flag_is_stale(Py_TYPE(self))) return call_overridden(self, args, nargsf, kwnames);
#endif
  const CallableObject* object = callable(self);
  if (object->entries != nullptr && object->follower.is_settled() && !program::is_tracing()) {
    const Arguments arguments(args, nargsf, kwnames);
    Entries& entries = *object->entries;
    for (std::size_t i = 0; i < entries.count; ++i) {
      Entry* entry = entries.list[i];
      if (!answers(*entry, arguments)) continue;
      // Held for the duration: whatever runs meanwhile may make this object forget it.
      ++entry->holders;
      if (entry->watch != nullptr && !watch_holds(entry->watch)) {
        // NumPy lets other threads run while it copies.
        const bool still = object->entries == &entries && i < entries.count;
        entry->release();
        if (!still) break;
        continue;
      }
      if (arguments.out != nullptr && !fits_out(*entry, arguments)) {
        entry->release();
        break;
      }
      if (i > 0 && object->entries == &entries && entries.list[i] == entry) {
        entries.move_to_front(i);
      }
      PyObject* result = run_entry(*entry, arguments);
      entry->release();
      return result;
    }
  }
  return dispatch(self, args, nargsf, kwnames);
}

}  // namespace lamella::bindings

// SPDX-License-Identifier: Apache-2.0
// Making entries, comparing calls with them, and finding the one of a call.
#include "bindings/entries.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "base/allocation.h"
#include "bindings/snapshot.h"
#include "bindings/watch.h"

namespace py = pybind11;

namespace lamella::bindings {

Names names{};

namespace {

// A loop holds the last result while it computes the next one: two arrays serve it. More of them are
// kept where they cost little memory.
constexpr std::size_t kSmallResult = std::size_t{64} << 10;
constexpr std::size_t kLargeRing = 2;

// May the value stand in a signature by identity? Not what can change while it stays the same.
bool can_be_static(PyObject* value) {
  if (PyTuple_CheckExact(value)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(value); ++i) {
      PyObject* item = PyTuple_GET_ITEM(value, i);
      if (is_exact_array(item) || !can_be_static(item)) return false;
    }
    return true;
  }
  return !PyList_Check(value) && !PyDict_Check(value) && !PyAnySet_Check(value) &&
         !PyByteArray_Check(value) && !PyObject_TypeCheck(value, numpy.array_type) &&
         !PyObject_CheckBuffer(value);
}

bool is_true_at(PyObject* tuple, std::size_t i) {
  const auto at = static_cast<Py_ssize_t>(i);
  return tuple != nullptr && at < PyTuple_GET_SIZE(tuple) && PyTuple_GET_ITEM(tuple, at) == Py_True;
}

constexpr std::size_t mixed(std::size_t hash, std::size_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
  return hash ^ (hash >> 32);
}

// Equal for what same_value() calls the same.
std::size_t hash_of(PyObject* value) {
  if (PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || PyBytes_CheckExact(value)) {
    return static_cast<std::size_t>(PyObject_Hash(value));
  }
  if (PyFloat_CheckExact(value)) return std::bit_cast<std::uint64_t>(PyFloat_AS_DOUBLE(value));
  return reinterpret_cast<std::uintptr_t>(Py_TYPE(value)) >> 4;
}

// Of the signature of a call; without extents it is that of an entry with a text.
std::size_t hash_of(const Arguments& arguments, bool with_extents) {
  std::size_t hash = mixed(arguments.positional, arguments.keywords);
  for (std::size_t i = 0; i < arguments.count(); ++i) {
    PyObject* value = arguments.value(i);
    if (!is_exact_array(value)) {
      hash = mixed(hash, hash_of(value));
      continue;
    }
    const ArrayFields& a = *fields(value);
    hash = mixed(hash, static_cast<std::size_t>(a.nd));
    const auto dtype = dtype_of(value);
    hash = mixed(hash, dtype ? static_cast<std::size_t>(*dtype) : 99);
    for (int axis = 0; with_extents && axis < a.nd; ++axis) {
      hash = mixed(hash, static_cast<std::size_t>(a.dimensions[axis]));
    }
  }
  return with_extents ? hash : mixed(hash, 1);
}

// As matches(), where a negative extent is a symbol: one extent of two or more wherever it stands.
bool binds(PyObject* array, const ArrayKey& key, Extents& extents) {
  if (!matches_but_extents(array, key, kReadable)) return false;
  const Py_ssize_t* dims = key.dimensions();
  for (int i = 0; i < key.rank; ++i) {
    const Py_ssize_t extent = fields(array)->dimensions[i];
    if (dims[i] >= 0) {
      if (extent != dims[i]) return false;
      continue;
    }
    if (extent < program::Text::kLeastExtent) return false;
    std::int64_t& bound = extents[static_cast<std::size_t>(-1 - dims[i])];
    if (bound == 0) bound = extent;
    if (bound != extent) return false;
  }
  return true;
}

// Marks the axes of an input that a text leaves free.
void free_axes(ArrayKey& key, const program::Text& text, std::size_t input) {
  const auto& symbols = text.symbols();
  const auto rank = static_cast<std::size_t>(key.rank);
  for (std::size_t symbol = 0; symbol < symbols.size(); ++symbol) {
    for (const auto& [number, place] : symbols[symbol]) {
      if (number != input) continue;
      // The array is seen before its last two axes are exchanged.
      const bool exchanged = key.turned && place + 2 >= rank;
      key.set_dimension(exchanged ? 2 * rank - 3 - place : place,
                        -1 - static_cast<Py_ssize_t>(symbol));
    }
  }
}

bool same_item(const KeyItem& x, const KeyItem& y) {
  if ((x.value == nullptr) != (y.value == nullptr)) return false;
  if (x.value != nullptr) return same_value(x.value, y.value);
  return x.array.dtype == y.array.dtype && x.array.turned == y.array.turned &&
         std::equal(x.array.dimensions(), x.array.dimensions() + x.array.rank, y.array.dimensions(),
                    y.array.dimensions() + y.array.rank);
}

// Whether two entries answer the same calls.
bool same_key(const Entry& a, const Entry& b) {
  return a.positional == b.positional && a.watch == b.watch && a.sizes == b.sizes &&
         std::equal(a.keywords.begin(), a.keywords.end(), b.keywords.begin(), b.keywords.end(),
                    [](PyObject* x, PyObject* y) { return PyUnicode_Compare(x, y) == 0; }) &&
         std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), same_item);
}

void take_returns(Entry& entry, PyObject* returns) {
  if (returns == Py_None) {
    if (entry.program->outputs().size() != 1) {
      throw std::invalid_argument("_remember: returns=None needs a program with one output");
    }
  } else if (PyUnicode_Check(returns) && PyUnicode_CompareWithASCIIString(returns, "tuple") == 0) {
    entry.returns = Entry::Returns::kTuple;
  } else if (PyCallable_Check(returns) != 0) {
    entry.returns = Entry::Returns::kConverted;
    entry.converter = Py_NewRef(returns);
  } else {
    throw std::invalid_argument("_remember: returns is None, 'tuple' or a callable");
  }
}

}  // namespace

void Arguments::find_out() {
  const auto given = static_cast<std::size_t>(PyTuple_GET_SIZE(kwnames));
  out_at = given;
  keywords = given;
  for (std::size_t i = 0; i < given; ++i) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, static_cast<Py_ssize_t>(i));
    if (name != names.out && PyUnicode_Compare(name, names.out) != 0) continue;
    out_at = i;
    keywords = given - 1;
    out = values[positional + i] == Py_None ? nullptr : values[positional + i];
  }
}

Entry::~Entry() {
  for (PyObject* name : keywords) Py_DECREF(name);
  for (const KeyItem& item : items) Py_XDECREF(item.value);
  drop_results();
  Py_XDECREF(converter);
  Py_XDECREF(keep);
  Py_XDECREF(watch);
  Py_XDECREF(program_object);
}

void Entry::drop_results() {
  for (ResultRing& ring : rings) {
    for (PyObject*& array : ring.arrays) Py_XDECREF(std::exchange(array, nullptr));
  }
}

bool Entry::answers(const Arguments& arguments, Extents& found) const {
  if (positional != arguments.positional || keywords.size() != arguments.keywords) return false;
  for (std::size_t i = 0; i < keywords.size(); ++i) {
    PyObject* name = arguments.keyword(i);
    if (name != keywords[i] && PyUnicode_Compare(name, keywords[i]) != 0) return false;
  }
  if (sizes != nullptr) found = {};
  std::size_t i = 0;
  for (const KeyItem& item : items) {
    PyObject* value = arguments.value(i++);
    if (item.value != nullptr) {
      if (!same_value(item.value, value)) return false;
    } else if (!is_exact_array(value) || !(sizes == nullptr ? matches(value, item.array, kReadable)
                                                            : binds(value, item.array, found))) {
      return false;
    }
  }
  return true;
}

Entries::~Entries() {
  const auto all = std::exchange(all_, {});
  for (const auto& [hash, entry] : all) entry->release();
}

Entry* Entries::add(std::unique_ptr<Entry> entry) {
  Entry* displaced = nullptr;
  const auto [begin, end] = all_.equal_range(entry->hash);
  for (auto place = begin; place != end && displaced == nullptr; ++place) {
    if (same_key(*place->second, *entry)) displaced = place->second;
  }
  if (displaced == nullptr && all_.size() == kMost) {
    displaced = all_.begin()->second;
    if (displaced == warm_[0]) displaced = std::next(all_.begin())->second;
  }
  base::count_allocation();
  all_.emplace(entry->hash, entry.get());
  changes_ = ++last_change_;
  if (displaced != nullptr) forget(displaced);
  if (entry->sizes != nullptr) ++text_count_;
  if (Entry* cooled = use(entry.release())) {
    // Freeing arrays may run anything, and make this forget it.
    ++cooled->holders;
    cooled->drop_results();
    cooled->release();
  }
  return displaced;
}

Entry* Entries::use(Entry* entry) {
  std::size_t i = 0;
  while (i < warm_count_ && warm_[i] != entry) ++i;
  Entry* cooled = nullptr;
  if (i == warm_count_) {
    if (i == kWarm) {
      cooled = warm_[--i];
    } else {
      ++warm_count_;
    }
    warm_[i] = entry;
  }
  std::rotate(warm_, warm_ + i, warm_ + i + 1);
  return cooled;
}

void Entries::forget(Entry* entry) {
  if (std::remove(warm_, warm_ + warm_count_, entry) != warm_ + warm_count_) {
    warm_[--warm_count_] = nullptr;
  }
  if (entry->sizes != nullptr) --text_count_;
  const auto [first, last] = all_.equal_range(entry->hash);
  for (auto place = first; place != last; ++place) {
    if (place->second != entry) continue;
    all_.erase(place);
    return;
  }
}

Entry* Search::next(bool still) {
  if (!still || !is_valid()) return nullptr;
  if (stage_ == Stage::kUsedLast) {
    while (at_ < std::min(entries_.warm_count_, kTried)) {
      Entry* entry = entries_.warm_[at_++];
      if (entry->answers(arguments_, extents_)) return entry;
    }
    if (entries_.all_.size() <= kTried) return nullptr;
    stage_ = Stage::kSameShapes;
    std::tie(here_, end_) = entries_.all_.equal_range(hash_of(arguments_, true));
  }
  while (true) {
    while (here_ != end_) {
      Entry* entry = (here_++)->second;
      if (entry->answers(arguments_, extents_)) return entry;
    }
    if (stage_ == Stage::kAnySize || entries_.text_count_ == 0) return nullptr;
    stage_ = Stage::kAnySize;
    std::tie(here_, end_) = entries_.all_.equal_range(hash_of(arguments_, false));
  }
}

std::unique_ptr<Entry> make_entry(PyObject* args, PyObject* kwnames, PyObject* program_object,
                                  PyObject* returns, PyObject* keep, PyObject* turned,
                                  PyObject* watch, PyObject* text_object) {
  const auto count = static_cast<std::size_t>(PyTuple_GET_SIZE(args));
  const auto named = static_cast<std::size_t>(PyTuple_GET_SIZE(kwnames));
  if (named > count) throw std::invalid_argument("_remember: more keyword names than arguments");
  if (!py::isinstance<program::Program>(program_object)) {
    throw py::type_error("_remember: program is no Program");
  }
  base::count_allocation();
  auto entry = std::make_unique<Entry>();
  entry->program = py::handle(program_object).cast<const program::Program*>();
  entry->program_object = Py_NewRef(program_object);
  entry->keep = Py_NewRef(keep);
  std::shared_ptr<const program::Text> text;
  if (text_object != Py_None) {
    if (!py::isinstance<program::Text>(text_object)) {
      throw py::type_error("_remember: text is a Text or None");
    }
    text = py::handle(text_object).cast<std::shared_ptr<program::Text>>();
    if (text->symbols().size() > entry->extents.size()) return nullptr;
    entry->sizes = Sizes::of(text);
  }
  if (watch != Py_None) {
    if (!is_watch(watch)) throw py::type_error("_remember: watch is a Watch or None");
    entry->watch = Py_NewRef(watch);
  }
  entry->positional = count - named;
  for (std::size_t i = 0; i < named; ++i) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, static_cast<Py_ssize_t>(i));
    if (!PyUnicode_Check(name) || PyUnicode_Compare(name, names.out) == 0) {
      throw std::invalid_argument("_remember: keyword names are texts other than 'out'");
    }
    entry->keywords.push_back(Py_NewRef(name));
  }
  const auto& inputs = entry->program->inputs();
  std::size_t arrays = 0;
  for (std::size_t i = 0; i < count; ++i) {
    PyObject* value = PyTuple_GET_ITEM(args, static_cast<Py_ssize_t>(i));
    if (!is_exact_array(value)) {
      if (!can_be_static(value)) return nullptr;
      entry->items.push_back({Py_NewRef(value), {}, 0});
      continue;
    }
    if (arrays == inputs.size()) return nullptr;
    const program::ArraySpec& spec = inputs[arrays];
    const bool exchanged = is_true_at(turned, i);
    if (exchanged && spec.shape.size() < 2) return nullptr;
    ArrayKey key = exchanged ? ArrayKey::turned_from(spec) : ArrayKey(spec);
    // A caller's uint16 means numbers, whatever our own arrays of bfloat16 are made of.
    if (spec.dtype == steps::DType::bf16) key.descr = numpy.bfloat16;
    if (!matches(value, key, kReadable)) return nullptr;
    if (text != nullptr) free_axes(key, *text, arrays);
    entry->items.push_back({nullptr, std::move(key), arrays});
    ++arrays;
  }
  if (arrays != inputs.size()) return nullptr;
  const Arguments arguments(PySequence_Fast_ITEMS(args), entry->positional, kwnames);
  // Of an array with an extent below two a text knows nothing.
  if (text != nullptr && !entry->answers(arguments, entry->extents)) return nullptr;
  entry->hash = hash_of(arguments, text == nullptr);
  take_returns(*entry, returns);
  for (const program::ArraySpec& spec : entry->program->outputs()) {
    entry->outputs.emplace_back(spec);
    ResultRing& ring = entry->rings.emplace_back();
    if (text != nullptr || spec.bytes > kSmallResult) ring.count = kLargeRing;
  }
  return entry;
}

}  // namespace lamella::bindings

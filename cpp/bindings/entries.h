// SPDX-License-Identifier: Apache-2.0
// Entries: the calls that a Callable has seen, each with the program that answers it.
//
// An entry is one kind of call: the signature of its arguments, its program, and the result arrays it
// hands out again once nobody holds them. One with a text answers arrays of any extent, of two or more,
// along the axes that the text leaves free. The entries used last are tried first, then those whose
// signature has the same hash. Everything here runs with the GIL held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/sizes.h"
#include "program/program.h"

namespace lamella::bindings {

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
  void find_out();

  std::size_t count() const { return positional + keywords; }
  std::size_t keyword_position(std::size_t i) const { return i < out_at ? i : i + 1; }
  PyObject* keyword(std::size_t i) const {
    return PyTuple_GET_ITEM(kwnames, static_cast<Py_ssize_t>(keyword_position(i)));
  }
  PyObject* value(std::size_t i) const {
    return i < positional ? values[i] : values[positional + keyword_position(i - positional)];
  }
};

// One argument of a signature: an array (type and shape of one of the program's inputs, which may be
// the array before its last two axes were exchanged) or a static
// value (the same object, or an equal number, text or tuple of such).
struct KeyItem {
  PyObject* value = nullptr;  // owned; null for an array
  ArrayKey array;             // the extent of a free axis is -1 - the number of its symbol
  std::size_t input = 0;      // the program's input an array is
};

// Result arrays of one output, handed out in turn.
struct ResultRing {
  static constexpr std::size_t kMost = 4;
  PyObject* arrays[kMost] = {};  // owned; null until first used
  std::size_t count = kMost, next = 0;
};

struct Entry {
  Entry() = default;
  ~Entry();
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

  enum class Returns : std::uint8_t { kSingle, kTuple, kConverted };

  int holders = 1;  // its list, and every call that is running it
  Returns returns = Returns::kSingle;
  std::size_t positional = 0;       // number of positional arguments
  std::vector<KeyItem> items;       // all arguments, keywords last
  std::vector<PyObject*> keywords;  // owned names of those, in the order of the call
  std::vector<ArrayKey> outputs;    // of the program
  std::vector<ResultRing> rings;    // one per output, whatever its size
  std::size_t hash = 0;             // of the signature
  const program::Program* program = nullptr;
  PyObject* program_object = nullptr;
  std::shared_ptr<Sizes> sizes;   // the programs of a text by extents, or null
  Extents extents{};              // those of `program`, where there is a text
  PyObject* converter = nullptr;  // called with the tuple of results, for kConverted
  PyObject* keep = nullptr;
  PyObject* watch = nullptr;  // a Watch that has to hold, or null

  // Whether it is of such calls; found: the extents of a text's symbols in this one. Runs no Python.
  bool answers(const Arguments& arguments, Extents& found) const;
  bool is_plain() const { return sizes == nullptr && watch == nullptr; }
  void drop_results();
  void release() {
    if (--holders == 0) delete this;
  }
};

class Entries {
 public:
  Entries() : changes_(++last_change_) {}
  ~Entries();
  Entries(const Entries&) = delete;
  Entries& operator=(const Entries&) = delete;

  // Puts it first. Returns what it displaced, to be released: the entry of the same key, else any
  // other one when there are too many, else null. Throws std::bad_alloc.
  Entry* add(std::unique_ptr<Entry> entry);
  // Null where there is none.
  Entry* used_last() const { return warm_[0]; }
  // It has been used. Returns one that keeps no results from now on, to be told so, or null.
  Entry* use(Entry* entry);
  template <class Visit>
  int each(Visit visit) const {
    for (const auto& [hash, entry] : all_) {
      if (const int stop = visit(*entry); stop != 0) return stop;
    }
    return 0;
  }

 private:
  friend class Search;

  // Those whose results are kept. Others are found by their hash, in some 50 ns more.
  static constexpr std::size_t kWarm = 16;
  static constexpr std::size_t kMost = 1024;

  void forget(Entry* entry);

  Entry* warm_[kWarm] = {};  // the one used last comes first
  std::size_t warm_count_ = 0;
  std::unordered_multimap<std::size_t, Entry*> all_;
  std::size_t text_count_ = 0;  // of those with a text
  // The number of the last change, of any Entries: none is taken for another one at its address.
  std::uint64_t changes_;
  static inline std::uint64_t last_change_ = 0;
};

// The entries that answer some arguments, the likeliest first. Python may run between two of them.
class Search {
 public:
  Search(const Entries& entries, const Arguments& arguments)
      : entries_(entries), arguments_(arguments), changes_(entries.changes_) {}
  // Null at the end. still: whether the entries are still there.
  Entry* next(bool still);
  // Whether the entries are those that it began with.
  bool is_valid() const { return entries_.changes_ == changes_; }
  // Of the entry found last: see Entry::answers.
  const Extents& extents() const { return extents_; }

 private:
  // More than this many in turn are rare, and comparing each takes longer than the hash.
  static constexpr std::size_t kTried = 4;
  using Place = std::unordered_multimap<std::size_t, Entry*>::const_iterator;

  const Entries& entries_;
  const Arguments& arguments_;
  const std::uint64_t changes_;
  std::size_t at_ = 0;
  enum class Stage : std::uint8_t { kUsedLast, kSameShapes, kAnySize } stage_ = Stage::kUsedLast;
  Extents extents_{};
  Place here_{}, end_{};
};

// The entry for these arguments (positional, then the keywords'), or null when they cannot be told
// from others by a signature: arrays that are not plain or do not match the program's inputs, and
// values that may change in place. turned: null, or a tuple that is True where the program takes the
// array before its last two axes were exchanged; text: None, or the one that the program belongs to.
// Throws std::bad_alloc.
std::unique_ptr<Entry> make_entry(PyObject* args, PyObject* kwnames, PyObject* program_object,
                                  PyObject* returns, PyObject* keep, PyObject* turned,
                                  PyObject* watch, PyObject* text);

// Names of methods and arguments, made once at import.
struct Names {
  PyObject* dispatch;
  PyObject* out;
};
extern Names names;

}  // namespace lamella::bindings

// SPDX-License-Identifier: Apache-2.0
// Callable: the object whose call is one vectorcall into a remembered program.
//
// An entry is one kind of call seen before: the signature of the arguments, the program that answers
// it, and the result arrays it hands out again once nobody holds them. Entries are tried from the
// one used last; what no entry fits goes to the Python method _dispatch, which may remember it.
// Everything here runs with the GIL held, except the steps of long programs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/attributes.h"
#include "program/program.h"
#include "program/structure.h"

namespace lamella::bindings {

// One argument of a signature: an array (type and shape of one of the program's inputs, which may be
// the array before its last two axes were exchanged) or a static
// value (the same object, or an equal number, text or tuple of such).
struct KeyItem {
  PyObject* value = nullptr;  // owned; null for an array
  ArrayKey array;
  std::size_t input = 0;  // the program's input an array is
};

// Result arrays of one output, handed out in turn.
struct ResultRing {
  static constexpr std::size_t kMost = 4;
  PyObject* arrays[kMost] = {};  // owned; null until first used
  std::size_t count = kMost, next = 0;
  ArrayKey key;
};

struct Entry {
  Entry() = default;
  ~Entry();
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

  enum class Returns : std::uint8_t { kSingle, kTuple, kConverted };

  int holders = 1;  // the list, and every call that is running it
  Returns returns = Returns::kSingle;
  std::size_t positional = 0;       // number of positional arguments
  std::vector<KeyItem> items;       // all arguments, keywords last
  std::vector<PyObject*> keywords;  // owned names of those, in the order of the call
  std::vector<ResultRing> rings;    // one per output
  const program::Program* program = nullptr;
  PyObject* program_object = nullptr;
  PyObject* converter = nullptr;  // called with the tuple of results, for kConverted
  PyObject* keep = nullptr;
  PyObject* watch = nullptr;  // a Watch that has to hold, or null

  void release() {
    if (--holders == 0) delete this;
  }
};

struct Entries {
  static constexpr std::size_t kMost = 16;
  Entry* list[kMost] = {};  // the one used last comes first
  std::size_t count = 0;

  Entries() = default;
  ~Entries() {
    for (std::size_t i = 0; i < count; ++i) list[i]->release();
  }
  Entries(const Entries&) = delete;
  Entries& operator=(const Entries&) = delete;
  void move_to_front(std::size_t i);
  // Puts it first. Returns what it displaced, to be released: the entry of the same key, else the
  // one not used for longest when the list is full, else null.
  Entry* add(std::unique_ptr<Entry> entry);
};

struct CallableObject {
  PyObject ob_base;
  vectorcallfunc vectorcall;
  Entries* entries;              // null until something is remembered
  bool is_told;                  // what to follow; else it follows the instruction set alone
  program::Follower follower;    // settled while the entries are right
  program::Structure structure;  // its own, moved by its attributes
  Attributes* attributes;        // null until one is assigned
};

inline CallableObject* callable(PyObject* object) {
  return reinterpret_cast<CallableObject*>(object);
}

// The vectorcall of every Callable.
PyObject* call(PyObject* self, PyObject* const* args, std::size_t nargsf, PyObject* kwnames);

// The entry for these arguments (positional, then the keywords'), or null when they cannot be told
// from others by a signature: arrays that are not plain or do not match the program's inputs, and
// values that may change in place. turned: null, or a tuple that is True where the program takes the
// array before its last two axes were exchanged. Throws std::bad_alloc.
std::unique_ptr<Entry> make_entry(PyObject* args, PyObject* kwnames, PyObject* program_object,
                                  PyObject* returns, PyObject* keep, PyObject* turned,
                                  PyObject* watch);

// Whether two entries answer the same calls.
bool same_key(const Entry& a, const Entry& b);

// Names of methods and arguments, made once at import.
struct Names {
  PyObject* dispatch;
  PyObject* out;
};
extern Names names;

}  // namespace lamella::bindings

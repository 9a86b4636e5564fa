// SPDX-License-Identifier: Apache-2.0
// Changes of parameters, which every thread sees wholly or not at all.
//
// A version cell counts the changes of its array; while a thread holds it to change the array, its
// sign bit is set (a sequence lock whose counter stays a count of changes). Who changes holds all of
// his cells or none. Who reads looks at his cells before and after, and reads again when one moved.
// Cells are held only by code that needs no lock of the callers to get on, so that anybody may wait
// for it: a fork does, and a child therefore never sees a change half made.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

namespace lamella::program {

// A version cell and whether whoever holds it changes its array (else it only keeps others out).
struct Cell {
  std::int64_t* version = nullptr;
  bool changes = true;
};

inline std::int64_t read_version(const std::int64_t* cell) {
  return __atomic_load_n(cell, __ATOMIC_ACQUIRE);
}

// The number of changes, whoever holds the cell.
constexpr std::int64_t count_of(std::int64_t version) {
  return version & std::numeric_limits<std::int64_t>::max();
}

// Whether some thread holds the cell this was read from.
constexpr bool is_held(std::int64_t version) { return version < 0; }

// Holds all cells and advances the parameter epoch. False, with nothing held, when another thread
// holds one of them or changes are suspended. No cell may be given twice.
bool try_hold(std::span<const Cell> cells) noexcept;
// Gives them back; with `done`, the versions of those that change advance.
void give_back(std::span<const Cell> cells, bool done) noexcept;

// The same, waiting for other threads as long as it takes.
void hold(std::span<const Cell> cells) noexcept;

// Lets other threads get on; round counts how often the caller has waited in vain.
void wait_a_little(int round) noexcept;

// Keeps cells from being held, until as many calls of the second function: a fork does (prepared.cpp).
// In a child, of the threads that were suspending or waiting, only the one that forked is left.
void suspend_changes() noexcept;
void resume_changes() noexcept;
void forget_changes() noexcept;

// While one of these lives, no cell is held: the constructor waits for those that are.
class ChangesSuspended {
 public:
  ChangesSuspended() noexcept;
  ~ChangesSuspended();
  ChangesSuspended(const ChangesSuspended&) = delete;
  ChangesSuspended& operator=(const ChangesSuspended&) = delete;
};

}  // namespace lamella::program

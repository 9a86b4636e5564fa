// SPDX-License-Identifier: Apache-2.0
// The budget of programs that texts have made: beyond it, those not used for longest go.
//
// They are made again in microseconds, so that nobody is told. Everything here happens under the callers'
// common lock (the GIL).
#pragma once

#include <cstddef>

namespace lamella::program {

// Something that takes so many bytes and can be done without.
class Budgeted {
 public:
  Budgeted(const Budgeted&) = delete;
  Budgeted& operator=(const Budgeted&) = delete;

 protected:
  Budgeted() = default;
  virtual ~Budgeted();

 private:
  friend class Budget;

  // It has just left the budget, and goes from where it would be found.
  virtual void drop() = 0;

  Budgeted *newer_ = nullptr, *older_ = nullptr;
  std::size_t bytes_ = 0;
  bool is_in_ = false;
};

class Budget {
 public:
  // Adds one, used just now. What is too much is dropped at once, maybe the one added.
  void add(Budgeted& one, std::size_t bytes);
  void use(Budgeted& one) {
    if (&one == newest_ || !one.is_in_) return;
    unlink(one);
    link(one);
  }
  void remove(Budgeted& one);
  // The most bytes they may take.
  void set_limit(std::size_t bytes);
  std::size_t bytes() const { return bytes_; }
  std::size_t count() const { return count_; }

 private:
  void link(Budgeted& one);
  void unlink(Budgeted& one);
  void settle();

  Budgeted *newest_ = nullptr, *oldest_ = nullptr;
  std::size_t bytes_ = 0, count_ = 0;
  std::size_t limit_ = std::size_t{256} << 20;  // until Python sets it
};

// The one of the process.
Budget& budget();

}  // namespace lamella::program

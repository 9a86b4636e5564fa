// SPDX-License-Identifier: Apache-2.0
// A list in the order of the last use, and the sum of its bytes.
#include "program/budget.h"

#include <utility>

namespace lamella::program {

Budgeted::~Budgeted() { budget().remove(*this); }

void Budget::add(Budgeted& one, std::size_t bytes) {
  one.bytes_ = bytes;
  one.is_in_ = true;
  link(one);
  bytes_ += bytes;
  ++count_;
  settle();
}

void Budget::remove(Budgeted& one) {
  if (!std::exchange(one.is_in_, false)) return;
  unlink(one);
  bytes_ -= one.bytes_;
  --count_;
}

void Budget::set_limit(std::size_t bytes) {
  limit_ = bytes;
  settle();
}

// Dropping frees arrays, which may run anything: this list is whole before each.
void Budget::settle() {
  while (bytes_ > limit_ && oldest_ != nullptr) {
    Budgeted& one = *oldest_;
    remove(one);
    one.drop();
  }
}

void Budget::link(Budgeted& one) {
  one.older_ = newest_;
  (newest_ != nullptr ? newest_->newer_ : oldest_) = &one;
  newest_ = &one;
}

void Budget::unlink(Budgeted& one) {
  (one.newer_ != nullptr ? one.newer_->older_ : newest_) = one.older_;
  (one.older_ != nullptr ? one.older_->newer_ : oldest_) = one.newer_;
  one.newer_ = one.older_ = nullptr;
}

Budget& budget() {
  // Never destroyed: what is in it may go later than any static object.
  static Budget* const one = new Budget;
  return *one;
}

}  // namespace lamella::program

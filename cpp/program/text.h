// SPDX-License-Identifier: Apache-2.0
// A program for any size of its free extents: recorded steps whose numbers are formulas.
//
// at() sets every number, checks the conditions and each step's arrays as the builder does, places the
// ranges and makes the steps. It needs no Python and no lock of the callers: who comes while another
// thread is making a program works on a copy of his own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "program/formulas.h"
#include "program/recording.h"

namespace lamella::program {

class Program;

// Where an extent shows: an axis of an input.
struct Axis {
  std::size_t input = 0, axis = 0;
};

class Text : public std::enable_shared_from_this<Text> {
 public:
  // Of 0 and of 1 NumPy's rules make other programs.
  static constexpr std::int64_t kLeastExtent = 2;

  // symbols: where each free extent shows, at least once. Throws std::invalid_argument unless the
  // formulas give, for the extents that the program was recorded with, the numbers that it has.
  Text(std::shared_ptr<const Recording> recorded, std::vector<std::vector<Axis>> symbols,
       std::vector<Condition> conditions);

  // The program for these extents, each at least 2. Throws std::invalid_argument where a condition does
  // not hold, a number or an array does not fit, or something else would have to be prepared;
  // std::bad_alloc where memory does not reach.
  std::shared_ptr<Program> at(std::span<const std::int64_t> extents) const;

  // What the program for these extents is made of.
  std::shared_ptr<const Recording> recorded_at(std::span<const std::int64_t> extents) const;

  const std::vector<std::vector<Axis>>& symbols() const { return symbols_; }
  std::size_t nbytes() const;

 private:
  // A copy of the recording whose numbers are set again and again.
  struct Working {
    template <class T>
    using Target = std::pair<T, FormulaNumber>;
    Recording recording;
    std::vector<std::vector<Target<steps::Number>>> numbers;  // by step
    std::vector<std::vector<Target<steps::Slot*>>> offsets;
    std::vector<std::int64_t> values;
    steps::ArrayList arrays;
  };
  std::unique_ptr<Working> copy() const;
  void set(Working& working, std::span<const std::int64_t> extents) const;

  const std::shared_ptr<const Recording> recorded_;
  const std::vector<std::vector<Axis>> symbols_;
  const std::vector<Condition> conditions_;
  mutable std::mutex mutex_;  // of what is kept to be set again
  mutable std::unique_ptr<Working> working_;
};

// The first step or number in which two programs differ; empty when there is none. Constants without
// version are compared by their contents.
std::string difference(const Recording& a, const Recording& b);
std::string difference(const Program& a, const Program& b);

}  // namespace lamella::program

// SPDX-License-Identifier: Apache-2.0
// Steps that read constants alone, and make one array of them: a mask on a weight, a folded norm.
//
// What they make is a prepared array (prepared.h), or what one is packed from. They were recorded as a
// program of their own, without inputs and with one output. Constants with a version are its sources, in
// their order; the others belong to it, and are part of its kind.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "program/recording.h"

namespace lamella::program {

class Folding {
 public:
  // kind: all that the steps do. Throws std::invalid_argument for a recording that is something else.
  Folding(std::string kind, Recording recording);

  const std::string& kind() const { return kind_; }
  std::size_t bytes() const { return bytes_; }
  // Whole cache lines.
  std::size_t arena_bytes() const { return arena_bytes_; }
  // Estimated single-thread time in nanoseconds.
  double cost() const;
  std::size_t nbytes() const;

  // Whether this constant is source number `index`; nothing is at numbers beyond the last one.
  bool reads(std::size_t index, const ConstantArray& constant) const;
  std::size_t source_count() const;

  // What run() is given.
  std::vector<std::byte*> buffers(std::span<std::byte* const> sources, std::byte* target,
                                  std::byte* arena) const;
  // Does this member's share of all steps; all members meet behind the last.
  void run(std::byte* const* buffers, const base::Team& team) const;

 private:
  const std::string kind_;
  std::size_t bytes_ = 0, arena_bytes_ = 0;
  std::vector<ConstantArray> constants_;
  std::vector<std::unique_ptr<steps::Step>> steps_;
};

}  // namespace lamella::program

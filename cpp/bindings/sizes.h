// SPDX-License-Identifier: Apache-2.0
// Sizes: the programs of one text, by its extents, made when a call first brings them.
//
// A text is shared by all calls that it answers, and so are its programs. They count to one budget
// (program/budget.h). Everything here expects the GIL to be held; make() lets it go while it makes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "program/budget.h"
#include "program/program.h"
#include "program/text.h"

namespace lamella::bindings {

// The extents of a text's symbols in one call; 0 where none has been met yet.
using Extents = std::array<std::int64_t, 4>;

class Sizes;

// The program of one size. Held by its table and by every call that runs it.
class Sized final : public program::Budgeted {
 public:
  Sized(Sizes& table, const Extents& extents, std::shared_ptr<const program::Program> program);
  ~Sized() override = default;

  // Null for a size that the text refuses.
  const program::Program* program() const { return program_.get(); }
  // Of each output.
  const std::vector<ArrayKey>& outputs() const { return outputs_; }
  // Also once it has gone from the table.
  bool is_of(const Sizes& table, const Extents& extents) const;

  void hold() { ++holders_; }
  void release() {
    if (--holders_ == 0) delete this;
  }

 private:
  friend class Sizes;
  void drop() override;

  int holders_ = 1;
  Sizes* table_;  // null once it has gone from there
  const std::shared_ptr<const program::Text> text_;
  const Extents extents_;
  const std::shared_ptr<const program::Program> program_;
  std::vector<ArrayKey> outputs_;
};

// A hold on one, or on nothing.
class HeldSized {
 public:
  HeldSized() = default;
  explicit HeldSized(Sized* sized) : sized_(sized) {
    if (sized_ != nullptr) sized_->hold();
  }
  HeldSized(HeldSized&& other) noexcept : sized_(std::exchange(other.sized_, nullptr)) {}
  HeldSized& operator=(HeldSized&& other) noexcept {
    std::swap(sized_, other.sized_);
    return *this;
  }
  ~HeldSized() {
    if (sized_ != nullptr) sized_->release();
  }
  Sized* get() const { return sized_; }
  bool is_of(const Sizes& table, const Extents& extents) const {
    return sized_ != nullptr && sized_->is_of(table, extents);
  }

 private:
  Sized* sized_ = nullptr;
};

class Sizes {
 public:
  // Those of a text, the same for all that ask while somebody has them.
  static std::shared_ptr<Sizes> of(std::shared_ptr<const program::Text> text);

  explicit Sizes(std::shared_ptr<const program::Text> text) : text_(std::move(text)) {}
  ~Sizes();
  Sizes(const Sizes&) = delete;
  Sizes& operator=(const Sizes&) = delete;

  // Null for a size that has not been met, or whose program has gone.
  Sized* find(const Extents& extents);
  // Makes it, without the GIL, unless another thread was faster. Throws std::bad_alloc.
  HeldSized make(const Extents& extents);

 private:
  friend class Sized;

  struct Hash {
    std::size_t operator()(const Extents& extents) const;
  };

  const std::shared_ptr<const program::Text> text_;
  std::unordered_map<Extents, Sized*, Hash> programs_;
};

}  // namespace lamella::bindings

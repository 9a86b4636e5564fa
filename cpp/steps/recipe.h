// SPDX-License-Identifier: Apache-2.0
// A step that is still to be made: the spec of some kind, and the slots of its arrays.
//
// A kind of step is a spec struct with its Slots (fields.h) and these functions, found by the spec's
// type:
//   std::unique_ptr<Step> make_step(table, spec, slots)   checks all that arrays() does not
//   void arrays(spec, slots, list)                        what the step touches
//   double work(spec)                  multiply-adds, or elements where there are none
//   std::size_t scratch_bytes(spec)    if it wants any; its slots then have a `scratch`
//   std::optional<Preparation> preparation(table, spec, slots)   likewise; `packed`
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/fields.h"
#include "steps/preparation.h"
#include "steps/step.h"

namespace lamella::steps {

class Recipe {
 public:
  virtual ~Recipe() = default;
  Recipe() = default;
  Recipe(const Recipe&) = delete;
  Recipe& operator=(const Recipe&) = delete;

  virtual void touched(ArrayList& list) const = 0;
  virtual std::optional<Preparation> prepared(const kernels::KernelTable& table) const = 0;
  // Where what was prepared lies.
  virtual void set_packed(Slot slot) = 0;
  virtual std::unique_ptr<Step> make(const kernels::KernelTable& table) const = 0;
};

template <class Spec>
class RecipeOf final : public Recipe {
 public:
  using Slots = typename Spec::Slots;
  RecipeOf(Spec spec, Slots slots) : spec_(std::move(spec)), slots_(std::move(slots)) {}

  void touched(ArrayList& list) const override { arrays(spec_, slots_, list); }
  std::optional<Preparation> prepared(const kernels::KernelTable& table) const override {
    if constexpr (requires(Slots slots) { slots.packed; }) {
      return preparation(table, spec_, slots_);
    } else {
      return std::nullopt;
    }
  }
  void set_packed(Slot slot) override {
    if constexpr (requires(Slots slots) { slots.packed; }) slots_.packed = slot;
  }
  std::unique_ptr<Step> make(const kernels::KernelTable& table) const override {
    return make_step(table, spec_, slots_);
  }

 private:
  Spec spec_;
  Slots slots_;
};

}  // namespace lamella::steps

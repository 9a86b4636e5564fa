// SPDX-License-Identifier: Apache-2.0
// A step that is still to be made: the spec of some kind, and the slots of its arrays.
//
// A kind of step is a spec struct with its Slots (fields.h) and these functions, found by the spec's
// type:
//   std::unique_ptr<Step> make_step(table, spec, slots)   checks all that arrays() does not
//   void arrays(spec, slots, list)                        what the step touches
//   double work(spec)                  multiply-adds, or elements where there are none
//   std::size_t scratch_bytes(spec)    if it wants any; its slots then have a `scratch`
//   std::optional<Preparation> preparation(table, spec, slots), bool same_preparation(spec, other)
//                                      if something is prepared for it; its slots have a `packed`
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/fields.h"
#include "steps/preparation.h"
#include "steps/step.h"

namespace lamella::steps {

class Recipe {
 public:
  virtual ~Recipe() = default;

  virtual const char* kind() const = 0;
  // Pointers into this one.
  virtual std::vector<Field> fields() = 0;
  virtual std::vector<Field> slots() = 0;
  virtual std::unique_ptr<Recipe> clone() const = 0;

  virtual double work() const = 0;
  virtual std::size_t scratch_bytes() const = 0;
  // `list` gets what the step touches, beside its scratch and what is prepared for it.
  virtual void touched(ArrayList& list) const = 0;
  virtual std::optional<Preparation> prepared(const kernels::KernelTable& table) const = 0;
  // Whether what is prepared for another of its kind serves this one, too.
  virtual bool same_preparation(const Recipe& other) const = 0;
  virtual void set_scratch(Slot slot) = 0;
  virtual void set_packed(Slot slot) = 0;
  virtual std::unique_ptr<Step> make(const kernels::KernelTable& table) const = 0;
  virtual std::size_t nbytes() = 0;

 protected:
  Recipe() = default;
  Recipe(const Recipe&) = default;
  Recipe& operator=(const Recipe&) = delete;
};

// A kind's own functions, where a member's name would hide them.
template <class Spec>
double work_of(const Spec& spec) {
  return work(spec);
}
template <class Spec>
std::size_t scratch_of(const Spec& spec) {
  return scratch_bytes(spec);
}
template <class Spec>
bool prepared_alike(const Spec& a, const Spec& b) {
  return same_preparation(a, b);
}

template <class Spec>
class RecipeOf final : public Recipe {
 public:
  using Slots = typename Spec::Slots;

  const char* kind() const override { return Spec::kKind; }
  std::vector<Field> fields() override {
    const auto all = spec.fields();
    return {all.begin(), all.end()};
  }
  std::vector<Field> slots() override {
    const auto all = places.fields();
    return {all.begin(), all.end()};
  }
  std::unique_ptr<Recipe> clone() const override { return std::make_unique<RecipeOf>(*this); }

  double work() const override { return work_of(spec); }
  std::size_t scratch_bytes() const override {
    if constexpr (kScratch) return scratch_of(spec);
    return 0;
  }
  void touched(ArrayList& list) const override { arrays(spec, places, list); }
  std::optional<Preparation> prepared(
      [[maybe_unused]] const kernels::KernelTable& table) const override {
    if constexpr (kPacked) return preparation(table, spec, places);
    return std::nullopt;
  }
  bool same_preparation([[maybe_unused]] const Recipe& other) const override {
    if constexpr (kPacked) {
      return prepared_alike(spec, static_cast<const RecipeOf&>(other).spec);
    }
    return true;
  }
  void set_scratch([[maybe_unused]] Slot slot) override {
    if constexpr (kScratch) places.scratch = slot;
  }
  void set_packed([[maybe_unused]] Slot slot) override {
    if constexpr (kPacked) places.packed = slot;
  }
  std::unique_ptr<Step> make(const kernels::KernelTable& table) const override {
    return make_step(table, spec, places);
  }

  std::size_t nbytes() override {
    return sizeof(*this) + heap_bytes(fields()) + heap_bytes(slots());
  }

  Spec spec;
  Slots places;

 private:
  static constexpr bool kScratch = requires(Slots one) { one.scratch; };
  static constexpr bool kPacked = requires(Slots one) { one.packed; };
};

}  // namespace lamella::steps

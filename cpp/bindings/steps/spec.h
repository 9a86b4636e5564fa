// SPDX-License-Identifier: Apache-2.0
// Specs of steps for Python: one keyword-only class for each kind, made of the kind's own fields.
//
// The fields (steps/fields.h) give the constructor, comparison, the listing, and the signatures in the
// stub, which are written into the docstrings that stubgen reads. A number may be an Extent: its
// formula is kept beside its value.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <pybind11/pybind11.h>

#include "program/recording.h"
#include "steps/recipe.h"

namespace lamella::bindings {

// What Python holds: the numbers of one step, without its arrays.
struct AnySpec {
  explicit AnySpec(std::unique_ptr<steps::Recipe> own) : recipe(std::move(own)) {}
  std::unique_ptr<steps::Recipe> recipe;
  std::vector<program::FreeNumber> free;
};

// The same, as a class of its own for each kind.
template <class Spec>
struct SpecOf final : AnySpec {
  SpecOf() : AnySpec(std::make_unique<steps::RecipeOf<Spec>>()) {}
};

// What each kind adds to the module, and to the signatures of ProgramBuilder.add.
struct SpecRegister {
  pybind11::module_& module;
  std::string add_signatures;
  int count = 0;
};

// Sets the spec's numbers. Throws TypeError for an argument that is missing, unknown or of another type.
void read_spec(AnySpec& spec, const pybind11::kwargs& given);
// ", name: type = default" of each.
std::string parameters_text(const std::vector<steps::Field>& fields);
void add_signature(SpecRegister& to, steps::Recipe& recipe);

// meaning: one sentence, that of the step. What more a kind can tell is added to the class.
template <class Spec>
pybind11::class_<SpecOf<Spec>, AnySpec> register_spec(SpecRegister& to, const char* meaning) {
  using Held = SpecOf<Spec>;
  pybind11::options options;
  options.disable_function_signatures();
  Held example;
  const std::string signature =
      "__init__(self, *" + parameters_text(example.recipe->fields()) + ") -> None\n";
  pybind11::class_<Held, AnySpec> made(to.module, Spec::kKind, meaning);
  made.def(pybind11::init([](const pybind11::kwargs& given) {
             auto held = std::make_unique<Held>();
             read_spec(*held, given);
             return held;
           }),
           signature.c_str());
  add_signature(to, *example.recipe);
  return made;
}

// One file for each family of steps.
void register_elementwise(SpecRegister& to);
void register_matmul(SpecRegister& to);
void register_reduce(SpecRegister& to);
void register_rows(SpecRegister& to);
void register_move(SpecRegister& to);
void register_gather(SpecRegister& to);
void register_order(SpecRegister& to);
void register_random(SpecRegister& to);
void register_loss(SpecRegister& to);
void register_optimizer(SpecRegister& to);
void register_quantize(SpecRegister& to);

}  // namespace lamella::bindings

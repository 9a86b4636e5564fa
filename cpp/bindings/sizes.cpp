// SPDX-License-Identifier: Apache-2.0
// Finding and making the program of a size.
#include "bindings/sizes.h"

#include <span>
#include <stdexcept>
#include <utility>

#include "base/allocation.h"
#include "bindings/register.h"
#include "bindings/unlocked.h"

namespace lamella::bindings {
namespace {

// Which have tables, so that all entries of a text find the same one.
std::unordered_map<const program::Text*, std::weak_ptr<Sizes>>& tables() {
  static auto* const all = new std::unordered_map<const program::Text*, std::weak_ptr<Sizes>>;
  return *all;
}

// Null where a condition does not hold or an array does not fit: Python compiles, or says why not.
std::shared_ptr<const program::Program> program_or_null(const program::Text& text,
                                                        const Extents& extents) {
  try {
    return text.at(std::span(extents).first(text.symbols().size()));
  } catch (const std::invalid_argument&) {
    return nullptr;
  } catch (const std::overflow_error&) {
    return nullptr;
  }
}

}  // namespace

Sized::Sized(Sizes& table, const Extents& extents, std::shared_ptr<const program::Program> program)
    : table_(&table), text_(table.text_), extents_(extents), program_(std::move(program)) {
  if (program_ == nullptr) return;
  for (const program::ArraySpec& spec : program_->outputs()) outputs_.emplace_back(spec);
}

bool Sized::is_of(const Sizes& table, const Extents& extents) const {
  return text_ == table.text_ && extents_ == extents;
}

void Sized::drop() {
  if (table_ != nullptr) std::exchange(table_, nullptr)->programs_.erase(extents_);
  release();
}

std::shared_ptr<Sizes> Sizes::of(std::shared_ptr<const program::Text> text) {
  const program::Text* const key = text.get();
  std::weak_ptr<Sizes>& known = tables()[key];
  std::shared_ptr<Sizes> found = known.lock();
  if (found == nullptr) {
    found = std::make_shared<Sizes>(std::move(text));
    known = found;
  }
  return found;
}

Sizes::~Sizes() {
  // Out of reach first: freeing runs the destructors of anything.
  tables().erase(text_.get());
  const auto programs = std::exchange(programs_, {});
  for (const auto& [extents, sized] : programs) {
    sized->table_ = nullptr;
    program::budget().remove(*sized);
  }
  for (const auto& [extents, sized] : programs) sized->release();
}

Sized* Sizes::find(const Extents& extents) {
  const auto found = programs_.find(extents);
  if (found == programs_.end()) return nullptr;
  program::budget().use(*found->second);
  return found->second;
}

HeldSized Sizes::make(const Extents& extents) {
  std::shared_ptr<const program::Program> program;
  without_gil([&] { program = program_or_null(*text_, extents); });
  if (Sized* other = find(extents)) return HeldSized(other);
  base::count_allocation();
  auto made = std::make_unique<Sized>(*this, extents, std::move(program));
  programs_.emplace(extents, made.get());
  HeldSized held(made.release());
  Sized& sized = *held.get();
  const std::size_t bytes = sized.program() == nullptr ? 0 : sized.program()->nbytes();
  program::budget().add(sized, sizeof(Sized) + bytes);
  return held;
}

std::size_t Sizes::Hash::operator()(const Extents& extents) const {
  std::uint64_t hash = 0;
  for (const std::int64_t extent : extents) {
    hash = (hash ^ static_cast<std::uint64_t>(extent)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return hash;
}

void register_sizes(pybind11::module_& module) {
  module.def(
      "set_sized_limit", [](std::size_t bytes) { program::budget().set_limit(bytes); },
      pybind11::arg("nbytes"), "The most bytes that programs made by texts may take together.");
  module.def(
      "sized_programs",
      [] { return std::pair(program::budget().count(), program::budget().bytes()); },
      "How many programs made by texts are kept, and their bytes.");
}

}  // namespace lamella::bindings

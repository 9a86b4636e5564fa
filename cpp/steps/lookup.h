// SPDX-License-Identifier: Apache-2.0
// Finds a kernel of a family by its name: used in constructors only, never while running.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "kernels/table.h"

namespace lamella::steps {

// The family's entry of that name, or null.
template <class Fn>
const kernels::Entry<Fn>* find_kernel(const kernels::Family<Fn>& family, std::string_view name) {
  for (std::size_t i = 0; i < family.count; ++i) {
    if (name == family.entries[i].name) return &family.entries[i];
  }
  return nullptr;
}

// The same, but a missing name throws std::invalid_argument "<step>: no kernel named '<name>'".
template <class Fn>
const kernels::Entry<Fn>& require_kernel(const kernels::Family<Fn>& family, std::string_view name,
                                         const char* step) {
  if (const auto* entry = find_kernel(family, name)) return *entry;
  throw std::invalid_argument(std::string(step) + ": no kernel named '" + std::string(name) + "'");
}

// The kernels of one element type.
template <class T>
const auto& typed_kernels(const kernels::KernelTable& table) {
#define LAMELLA_MEMBER_OF(tag, Type, name, kind)                                      \
  if constexpr (std::is_same_v<T, kernels::ElementType<kernels::Element::tag>::type>) \
    return (table.tag);
  LAMELLA_FLOATING(LAMELLA_MEMBER_OF)
  LAMELLA_INTEGERS(LAMELLA_MEMBER_OF)
  LAMELLA_TRUTH(LAMELLA_MEMBER_OF)
#undef LAMELLA_MEMBER_OF
}

// What moves and orders elements of one type.
template <class T>
const kernels::IndexingKernels<T>& indexing_kernels(const kernels::KernelTable& table) {
#define LAMELLA_MEMBER_OF(tag, Type, name, kind) \
  if constexpr (kernels::ElementOf<T>::value == kernels::Element::tag) return table.indexing->tag;
  LAMELLA_FLOATING(LAMELLA_MEMBER_OF)
  LAMELLA_INTEGERS(LAMELLA_MEMBER_OF)
  LAMELLA_TRUTH(LAMELLA_MEMBER_OF)
#undef LAMELLA_MEMBER_OF
}

// The kernels of products of these types of a, b and y.
template <class A, class B, class Y>
const kernels::GemmKernels<A, B, Y>& product_kernels(const kernels::KernelTable& table) {
  if constexpr (std::is_same_v<B, kernels::Bfloat16>) {
    return *table.product.f32_bf16;
  } else if constexpr (std::is_same_v<B, float>) {
    return *table.product.f32;
  } else {
    return *table.product.f64;
  }
}

}  // namespace lamella::steps

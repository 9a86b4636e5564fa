// SPDX-License-Identifier: Apache-2.0
// The type in which sums and products of T are formed: without a sign for integers, so that they
// wrap (two's complement), and T itself for floating types.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

using std::size_t;

template <class T>
struct WrappingOf {
  using type = std::uint32_t;  // of all integers that are no wider
};
template <>
struct WrappingOf<std::int64_t> {
  using type = std::uint64_t;
};
template <>
struct WrappingOf<float> {
  using type = float;
};
template <>
struct WrappingOf<double> {
  using type = double;
};
template <class T>
using Wrapping = typename WrappingOf<T>::type;

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE

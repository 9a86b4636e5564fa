// SPDX-License-Identifier: Apache-2.0
// Pieces put where an index says, y[index[j]] = op(y[index[j]], source[j]), in increasing j.
//
// A piece is a row of neighbouring elements, or one element with an index of its own. The order of
// the pieces that meet in one place is the order of j alone, so that who else writes where changes no
// bit. Sums and products of integers wrap. Extremes are NaN where either is.
#pragma once

#include "kernels/table.h"
#include "kernels/wrapping.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

struct Replacing {
  template <class T>
  static T of(T, T b) {
    return b;
  }
};
struct Adding {
  template <class T>
  static T of(T a, T b) {
    return static_cast<T>(static_cast<Wrapping<T>>(a) + static_cast<Wrapping<T>>(b));
  }
};
struct Multiplying {
  template <class T>
  static T of(T a, T b) {
    return static_cast<T>(static_cast<Wrapping<T>>(a) * static_cast<Wrapping<T>>(b));
  }
};
struct Larger {
  template <class T>
  static T of(T a, T b) {
    return a < b || b != b ? b : a;
  }
};
struct Smaller {
  template <class T>
  static T of(T a, T b) {
    return b < a || b != b ? b : a;
  }
};

// Calls body(piece of y, piece of source) for every index within the range that is asked for.
template <class T, class Body>
[[gnu::always_inline]] inline void each_piece(const ScatterArgs<T>& args, Body body) {
  const size_t rows = args.last - args.first;
  for (size_t j = 0; j < args.count; ++j) {
    const T* const source = args.source + j * args.source_step;
    for (size_t k = 0; k < args.inner; ++k) {
      // A negative index has become huge.
      const auto row = static_cast<size_t>(args.index[j * args.index_step + k]);
      if (row - args.first >= rows || row == args.skipped) continue;
      body(args.y + row * args.y_step + k * args.width, source + k * args.width);
    }
  }
}

template <class T, class Op>
void scatter(const ScatterArgs<T>& args) {
  if (args.fresh) {
    each_piece(args, [&](T* y, const T*) {
      for (size_t i = 0; i < args.width; ++i) y[i] = args.start;
    });
  }
  if (args.width == 1) {
    each_piece(args, [](T* y, const T* source) { *y = Op::of(*y, *source); });
    return;
  }
  each_piece(args, [width = args.width](T* __restrict y, const T* __restrict source) {
    for (size_t i = 0; i < width; ++i) y[i] = Op::of(y[i], source[i]);
  });
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE

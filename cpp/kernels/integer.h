// SPDX-License-Identifier: Apache-2.0
// Integers and truth values: arithmetic, bits, shifts, comparison, selection.
//
// Everything wraps modulo 2^bits, and no operand is out of range: division by zero gives 0, the least
// integer divided by -1 itself, a shift by as many bits as there are or more (a negative count is such
// a one) what is left after all bits are gone. A functor maps two numbers to one; the loops are plain,
// for the compiler to vectorise. A step of 0 stands for one value used for all.
#pragma once

#include "kernels/binary.h"
#include "kernels/element.h"
#include "kernels/table.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

template <class T>
inline constexpr bool kIsSigned = T(-1) < T(0);
template <class T>
inline constexpr T kLeastInteger = kIsSigned<T> ? T(std::uint64_t(1) << (8 * sizeof(T) - 1)) : T(0);

// Unsigned, so that overflow is defined, and as wide as int, so that products of narrow ones are.
template <size_t kBytes>
struct Modular {
  using type = std::uint32_t;
};
template <>
struct Modular<8> {
  using type = std::uint64_t;
};
template <class T>
using ModularOf = typename Modular<sizeof(T)>::type;

// ---- arithmetic
struct WrappedSum {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    return static_cast<T>(ModularOf<T>(a) + ModularOf<T>(b));
  }
};
struct WrappedDifference {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    return static_cast<T>(ModularOf<T>(a) - ModularOf<T>(b));
  }
};
struct WrappedProduct {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    return static_cast<T>(ModularOf<T>(a) * ModularOf<T>(b));
  }
};
struct LargerInteger {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    return a > b ? a : b;
  }
};
struct SmallerInteger {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    return a < b ? a : b;
  }
};

// The largest integer that is at most a / b.
struct FlooredQuotient {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    if (b == T(0)) return T(0);
    if constexpr (kIsSigned<T>) {
      if (b == T(-1)) return WrappedDifference::of(T(0), a);
      const T quotient = static_cast<T>(a / b), rest = static_cast<T>(a % b);
      return static_cast<T>(quotient - (rest != T(0) && (rest < T(0)) != (b < T(0)) ? 1 : 0));
    } else {
      return static_cast<T>(a / b);
    }
  }
};

// a - b floor(a / b), which has the sign of b; 0 for b = 0.
struct FlooredRemainder {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    if (b == T(0)) return T(0);
    if constexpr (kIsSigned<T>) {
      if (b == T(-1)) return T(0);
      const T rest = static_cast<T>(a % b);
      return static_cast<T>(rest != T(0) && (rest < T(0)) != (b < T(0)) ? rest + b : rest);
    } else {
      return static_cast<T>(a % b);
    }
  }
};

// By squaring. A negative exponent gives what is left of 1 / a^-b: 1 and -1 have one, others 0.
struct IntegerPower {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    if constexpr (kIsSigned<T>) {
      if (b < T(0)) return a == T(1) ? T(1) : a != T(-1) ? T(0) : (b & 1) != 0 ? T(-1) : T(1);
    }
    T power = T(1);
    for (T square = a, rest = b; rest != T(0); rest = static_cast<T>(rest >> 1)) {
      if ((rest & 1) != 0) power = WrappedProduct::of(power, square);
      square = WrappedProduct::of(square, square);
    }
    return power;
  }
};

// ---- bits
struct BitAnd {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    return static_cast<T>(a & b);
  }
};
struct BitOr {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct BitXor {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};

template <class T>
[[gnu::always_inline]] inline bool has_bit(T count) {
  return ModularOf<T>(count) < 8 * sizeof(T);
}
struct LeftShift {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    const ModularOf<T> within = has_bit(b) ? ModularOf<T>(b) : 0;
    return has_bit(b) ? static_cast<T>(ModularOf<T>(a) << within) : T(0);
  }
};
// The sign comes in from the left.
struct RightShift {
  template <class T>
  [[gnu::always_inline]] static T of(T a, T b) {
    const T rest = kIsSigned<T> && a < T(0) ? T(-1) : T(0);
    const ModularOf<T> within = has_bit(b) ? ModularOf<T>(b) : 0;
    return has_bit(b) ? static_cast<T>(a >> within) : rest;
  }
};

// ---- functions of one integer
struct Negative {
  template <class T>
  [[gnu::always_inline]] static T of(T a) {
    return WrappedDifference::of(T(0), a);
  }
};
struct Magnitude {
  template <class T>
  [[gnu::always_inline]] static T of(T a) {
    return a < T(0) ? WrappedDifference::of(T(0), a) : a;
  }
};
struct SignOfInteger {
  template <class T>
  [[gnu::always_inline]] static T of(T a) {
    return static_cast<T>((a > T(0) ? 1 : 0) - (a < T(0) ? 1 : 0));
  }
};
struct BitNot {
  template <class T>
  [[gnu::always_inline]] static T of(T a) {
    return static_cast<T>(~a);
  }
};
struct SquareOfInteger {
  template <class T>
  [[gnu::always_inline]] static T of(T a) {
    return WrappedProduct::of(a, a);
  }
};

// ---- truth values, which are 0 or 1
struct TruthAnd {
  [[gnu::always_inline]] static Truth of(Truth a, Truth b) {
    return Truth(std::uint8_t(a) & std::uint8_t(b));
  }
};
struct TruthOr {
  [[gnu::always_inline]] static Truth of(Truth a, Truth b) {
    return Truth(std::uint8_t(a) | std::uint8_t(b));
  }
};
struct TruthXor {
  [[gnu::always_inline]] static Truth of(Truth a, Truth b) {
    return Truth(std::uint8_t(a) ^ std::uint8_t(b));
  }
};
struct TruthNot {
  [[gnu::always_inline]] static Truth of(Truth a) { return Truth(std::uint8_t(a) ^ 1); }
};

// ---- comparison
struct IntegersEqual {
  template <class T>
  [[gnu::always_inline]] static bool of(T a, T b) {
    return a == b;
  }
};
struct IntegersDiffer {
  template <class T>
  [[gnu::always_inline]] static bool of(T a, T b) {
    return a != b;
  }
};
struct IntegersRise {
  template <class T>
  [[gnu::always_inline]] static bool of(T a, T b) {
    return a < b;
  }
};
struct IntegersRiseOrStay {
  template <class T>
  [[gnu::always_inline]] static bool of(T a, T b) {
    return a <= b;
  }
};

// ---- loops: y may be exactly an operand, which no iteration but its own then reads
template <class T, class F>
void each_integer(const T* x, T* y, size_t n, const T*) {
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) y[i] = F::of(x[i]);
}

// Operands that move, and one that stays at its value: a loop for each.
template <class T, class R, class F>
[[gnu::always_inline]] inline void pairs_of_integers(const T* a, ptrdiff_t a_step, const T* b,
                                                     ptrdiff_t b_step, R* y, size_t n) {
  if (n == 0) return;
  if (a_step != 0 && b_step != 0) {
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) y[i] = static_cast<R>(F::of(a[i], b[i]));
  } else if (a_step != 0) {
    const T right = *b;
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) y[i] = static_cast<R>(F::of(a[i], right));
  } else if (b_step != 0) {
    const T left = *a;
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) y[i] = static_cast<R>(F::of(left, b[i]));
  } else {
    const R value = static_cast<R>(F::of(*a, *b));
    for (size_t i = 0; i < n; ++i) y[i] = value;
  }
}

template <class T, class F>
void both_integers(const T* a, ptrdiff_t a_step, const T* b, ptrdiff_t b_step, T* y, size_t n) {
  pairs_of_integers<T, T, F>(a, a_step, b, b_step, y, n);
}

// One loop for all: for what is done one by one.
template <class T, class F>
void both_by_steps(const T* a, ptrdiff_t a_step, const T* b, ptrdiff_t b_step, T* y, size_t n) {
  for (size_t i = 0; i < n; ++i, a += a_step, b += b_step) y[i] = F::of(*a, *b);
}

template <class T, class F>
void compare_integers(const T* a, ptrdiff_t a_step, const T* b, ptrdiff_t b_step, std::uint8_t* y,
                      size_t n) {
  pairs_of_integers<T, std::uint8_t, F>(a, a_step, b, b_step, y, n);
}
// The same with the operands exchanged: a > b is b < a.
template <class T, class F>
void compare_exchanged(const T* a, ptrdiff_t a_step, const T* b, ptrdiff_t b_step, std::uint8_t* y,
                       size_t n) {
  compare_integers<T, F>(b, b_step, a, a_step, y, n);
}

// Of narrow elements, by the compiler.
template <class Bits>
[[gnu::always_inline]] inline void choose_narrow(const std::uint8_t* condition,
                                                 ptrdiff_t condition_step, const Bits* a,
                                                 ptrdiff_t a_step, const Bits* b, ptrdiff_t b_step,
                                                 Bits* y, size_t n) {
  if (n == 0) return;
  const Bits left = *a, right = *b;
  if (condition_step == 0) {
    const bool taken = *condition != 0;
    const Bits* const x = taken ? a : b;
    const ptrdiff_t step = taken ? a_step : b_step;
    for (size_t i = 0; i < n; ++i) y[i] = x[static_cast<ptrdiff_t>(i) * step];
  } else if (a_step != 0 && b_step != 0) {
    // Both are read, which lets the compiler take whole registers of them.
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) {
      const Bits p = a[i], q = b[i];
      y[i] = condition[i] != 0 ? p : q;
    }
  } else if (a_step != 0) {
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) {
      const Bits p = a[i];
      y[i] = condition[i] != 0 ? p : right;
    }
  } else if (b_step != 0) {
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) {
      const Bits q = b[i];
      y[i] = condition[i] != 0 ? left : q;
    }
  } else {
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) y[i] = condition[i] != 0 ? left : right;
  }
}

// What moves bits of so many bytes: of wide elements the registers of the floating type, which take
// bits as they are.
template <size_t kBytes>
struct Bits;
template <>
struct Bits<1> {
  using type = std::uint8_t;
};
template <>
struct Bits<2> {
  using type = std::uint16_t;
};
template <>
struct Bits<4> {
  using type = float;
};
template <>
struct Bits<8> {
  using type = double;
};

template <class T>
void choose_items(const std::uint8_t* condition, ptrdiff_t condition_step, const T* a,
                  ptrdiff_t a_step, const T* b, ptrdiff_t b_step, T* y, size_t n) {
  using Same = Bits<sizeof(T)>::type;
  const auto* const left = reinterpret_cast<const Same*>(a);
  const auto* const right = reinterpret_cast<const Same*>(b);
  auto* const result = reinterpret_cast<Same*>(y);
  if constexpr (sizeof(T) < sizeof(float)) {
    choose_narrow(condition, condition_step, left, a_step, right, b_step, result, n);
  } else {
    choose(condition, condition_step, left, a_step, right, b_step, result, n);
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE

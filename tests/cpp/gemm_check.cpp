// SPDX-License-Identifier: Apache-2.0
// Checks the product kernels and the matmul step against their definition, bit for bit.
//
// Every element is compared with a scalar loop (product_definition.h). Operands lie against unreadable
// pages, alternately at their end and at their start; y starts as NaN and lies in rows that are longer
// than n, whose rest must not change. Steps run with teams of 1 to 5, strided, broadcast and constant
// operands, and what they pack is unpacked again. Prints the first difference and exits with 1. With the
// argument `bfloat16` only products with such a b are checked.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "base/parallel.h"
#include "dispatch/cpu.h"
#include "kernels/table.h"
#include "product_definition.h"
#include "steps/lookup.h"
#include "steps/product/choose.h"
#include "steps/product/matmul.h"
#include "steps/reversible.h"

namespace {

using lamella::dispatch::IsaRow;
using lamella::kernels::Bfloat16;
using lamella::kernels::Form;
using lamella::kernels::GemmArgs;
using lamella::kernels::kPanel;
using product::Case;
using product::Fence;
using product::same;
using product::stored;
using std::ptrdiff_t;
using std::size_t;
using Sizes = std::initializer_list<size_t>;

[[noreturn]] void fail(const char* what, const char* isa, size_t m, size_t n, size_t k,
                       int variant) {
  std::printf("FAILED %s (%s): m=%zu n=%zu k=%zu variant=%d\n", what, isa, m, n, k, variant);
  std::exit(1);
}

template <class T>
void negate(const T* x, T* y, size_t n, const T*) {
  for (size_t i = 0; i < n; ++i) y[i] = -x[i];
}

// ---- kernels
// Variants: bit 0 a transposed, 1 b transposed, 2 b in place or, of fewer columns than a panel, in one
// all the same, 3 bias, 4 residual, 5 activation, 6 operands at the start of their room; with bits 7 and
// 8 both set scales and a bias by row.
template <class T, class B = T>
void check_kernel(const IsaRow& isa, const Case<T>& one, size_t m, size_t n, int variant) {
  static const Fence fences[7];
  constexpr bool kShort = std::is_same_v<B, Bfloat16>;
  const auto& kernels = lamella::steps::product_kernels<T, B, T>(isa.table());
  const size_t k = one.k, panels = (n + kPanel - 1) / kPanel, gap = 3;
  const bool at_end = (variant & 64) == 0, narrow = !kShort && n < kPanel && !(variant & 4);
  const bool b_rows = (variant & 2) == 0, in_place = !kShort && (variant & 4) && n >= kPanel;
  if (in_place && (b_rows || k == 1) && n % kPanel != 0) return;
  GemmArgs<T, B, T> args{};
  args.m = m;
  args.n = n;
  args.k = k;
  T* a = fences[0].place<T>(m * k, at_end);
  args.a_row = variant & 1 ? 1 : static_cast<ptrdiff_t>(k);
  args.a_k = variant & 1 ? static_cast<ptrdiff_t>(m) : 1;
  for (size_t i = 0; i < m; ++i) {
    for (size_t t = 0; t < k; ++t) {
      a[static_cast<ptrdiff_t>(i) * args.a_row + static_cast<ptrdiff_t>(t) * args.a_k] =
          one.a[i * k + t];
    }
  }
  args.a = a;
  B* b = fences[1].place<B>(n * k, at_end);
  const ptrdiff_t b_k = b_rows && !narrow ? static_cast<ptrdiff_t>(n) : 1;
  const ptrdiff_t b_n = b_rows && !narrow ? 1 : static_cast<ptrdiff_t>(k);
  for (size_t j = 0; j < n; ++j) {
    for (size_t t = 0; t < k; ++t) {
      b[static_cast<ptrdiff_t>(t) * b_k + static_cast<ptrdiff_t>(j) * b_n] =
          stored<B>(one.b[j * k + t]);
    }
  }
  args.b = b;
  args.b_k = b_k;
  args.b_panel = narrow ? b_n : b_n * static_cast<ptrdiff_t>(kPanel);
  if (!narrow && !in_place) {
    const size_t terms = kShort ? k + k % 2 : k;
    B* packed = fences[2].place<B>(panels * kPanel * terms, at_end);
    const size_t half = panels / 2;
    kernels.pack_b(b, b_k, b_n, k, n, half, panels, packed);
    kernels.pack_b(b, b_k, b_n, k, n, 0, half, packed);
    args.b = packed;
    args.b_k = kPanel;
    args.b_panel = static_cast<ptrdiff_t>(kPanel * terms);
  }
  const size_t y_count = (m - 1) * (n + gap) + n;
  const T nan = std::numeric_limits<T>::quiet_NaN();
  args.y = fences[3].place<T>(y_count, at_end);
  std::fill_n(args.y, y_count, nan);
  args.y_row = static_cast<ptrdiff_t>(n + gap);
  const bool rare = (variant & 384) == 384;
  if (variant & 8) {
    T* bias = fences[4].place<T>(rare ? m : n, at_end);
    std::copy_n((rare ? one.row_bias : one.bias).data(), rare ? m : n, bias);
    args.end.bias = {bias, rare ? 1 : 0, rare ? 0 : 1};
  }
  if (rare) {
    T* scale = fences[6].place<T>(n, at_end);
    std::copy_n(one.scale.data(), n, scale);
    args.end.scale = {scale, 0, 1};
  }
  if (variant & 16) {
    T* residual = fences[5].place<T>(m * n, at_end);
    for (size_t i = 0; i < m; ++i) {
      std::copy_n(one.residual.data() + i * one.columns, n, residual + i * n);
    }
    args.end.residual = residual;
    args.end.residual_row = static_cast<ptrdiff_t>(n);
  }
  if (variant & 32) args.end.activation = negate<T>;
  const Form form = kShort                     ? Form::pairs
                    : narrow                   ? Form::terms
                    : !in_place                ? Form::panels
                    : args.b_k == 1 && !b_rows ? Form::columns
                                               : Form::rows;
  const lamella::steps::ProductSizes sizes{m,   n,   k,         args.a_row, args.a_k,
                                           b_k, b_n, sizeof(T), false,      kShort};
  const auto way = lamella::steps::choose(form, sizes, kernels.facts);
  args.way = &way;
  kernels.multiply(args);
  for (size_t i = 0; i < m; ++i) {
    const T* y = args.y + i * (n + gap);
    for (size_t j = 0; j < n; ++j) {
      if (!same(y[j],
                one.result(i, j, narrow, variant & 8, variant & 16, variant & 32, rare, rare))) {
        fail("kernel", isa.name, m, n, one.k, variant);
      }
    }
    for (size_t j = n; j < n + gap && i + 1 < m; ++j) {
      if (!same(y[j], nan)) fail("kernel wrote between rows", isa.name, m, n, one.k, variant);
    }
  }
}

template <class T>
size_t check_kernels(const IsaRow& isa, std::mt19937& random) {
  size_t count = 0;
  for (const bool whole : {true, false}) {
    for (const size_t k : Sizes{1,  2,  3,  5,  7,  8,   9,   15,  16,  17,  24,  31,
                                32, 33, 39, 40, 64, 255, 256, 257, 300, 512, 513, 700}) {
      const Case<T> one(60, 150, k, whole, isa.table().fused_multiply_add, unsigned(k));
      for (size_t m = 1; m <= 40; ++m) {
        for (size_t n = 1; n <= 40; ++n) {
          check_kernel(isa, one, m, n, static_cast<int>(random() % 512));
          ++count;
        }
      }
      for (const size_t n : Sizes{16, 32, 48, 64, 65, 80, 96, 100, 112, 128, 144, 150}) {
        for (const size_t m : Sizes{1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 25, 47, 60}) {
          for (int repeat = 0; repeat < 4; ++repeat, ++count) {
            check_kernel(isa, one, m, n, static_cast<int>(random() % 512));
          }
        }
      }
    }
  }
  // More rows and columns than one block of the loops has.
  for (const size_t k : Sizes{3, 100, 257, 530}) {
    const Case<T> one(410, 1100, k, false, isa.table().fused_multiply_add, unsigned(k));
    for (int repeat = 0; repeat < 6; ++repeat, ++count) {
      const int variant = static_cast<int>(random() % 512);
      check_kernel(isa, one, 150 + random() % 160, 1030 + random() % 70, variant);
      check_kernel(isa, one, 150 + random() % 160, 1040, variant);
      check_kernel(isa, one, 150 + random() % 160, 1 + random() % 15, variant);
      // A last panel in narrow registers, and one register of columns in all.
      check_kernel(isa, one, 150 + random() % 260, 16 * (random() % 9) + 1 + random() % 8, variant);
      check_kernel(isa, one, 150 + random() % 260, 16, variant);
      // A wide row-major b where it lies, few rows.
      for (const size_t n : Sizes{528, 1040, 1088}) {
        check_kernel(isa, one, 1 + random() % 8, n, (variant & ~2) | 4);
      }
    }
  }
  // Superblocks: of few elements, of more rows and columns than sums wait for at a time, and swept.
  for (const size_t k : Sizes{4096, 4097, 8192, 8500, 12500}) {
    const Case<T> one(33, 70, k, false, isa.table().fused_multiply_add, unsigned(k));
    for (int repeat = 0; repeat < 60; ++repeat, ++count) {
      const int variant = static_cast<int>(random() % 512);
      check_kernel(isa, one, 1 + random() % 33, 1 + random() % 70, variant);
      check_kernel(isa, one, 1 + random() % 33, 1 + random() % 15, variant);
      check_kernel(isa, one, 1 + random() % 33, 16 * (1 + random() % 4), variant | 4);
    }
  }
  {
    const Case<T> wide(260, 304, 4100, false, isa.table().fused_multiply_add, 4100);
    for (const int form : {0, 1, 2, 3, 4, 5, 6, 7}) {
      check_kernel(isa, wide, 256 + random() % 5, form & 4 ? 304 : 290 + random() % 14,
                   form | static_cast<int>(random() % 64 * 8));
      check_kernel(isa, wide, 256 + random() % 5, 1 + random() % 15, form);
      ++count;
    }
    const size_t n = (1 << 23) / sizeof(T) / 4200 / kPanel * kPanel + kPanel;
    const Case<T> far(3, n, 4200, false, isa.table().fused_multiply_add, 4200);
    for (size_t m = 1; m <= 3; ++m, ++count) {
      check_kernel(isa, far, m, n, static_cast<int>((random() % 512 & ~size_t{2}) | 4));
    }
  }
  // A b too far for tiles (sweep.h), a little more than 8 MB, and about as many rows as are swept.
  for (const size_t k : Sizes{8, 263, 1033}) {
    const size_t n = ((1 << 23) / sizeof(T) / k / kPanel + 1) * kPanel;
    const Case<T> one(k < 1000 ? 9 : 26, n, k, false, isa.table().fused_multiply_add, unsigned(k));
    for (size_t m = 1; m <= one.rows; ++m, ++count) {
      check_kernel(isa, one, m, n, static_cast<int>((random() % 512 & ~size_t{2}) | 4));
    }
  }
  return count;
}

// Products with a b of bfloat16.
size_t check_pairs(const IsaRow& isa, std::mt19937& random) {
  size_t count = 0;
  for (const size_t k : Sizes{1, 2, 3, 8, 15, 64, 255, 256, 257, 511, 700, 4096, 4101, 8195}) {
    const bool fused = isa.table().fused_multiply_add;
    const Case<float> one(230, 120, k, false, fused, unsigned(k), true);
    for (int repeat = 0; repeat < (k > 4000 ? 60 : 300); ++repeat, ++count) {
      const size_t limit = repeat % 20 == 0 ? 230 : repeat % 3 == 0 ? 40 : 5;
      const size_t m = 1 + random() % limit, n = 1 + random() % (repeat % 2 == 0 ? 120 : 40);
      check_kernel<float, Bfloat16>(isa, one, m, n, static_cast<int>(random() % 512));
    }
  }
  const Case<float> wide(200, 1100, 300, false, isa.table().fused_multiply_add, 1, true);
  for (const size_t m : Sizes{1, 3, 200}) check_kernel<float, Bfloat16>(isa, wide, m, 1090, 8);
  return count;
}

// ---- steps
struct TeamRun {
  const lamella::steps::Step* step;
  const lamella::steps::Frame* frame;
};

void run_step(const lamella::steps::Step& step, const lamella::steps::Frame& frame, int members) {
  TeamRun run{&step, &frame};
  lamella::base::run_team(
      members,
      [](void* context, const lamella::base::Team& team) {
        const TeamRun& work = *static_cast<TeamRun*>(context);
        work.step->run(*work.frame, team);
      },
      &run);
}

// A product of random shape, strides and epilogue. Variants as above; bit 2 is a constant b, bits 7
// and 8 repeat a or b over the second batch dimension.
template <class T, class B = T>
void check_step(const IsaRow& isa, const Case<T>& one, size_t m, size_t n, size_t batch0,
                size_t batch1, int variant) {
  using lamella::steps::Slot;
  const size_t k = one.k, count = batch0 * batch1;
  const size_t a1 = variant & 128 ? 1 : batch1, b1 = variant & 256 ? 1 : batch1;
  // Element (i, j) of batch element (s, t) is that of row i + s + t and column j + s + 2 t.
  const auto row = [&](size_t s, size_t t, size_t i) { return i + s + (a1 > 1 ? t : 0); };
  const auto column = [&](size_t s, size_t t, size_t j) { return j + s + (b1 > 1 ? 2 * t : 0); };
  std::vector<T> a(batch0 * a1 * m * k + 1), y(count * m * n + 1);
  std::vector<B> b(batch0 * b1 * n * k + 1);
  lamella::steps::MatMulSpec spec;
  spec.dtype = sizeof(T) == 4 ? lamella::steps::DType::f32 : lamella::steps::DType::f64;
  spec.b_dtype = std::is_same_v<B, T> ? spec.dtype : lamella::steps::DType::bf16;
  spec.batch = {batch0, batch1};
  spec.m = m;
  spec.n = n;
  spec.k = k;
  const auto signed_size = [](size_t size) { return static_cast<ptrdiff_t>(size); };
  spec.a_row = variant & 1 ? 1 : signed_size(k);
  spec.a_k = variant & 1 ? signed_size(m) : 1;
  spec.a_batch = {signed_size(a1 * m * k), a1 > 1 ? signed_size(m * k) : 0};
  spec.b_k = variant & 2 ? 1 : signed_size(n);
  spec.b_col = variant & 2 ? signed_size(k) : 1;
  spec.b_batch = {signed_size(b1 * n * k), b1 > 1 ? signed_size(n * k) : 0};
  for (size_t s = 0; s < batch0; ++s) {
    for (size_t t = 0; t < batch1; ++t) {
      T* a_one = a.data() + s * a1 * m * k + (a1 > 1 ? t * m * k : 0);
      B* b_one = b.data() + s * b1 * n * k + (b1 > 1 ? t * n * k : 0);
      for (size_t x = 0; x < k; ++x) {
        for (size_t i = 0; i < m; ++i) {
          a_one[signed_size(i) * spec.a_row + signed_size(x) * spec.a_k] =
              one.a[row(s, t, i) * k + x];
        }
        for (size_t j = 0; j < n; ++j) {
          b_one[signed_size(x) * spec.b_k + signed_size(j) * spec.b_col] =
              stored<B>(one.b[column(s, t, j) * k + x]);
        }
      }
    }
  }
  std::vector<T> bias(n), residual(count * m * n + 1, T(1));
  for (size_t j = 0; j < n; ++j) bias[j] = static_cast<T>(j % 5);
  spec.b_constant = variant & 4;
  std::vector<T> packed(lamella::steps::packed_bytes(spec) / sizeof(T) + 1);
  std::vector<T> scratch(lamella::steps::scratch_bytes(spec) / sizeof(T) + 1);
  std::byte* buffers[] = {
      reinterpret_cast<std::byte*>(scratch.data()), reinterpret_cast<std::byte*>(a.data()),
      reinterpret_cast<std::byte*>(b.data()),       reinterpret_cast<std::byte*>(y.data()),
      reinterpret_cast<std::byte*>(packed.data()),  reinterpret_cast<std::byte*>(bias.data()),
      reinterpret_cast<std::byte*>(residual.data())};
  lamella::steps::Failure failure;
  const lamella::steps::Frame frame{buffers, &failure, 0, 0};
  lamella::steps::MatMulSpec::Slots slots;
  slots.scratch = Slot{0, 0};
  slots.a = Slot{1, 0};
  slots.b = Slot{2, 0};
  slots.y = Slot{3, 0};
  if (variant & 8) slots.bias = Slot{5, 0};
  if (variant & 16) slots.residual = Slot{6, 0};
  if (variant & 32) spec.activation = "neg";
  if (const auto ahead = lamella::steps::preparation(isa.table(), spec, slots)) {
    slots.packed = Slot{4, 0};
    std::byte* from_and_to[] = {buffers[2], buffers[4]};
    const lamella::steps::Frame packing{from_and_to, &failure, 0, 0};
    run_step(*ahead->step, packing, 1 + variant % 3);
    // What is packed gives the elements back.
    std::vector<B> again(b.size());
    from_and_to[0] = reinterpret_cast<std::byte*>(again.data());
    lamella::base::Team alone;
    dynamic_cast<const lamella::steps::Reversible&>(*ahead->step).undo(packing, alone);
    if (std::memcmp(again.data(), b.data(), (b.size() - 1) * sizeof(B)) != 0) {
      fail("unpacking", isa.name, m, n, k, variant);
    }
  }
  const auto step = lamella::steps::make_step(isa.table(), spec, slots);
  const bool lanes = n < kPanel && (k > 32 || k > 4 * n);
  for (const int members : {1, 2, 3, 5}) {
    std::fill(y.begin(), y.end(), std::numeric_limits<T>::quiet_NaN());
    run_step(*step, frame, members);
    for (size_t s = 0; s < batch0; ++s) {
      for (size_t t = 0; t < batch1; ++t) {
        for (size_t i = 0; i < m; ++i) {
          for (size_t j = 0; j < n; ++j) {
            T want = one.result(row(s, t, i), column(s, t, j), lanes, false, false, false);
            if (variant & 8) want = want + bias[j];
            if (variant & 16) want = want + T(1);
            if (variant & 32) want = -want;
            if (!same(y[((s * batch1 + t) * m + i) * n + j], want)) {
              fail("step", isa.name, m, n, k, variant);
            }
          }
        }
      }
    }
  }
}

template <class T, class B = T>
size_t check_steps(const IsaRow& isa, std::mt19937& random) {
  size_t count = 0;
  for (const size_t k : Sizes{0, 1, 3, 16, 33, 257, 520, 4200}) {
    const Case<T> one(140, 140, k, false, isa.table().fused_multiply_add, unsigned(k) + 1,
                      !std::is_same_v<B, T>);
    for (int repeat = 0; repeat < (k > 4000 ? 10 : 150); ++repeat, ++count) {
      const size_t limit = repeat % 4 == 0 ? 100 : 20;
      const size_t m = 1 + random() % limit, n = 1 + random() % (repeat % 3 == 0 ? 15 : 100);
      const size_t batch0 = repeat % 2 ? 1 : 1 + random() % 4, batch1 = 1 + random() % 9;
      check_step<T, B>(isa, one, m, n, batch0, batch1, static_cast<int>(random() % 512));
    }
  }
  return count;
}

}  // namespace

int main(int count, char** words) {
  const bool only_pairs = count > 1 && std::strcmp(words[1], "bfloat16") == 0;
  lamella::base::set_num_threads(5);
  for (const IsaRow& isa : lamella::dispatch::isa_rows()) {
    if (!isa.runs_here()) continue;
    std::mt19937 random(7);
    const size_t pairs = check_pairs(isa, random) + check_steps<float, Bfloat16>(isa, random);
    if (only_pairs) {
      std::printf("%s: %zu products of bfloat16 as defined\n", isa.name, pairs);
      continue;
    }
    const size_t kernels =
        pairs + check_kernels<float>(isa, random) + check_kernels<double>(isa, random);
    const size_t steps = check_steps<float>(isa, random) + check_steps<double>(isa, random);
    std::printf("%s: %zu kernel calls and %zu steps as defined\n", isa.name, kernels, steps);
  }
  return 0;
}

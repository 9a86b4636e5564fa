// SPDX-License-Identifier: Apache-2.0
// Checks the product kernels and the matmul step against their definition, bit for bit.
//
// Every element is compared with a scalar loop that follows the numerical contract (superblocks of
// 4096 terms of K-blocks of 256, one chain each; 16 lanes and a fixed tree for narrow ones), and, on
// whole numbers, with the exact sum. Operands lie against unreadable pages, alternately at their end and at their start; y starts as
// NaN and lies in rows that are longer than n, whose rest must not change. Steps run with teams of
// 1 to 5, strided, broadcast and constant operands. Prints the first difference and exits with 1.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <random>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "base/parallel.h"
#include "dispatch/cpu.h"
#include "kernels/table.h"
#include "steps/lookup.h"
#include "steps/matmul.h"

namespace {

using lamella::dispatch::IsaRow;
using lamella::kernels::GemmArgs;
using lamella::kernels::kBlockK;
using lamella::kernels::kPanel;
using lamella::kernels::kSuperblockK;
using std::ptrdiff_t;
using std::size_t;
using Sizes = std::initializer_list<size_t>;

[[noreturn]] void fail(const char* what, const char* isa, size_t m, size_t n, size_t k,
                       int variant) {
  std::printf("FAILED %s (%s): m=%zu n=%zu k=%zu variant=%d\n", what, isa, m, n, k, variant);
  std::exit(1);
}

// Room between two unreadable pages.
class Fence {
 public:
  Fence() {
    page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* all = mmap(nullptr, kBytes + 2 * page_, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) std::abort();
    room_ = static_cast<std::byte*>(all) + page_;
    if (mprotect(all, page_, PROT_NONE) != 0) std::abort();
    if (mprotect(room_ + kBytes, page_, PROT_NONE) != 0) std::abort();
  }
  template <class T>
  T* place(size_t count, bool at_end) const {
    if (count * sizeof(T) > kBytes) std::abort();
    return reinterpret_cast<T*>(at_end ? room_ + kBytes - count * sizeof(T) : room_);
  }

 private:
  static constexpr size_t kBytes = 1 << 24;
  size_t page_;
  std::byte* room_;
};

// ---- the definition
template <class T>
T chain(T a, T b, T sum, bool fused) {
  if (fused) return std::fma(a, b, sum);
  const T product = a * b;
  return sum + product;
}

template <class T>
T blocked_sum(const T* a, const T* b, size_t k, bool fused) {
  T total = 0;
  for (size_t first = 0; first < k; first += kBlockK) {
    T sum = 0;
    for (size_t i = first; i < std::min(first + kBlockK, k); ++i)
      sum = chain(a[i], b[i], sum, fused);
    total = first == 0 ? sum : total + sum;
  }
  return total;
}

template <class T>
T lane_sum(const T* a, const T* b, size_t k, bool fused) {
  T lanes[16] = {};
  for (size_t i = 0; i < k; ++i) lanes[i % 16] = chain(a[i], b[i], lanes[i % 16], fused);
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t l = 0; l < half; ++l) lanes[l] = lanes[l] + lanes[l + half];
  }
  return lanes[0];
}

// Superblocks, each by `one`, in order.
template <class T>
T superblock_sum(T (*one)(const T*, const T*, size_t, bool), const T* a, const T* b, size_t k,
                 bool fused) {
  T total = 0;
  for (size_t first = 0; first < k; first += kSuperblockK) {
    const T sum = one(a + first, b + first, std::min(k - first, kSuperblockK), fused);
    total = first == 0 ? sum : total + sum;
  }
  return total;
}

// a is (rows, k), b is (columns, k); want[form] is (rows, columns) for the two forms of sum, the second
// one, of narrow products and batches of them, for four panels of columns.
template <class T>
struct Case {
  size_t rows, columns, k;
  bool whole;
  std::vector<T> a, b, bias, residual, want[2];

  Case(size_t rows_, size_t columns_, size_t k_, bool whole_, bool fused, unsigned seed)
      : rows(rows_), columns(columns_), k(k_), whole(whole_) {
    std::mt19937 random(seed);
    const auto fill = [&](std::vector<T>& x, size_t count) {
      x.resize(count);
      for (T& value : x) {
        value = whole ? static_cast<T>(static_cast<int>(random() % 15) - 7)
                      : static_cast<T>(std::normal_distribution<double>()(random));
      }
    };
    fill(a, rows * k);
    fill(b, columns * k);
    fill(bias, columns);
    fill(residual, rows * columns);
    for (int form = 0; form < 2; ++form) {
      want[form].resize(rows * columns);
      for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < (form == 0 ? columns : std::min(columns, 4 * kPanel)); ++j) {
          want[form][i * columns + j] = sum(form, i, j, fused);
        }
      }
    }
  }

  T sum(int form, size_t i, size_t j, bool fused) const {
    const T* x = a.data() + i * k;
    const T* w = b.data() + j * k;
    if (!whole) return superblock_sum(form == 0 ? blocked_sum<T> : lane_sum<T>, x, w, k, fused);
    std::int64_t exact = 0;
    for (size_t t = 0; t < k; ++t) exact += static_cast<std::int64_t>(x[t] * w[t]);
    return static_cast<T>(exact);
  }

  // After the epilogue; `negate` stands for an activation.
  T result(size_t i, size_t j, bool lanes, bool with_bias, bool with_residual, bool negate) const {
    T y = want[lanes ? 1 : 0][i * columns + j];
    if (with_bias) y = y + bias[j];
    if (with_residual) y = y + residual[i * columns + j];
    return negate ? -y : y;
  }
};

template <class T>
bool same(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

template <class T>
void negate(const T* x, T* y, size_t n, const T*) {
  for (size_t i = 0; i < n; ++i) y[i] = -x[i];
}

// ---- kernels
// Variants: bit 0 a transposed, 1 b transposed, 2 b in place or, of fewer columns than a panel, in one
// all the same, 3 bias, 4 residual, 5 activation, 6 operands at the start of their room.
template <class T>
void check_kernel(const IsaRow& isa, const Case<T>& one, size_t m, size_t n, int variant) {
  static const Fence fences[6];
  const auto& kernels = *lamella::steps::typed_kernels<T>(*isa.table).gemm;
  const size_t k = one.k, panels = (n + kPanel - 1) / kPanel, gap = 3;
  const bool at_end = (variant & 64) == 0, narrow = n < kPanel && !(variant & 4);
  const bool b_rows = (variant & 2) == 0, in_place = (variant & 4) && n >= kPanel;
  if (in_place && (b_rows || k == 1) && n % kPanel != 0) return;
  GemmArgs<T> args{};
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
  T* b = fences[1].place<T>(n * k, at_end);
  const ptrdiff_t b_k = b_rows && !narrow ? static_cast<ptrdiff_t>(n) : 1;
  const ptrdiff_t b_n = b_rows && !narrow ? 1 : static_cast<ptrdiff_t>(k);
  for (size_t j = 0; j < n; ++j) {
    for (size_t t = 0; t < k; ++t) {
      b[static_cast<ptrdiff_t>(t) * b_k + static_cast<ptrdiff_t>(j) * b_n] = one.b[j * k + t];
    }
  }
  args.b = b;
  args.b_k = b_k;
  args.b_panel = narrow ? b_n : b_n * static_cast<ptrdiff_t>(kPanel);
  if (!narrow && !in_place) {
    T* packed = fences[2].place<T>(panels * kPanel * k, at_end);
    const size_t half = panels / 2;
    kernels.pack_b(b, b_k, b_n, k, n, half, panels, packed);
    kernels.pack_b(b, b_k, b_n, k, n, 0, half, packed);
    args.b = packed;
    args.b_k = kPanel;
    args.b_panel = static_cast<ptrdiff_t>(kPanel * k);
  }
  const size_t y_count = (m - 1) * (n + gap) + n;
  const T nan = std::numeric_limits<T>::quiet_NaN();
  args.y = fences[3].place<T>(y_count, at_end);
  std::fill_n(args.y, y_count, nan);
  args.y_row = static_cast<ptrdiff_t>(n + gap);
  if (variant & 8) {
    T* bias = fences[4].place<T>(n, at_end);
    std::copy_n(one.bias.data(), n, bias);
    args.bias = bias;
  }
  if (variant & 16) {
    T* residual = fences[5].place<T>(m * n, at_end);
    for (size_t i = 0; i < m; ++i) {
      std::copy_n(one.residual.data() + i * one.columns, n, residual + i * n);
    }
    args.residual = residual;
    args.residual_row = static_cast<ptrdiff_t>(n);
  }
  if (variant & 32) args.activation = negate<T>;
  (narrow ? kernels.dot : kernels.gemm)(args);
  for (size_t i = 0; i < m; ++i) {
    const T* y = args.y + i * (n + gap);
    for (size_t j = 0; j < n; ++j) {
      if (!same(y[j], one.result(i, j, narrow, variant & 8, variant & 16, variant & 32))) {
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
      const Case<T> one(60, 150, k, whole, isa.table->fused_multiply_add, unsigned(k));
      for (size_t m = 1; m <= 40; ++m) {
        for (size_t n = 1; n <= 40; ++n) {
          check_kernel(isa, one, m, n, static_cast<int>(random() % 128));
          ++count;
        }
      }
      for (const size_t n : Sizes{16, 32, 48, 64, 65, 80, 96, 100, 112, 128, 144, 150}) {
        for (const size_t m : Sizes{1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 25, 47, 60}) {
          for (int repeat = 0; repeat < 4; ++repeat, ++count) {
            check_kernel(isa, one, m, n, static_cast<int>(random() % 128));
          }
        }
      }
    }
  }
  // More rows and columns than one block of the loops has.
  for (const size_t k : Sizes{3, 100, 257, 530}) {
    const Case<T> one(410, 1100, k, false, isa.table->fused_multiply_add, unsigned(k));
    for (int repeat = 0; repeat < 6; ++repeat, ++count) {
      const int variant = static_cast<int>(random() % 128);
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
    const Case<T> one(33, 70, k, false, isa.table->fused_multiply_add, unsigned(k));
    for (int repeat = 0; repeat < 60; ++repeat, ++count) {
      const int variant = static_cast<int>(random() % 128);
      check_kernel(isa, one, 1 + random() % 33, 1 + random() % 70, variant);
      check_kernel(isa, one, 1 + random() % 33, 1 + random() % 15, variant);
      check_kernel(isa, one, 1 + random() % 33, 16 * (1 + random() % 4), variant | 4);
    }
  }
  {
    const Case<T> wide(260, 304, 4100, false, isa.table->fused_multiply_add, 4100);
    for (const int form : {0, 1, 2, 3, 4, 5, 6, 7}) {
      check_kernel(isa, wide, 256 + random() % 5, form & 4 ? 304 : 290 + random() % 14,
                   form | static_cast<int>(random() % 16 * 8));
      check_kernel(isa, wide, 256 + random() % 5, 1 + random() % 15, form);
      ++count;
    }
    const size_t n = (1 << 23) / sizeof(T) / 4200 / kPanel * kPanel + kPanel;
    const Case<T> far(3, n, 4200, false, isa.table->fused_multiply_add, 4200);
    for (size_t m = 1; m <= 3; ++m, ++count) {
      check_kernel(isa, far, m, n, static_cast<int>((random() % 128 & ~size_t{2}) | 4));
    }
  }
  // A b too far for tiles (sweep.h), a little more than 8 MB, and about as many rows as are swept.
  for (const size_t k : Sizes{8, 263, 1033}) {
    const size_t n = ((1 << 23) / sizeof(T) / k / kPanel + 1) * kPanel;
    const Case<T> one(k < 1000 ? 9 : 26, n, k, false, isa.table->fused_multiply_add, unsigned(k));
    for (size_t m = 1; m <= one.rows; ++m, ++count) {
      check_kernel(isa, one, m, n, static_cast<int>((random() % 128 & ~size_t{2}) | 4));
    }
  }
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
template <class T>
void check_step(const IsaRow& isa, const Case<T>& one, size_t m, size_t n, size_t batch0,
                size_t batch1, int variant) {
  using lamella::steps::Slot;
  const size_t k = one.k, count = batch0 * batch1;
  const size_t a1 = variant & 128 ? 1 : batch1, b1 = variant & 256 ? 1 : batch1;
  // Element (i, j) of batch element (s, t) is that of row i + s + t and column j + s + 2 t.
  const auto row = [&](size_t s, size_t t, size_t i) { return i + s + (a1 > 1 ? t : 0); };
  const auto column = [&](size_t s, size_t t, size_t j) { return j + s + (b1 > 1 ? 2 * t : 0); };
  std::vector<T> a(batch0 * a1 * m * k + 1), b(batch0 * b1 * n * k + 1), y(count * m * n + 1);
  lamella::steps::MatMulSpec spec;
  spec.dtype = sizeof(T) == 4 ? lamella::steps::DType::f32 : lamella::steps::DType::f64;
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
      T* b_one = b.data() + s * b1 * n * k + (b1 > 1 ? t * n * k : 0);
      for (size_t x = 0; x < k; ++x) {
        for (size_t i = 0; i < m; ++i) {
          a_one[signed_size(i) * spec.a_row + signed_size(x) * spec.a_k] =
              one.a[row(s, t, i) * k + x];
        }
        for (size_t j = 0; j < n; ++j) {
          b_one[signed_size(x) * spec.b_k + signed_size(j) * spec.b_col] =
              one.b[column(s, t, j) * k + x];
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
  if (const auto ahead = lamella::steps::preparation(*isa.table, spec, slots)) {
    slots.packed = Slot{4, 0};
    std::byte* from_and_to[] = {buffers[2], buffers[4]};
    const lamella::steps::Frame packing{from_and_to, &failure, 0, 0};
    run_step(*ahead->step, packing, 1 + variant % 3);
  }
  const auto step = lamella::steps::make_step(*isa.table, spec, slots);
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

template <class T>
size_t check_steps(const IsaRow& isa, std::mt19937& random) {
  size_t count = 0;
  for (const size_t k : Sizes{0, 1, 3, 16, 33, 257, 520, 4200}) {
    const Case<T> one(140, 140, k, false, isa.table->fused_multiply_add, unsigned(k) + 1);
    for (int repeat = 0; repeat < (k > 4000 ? 10 : 150); ++repeat, ++count) {
      const size_t limit = repeat % 4 == 0 ? 100 : 20;
      const size_t m = 1 + random() % limit, n = 1 + random() % (repeat % 3 == 0 ? 15 : 100);
      const size_t batch0 = repeat % 2 ? 1 : 1 + random() % 4, batch1 = 1 + random() % 9;
      check_step(isa, one, m, n, batch0, batch1, static_cast<int>(random() % 512));
    }
  }
  return count;
}

}  // namespace

int main() {
  lamella::base::set_num_threads(5);
  for (const IsaRow& isa : lamella::dispatch::isa_rows()) {
    if (!isa.runs_here()) continue;
    std::mt19937 random(7);
    const size_t kernels = check_kernels<float>(isa, random) + check_kernels<double>(isa, random);
    const size_t steps = check_steps<float>(isa, random) + check_steps<double>(isa, random);
    std::printf("%s: %zu kernel calls and %zu steps as defined\n", isa.name, kernels, steps);
  }
  return 0;
}

// SPDX-License-Identifier: Apache-2.0
// What gemm_check compares with: the definition of a product as scalar loops, and room for its operands.
//
// An element is the sum, in order, of superblocks of 4096 terms: of K-blocks of 256, one chain each, or of
// 16 lanes and a fixed tree. On whole numbers it is exact.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <type_traits>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "kernels/table.h"

namespace product {

using lamella::kernels::Bfloat16;
using lamella::kernels::kBlockK;
using lamella::kernels::kPanel;
using lamella::kernels::kSuperblockK;
using std::ptrdiff_t;
using std::size_t;

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

template <class T>
std::uint32_t upper_half(T x) {
  return std::bit_cast<std::uint32_t>(static_cast<float>(x)) >> 16;
}

template <class B, class T>
B stored(T x) {
  if constexpr (std::is_same_v<B, Bfloat16>)
    return {static_cast<std::uint16_t>(upper_half(x))};
  else
    return x;
}

// a is (rows, k), b is (columns, k); want[form] is (rows, columns) for the two forms of sum, the second
// one, of narrow products and batches of them, for four panels of columns.
template <class T>
struct Case {
  size_t rows, columns, k;
  bool whole;
  std::vector<T> a, b, bias, row_bias, scale, residual, want[2];

  // short_b: b's elements are those of bfloat16.
  Case(size_t rows_, size_t columns_, size_t k_, bool whole_, bool fused, unsigned seed,
       bool short_b = false)
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
    for (size_t i = 0; short_b && i < b.size(); ++i)
      b[i] = std::bit_cast<float>(upper_half(b[i]) << 16);
    fill(bias, columns);
    fill(row_bias, rows);
    fill(scale, columns);
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
  T result(size_t i, size_t j, bool lanes, bool with_bias, bool with_residual, bool negate,
           bool with_scale = false, bool bias_of_rows = false) const {
    T y = want[lanes ? 1 : 0][i * columns + j];
    if (with_scale) y = y * scale[j];
    if (with_bias) y = y + (bias_of_rows ? row_bias[i] : bias[j]);
    if (with_residual) y = y + residual[i * columns + j];
    return negate ? -y : y;
  }
};

template <class T>
bool same(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

}  // namespace product

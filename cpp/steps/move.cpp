// SPDX-License-Identifier: Apache-2.0
#include "steps/move.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "base/checked.h"
#include "steps/repeat.h"

namespace lamella::steps {

namespace {

// The two inner dimensions of a copy: element [r, c] goes from x + r * x_row + c * x_col to
// y + r * y_row + c * y_col. Strides count elements.
template <class T>
struct Plane {
  const T* x;
  T* y;
  std::size_t rows, cols;
  std::ptrdiff_t x_row, x_col, y_row, y_col;
};

template <class T>
void copy_runs(const Plane<T>& p) {
  for (std::size_t r = 0; r < p.rows; ++r) {
    const auto row = static_cast<std::ptrdiff_t>(r);
    std::memcpy(p.y + row * p.y_row, p.x + row * p.x_row, p.cols * sizeof(T));
  }
}

template <class T>
void repeat_values(const Plane<T>& p) {
  for (std::size_t r = 0; r < p.rows; ++r) {
    const auto row = static_cast<std::ptrdiff_t>(r);
    repeat(p.y + row * p.y_row, p.cols, p.x[row * p.x_row]);
  }
}

template <class T>
void copy_items(const Plane<T>& p) {
  for (std::size_t r = 0; r < p.rows; ++r) {
    const auto row = static_cast<std::ptrdiff_t>(r);
    const T* x = p.x + row * p.x_row;
    T* y = p.y + row * p.y_row;
    for (std::size_t c = 0; c < p.cols; ++c, x += p.x_col, y += p.y_col) *y = *x;
  }
}

// Elements to a cache line.
template <class T>
constexpr std::size_t kTile = 64 / sizeof(T);

// Transposes a small square of registers; the generic vectors become unpack instructions. Narrow items
// are moved one by one.
template <class T>
struct Square {
  static constexpr std::size_t size = 1;
  using Row = T;
  static void transpose(Row (&)[1]) {}
};

template <>
struct Square<std::uint32_t> {
  static constexpr std::size_t size = 4;
  using Row [[gnu::vector_size(16)]] = std::uint32_t;
  static void transpose(Row (&r)[4]) {
    const Row a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
    const Row b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    const Row c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
    const Row d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
  }
};

template <>
struct Square<std::uint64_t> {
  static constexpr std::size_t size = 2;
  using Row [[gnu::vector_size(16)]] = std::uint64_t;
  static void transpose(Row (&r)[2]) {
    const Row a = r[0], b = r[1];
    r[0] = __builtin_shufflevector(a, b, 0, 2);
    r[1] = __builtin_shufflevector(a, b, 1, 3);
  }
};

// One whole tile, by way of a buffer: every cache line of x and of y is touched once, which matters
// when the strides are powers of two and all lines of a tile fall into one cache set.
template <class T>
void transpose_tile(const T* x, std::ptrdiff_t x_col, T* y, std::ptrdiff_t y_row) {
  constexpr std::size_t kSize = kTile<T>, kSquare = Square<T>::size;
  alignas(64) T buffer[kSize][kSize];
  for (std::size_t c = 0; c < kSize; c += kSquare) {
    for (std::size_t r = 0; r < kSize; r += kSquare) {
      typename Square<T>::Row square[kSquare];
      for (std::size_t i = 0; i < kSquare; ++i) {
        std::memcpy(&square[i], x + static_cast<std::ptrdiff_t>(c + i) * x_col + r,
                    sizeof(square[i]));
      }
      Square<T>::transpose(square);
      for (std::size_t i = 0; i < kSquare; ++i) {
        std::memcpy(&buffer[r + i][c], &square[i], sizeof(square[i]));
      }
    }
  }
  for (std::size_t r = 0; r < kSize; ++r) {
    std::memcpy(y + static_cast<std::ptrdiff_t>(r) * y_row, buffer[r], sizeof(buffer[r]));
  }
}

// Rows that are walked before the next columns: four cache lines of x lie side by side, which the
// hardware prefetches, and as many lines of y.
template <class T>
constexpr std::size_t kBand = 4 * kTile<T>;

// x is contiguous along rows, y along columns.
template <class T>
void transpose_plane(const Plane<T>& p) {
  const std::size_t rows = p.rows / kTile<T> * kTile<T>, cols = p.cols / kTile<T> * kTile<T>;
  for (std::size_t band = 0; band < rows; band += kBand<T>) {
    const std::size_t band_end = std::min(rows, band + kBand<T>);
    for (std::size_t c = 0; c < cols; c += kTile<T>) {
      for (std::size_t r = band; r < band_end; r += kTile<T>) {
        transpose_tile(p.x + r + static_cast<std::ptrdiff_t>(c) * p.x_col, p.x_col,
                       p.y + static_cast<std::ptrdiff_t>(r) * p.y_row + c, p.y_row);
      }
    }
  }
  const auto first_row = static_cast<std::ptrdiff_t>(rows);
  const auto first_col = static_cast<std::ptrdiff_t>(cols);
  Plane<T> right = p, below = p;
  right.x += first_col * p.x_col;
  right.y += first_col;
  right.rows = rows;
  right.cols = p.cols - cols;
  copy_items(right);
  below.x += first_row;
  below.y += first_row * p.y_row;
  below.rows = p.rows - rows;
  copy_items(below);
}

struct Dimension {
  std::size_t size;
  std::ptrdiff_t x, y;
};

// Dimensions without ones, from y's farthest stride to its nearest, merged where both allow it.
std::vector<Dimension> order_dimensions(const CopySpec& spec) {
  reach(spec.shape, spec.x_strides);
  reach(spec.shape, spec.y_strides);
  std::vector<Dimension> all;
  for (std::size_t d = 0; d < spec.shape.size(); ++d) {
    if (spec.shape[d] != 1) all.push_back({spec.shape[d], spec.x_strides[d], spec.y_strides[d]});
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Dimension& a, const Dimension& b) { return a.y > b.y; });
  std::size_t written = 1;
  for (std::size_t d = all.size(); d-- > 0;) {
    if (all[d].y < 0 || static_cast<std::size_t>(all[d].y) < written) {
      throw std::invalid_argument("copy: the strides of y reach an element twice or go backwards");
    }
    written = base::checked_mul(static_cast<std::size_t>(all[d].y), all[d].size);
  }
  std::vector<Dimension> merged;
  for (const Dimension& inner : all) {
    const auto size = static_cast<std::ptrdiff_t>(inner.size);
    if (!merged.empty() && merged.back().x == inner.x * size && merged.back().y == inner.y * size) {
      merged.back() = {merged.back().size * inner.size, inner.x, inner.y};
    } else {
      merged.push_back(inner);
    }
  }
  return merged;
}

template <class T>
class Copy final : public Step {
 public:
  Copy(const CopySpec& spec, const CopySpec::Slots& slots) : x_(slots.x), y_(slots.y) {
    const std::size_t count = element_count(spec.shape);
    if (count == 0) return;
    std::vector<Dimension> dimensions = order_dimensions(spec);
    if (dimensions.size() > kMaxRank) {
      throw std::invalid_argument("copy: more than " + std::to_string(kMaxRank) +
                                  " dimensions that cannot be merged");
    }
    choose_plane(dimensions);
    outer_ = std::move(dimensions);
    // Shares are planes or bands of rows of about 32 KB, whole tiles where there are tiles.
    const std::size_t band = std::max<std::size_t>(1, 32768 / (col_.size * sizeof(T)));
    band_ = kernel_ == transpose_plane<T> ? kBand<T> * ((band + kBand<T> - 1) / kBand<T>) : band;
    bands_ = (row_.size + band_ - 1) / band_;
    units_ = count / row_.size / col_.size * bands_;
    cost_ = 20.0 + static_cast<double>(count) * item_cost_;
  }

  void run(const Frame& frame, const base::Team& team) const override {
    if (units_ == 0) return;
    // One long run is cut itself.
    const bool single = units_ == 1 && row_.size == 1;
    const auto columns = single ? team.share(col_.size, kTile<T>) : base::Team::Range{0, col_.size};
    const auto units = single ? base::Team::Range{0, 1} : team.share(units_);
    for (std::size_t unit = units.begin; unit < units.end; ++unit) {
      std::ptrdiff_t x = static_cast<std::ptrdiff_t>(columns.begin) * col_.x;
      std::ptrdiff_t y = static_cast<std::ptrdiff_t>(columns.begin) * col_.y;
      std::size_t rest = unit / bands_;
      for (std::size_t d = outer_.size(); d-- > 0; rest /= outer_[d].size) {
        const auto index = static_cast<std::ptrdiff_t>(rest % outer_[d].size);
        x += index * outer_[d].x;
        y += index * outer_[d].y;
      }
      const std::size_t first = unit % bands_ * band_;
      x += static_cast<std::ptrdiff_t>(first) * row_.x;
      y += static_cast<std::ptrdiff_t>(first) * row_.y;
      kernel_({frame.at<T>(x_) + x, frame.at<T>(y_) + y, std::min(band_, row_.size - first),
               columns.end - columns.begin, row_.x, col_.x, row_.y, col_.y});
    }
  }
  double cost() const override { return cost_; }
  const char* name() const override { return "copy"; }
  std::size_t nbytes() const override { return sizeof(*this) + heap_of(outer_); }

 private:
  // Takes the plane's two dimensions out of the list and chooses how it is copied. The costs are
  // nanoseconds per element in the second-level cache.
  void choose_plane(std::vector<Dimension>& dimensions) {
    if (!dimensions.empty()) {
      col_ = dimensions.back();
      dimensions.pop_back();
    }
    const auto along_x = std::find_if(dimensions.begin(), dimensions.end(),
                                      [](const Dimension& d) { return d.x == 1; });
    if (col_.y == 1 && col_.x != 0 && col_.x != 1 && along_x != dimensions.end()) {
      row_ = *along_x;
      dimensions.erase(along_x);
      kernel_ = transpose_plane<T>;
      item_cost_ = 0.3;
      return;
    }
    if (!dimensions.empty()) {
      row_ = dimensions.back();
      dimensions.pop_back();
    }
    if (col_.y != 1) return;
    // Below a cache line the calls cost more than the moves.
    if (col_.x == 1 && col_.size >= kTile<T>) {
      kernel_ = copy_runs<T>;
      item_cost_ = 0.02 * sizeof(T);
    } else if (col_.x == 0) {
      kernel_ = repeat_values<T>;
      item_cost_ = 0.02 * sizeof(T);
    }
  }

  Slot x_, y_;
  std::vector<Dimension> outer_;
  Dimension row_{1, 0, 0}, col_{1, 1, 1};
  void (*kernel_)(const Plane<T>&) = copy_items<T>;
  double item_cost_ = 0.5;
  std::size_t band_ = 1, bands_ = 1, units_ = 0;
  double cost_ = 20.0;
};

template <class T>
class Fill final : public Step {
 public:
  Fill(const FillSpec& spec, Slot y, T value) : y_(y), count_(spec.count), value_(value) {
    base::checked_mul(spec.count, sizeof(T));
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(count_, kTile<T>);
    repeat(frame.at<T>(y_) + begin, end - begin, value_);
  }
  double cost() const override {
    return 20.0 + 0.02 * static_cast<double>(sizeof(T)) * static_cast<double>(count_);
  }
  const char* name() const override { return "fill"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  Slot y_;
  std::size_t count_;
  T value_;
};

// use(tag) for an unsigned integer of the size of the items.
template <class Use>
auto with_item(const CopySpec& spec, const Use& use) {
  switch (spec.item_bytes) {
    case 1:
      return use(std::type_identity<std::uint8_t>{});
    case 2:
      return use(std::type_identity<std::uint16_t>{});
    case 4:
      return use(std::type_identity<std::uint32_t>{});
    case 8:
      return use(std::type_identity<std::uint64_t>{});
    default:
      throw std::invalid_argument("copy: item_bytes must be 1, 2, 4 or 8; got " +
                                  std::to_string(spec.item_bytes));
  }
}

// The number as T, where that is exact (rounded, if T is floating).
template <class T>
std::optional<T> held_by(double value) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(value);
  } else if constexpr (std::is_same_v<T, kernels::Truth>) {
    if (value != 0.0 && value != 1.0) return std::nullopt;
    return static_cast<T>(value);
  } else {
    // The bound is a power of two, and therefore exact.
    const double bound = std::ldexp(1.0, std::numeric_limits<T>::digits);
    const double lowest = std::is_signed_v<T> ? -bound : 0.0;
    if (std::trunc(value) != value || value < lowest || value >= bound) return std::nullopt;
    return static_cast<T>(value);
  }
}

}  // namespace

std::unique_ptr<Step> make_step(const kernels::KernelTable&, const CopySpec& spec,
                                const CopySpec::Slots& slots) {
  return with_item(spec, [&](auto tag) -> std::unique_ptr<Step> {
    base::checked_mul(element_count(spec.shape), spec.item_bytes);
    return std::make_unique<Copy<typename decltype(tag)::type>>(spec, slots);
  });
}

void arrays(const CopySpec& spec, const CopySpec::Slots& slots, ArrayList& list) {
  with_item(spec, [&](auto) {
    list = {strided(slots.x, spec.shape, spec.x_strides, spec.item_bytes),
            strided(slots.y, spec.shape, spec.y_strides, spec.item_bytes, Use::written)};
  });
}

double work(const CopySpec& spec) { return static_cast<double>(element_count(spec.shape)); }

std::unique_ptr<Step> make_step(const kernels::KernelTable&, const FillSpec& spec,
                                const FillSpec::Slots& slots) {
  return with_type(spec.dtype, "fill", [&](auto tag) -> std::unique_ptr<Step> {
    using T = typename decltype(tag)::type;
    const std::optional<T> value = held_by<T>(spec.value);
    if (!value) {
      throw std::invalid_argument("fill: " + std::to_string(spec.value) + " is no " +
                                  dtype_name(spec.dtype));
    }
    return std::make_unique<Fill<T>>(spec, slots.y, *value);
  });
}

void arrays(const FillSpec& spec, const FillSpec::Slots& slots, ArrayList& list) {
  list = {contiguous(slots.y, spec.count, item_bytes(spec.dtype), Use::written)};
}

double work(const FillSpec& spec) { return static_cast<double>(spec.count); }

}  // namespace lamella::steps

// SPDX-License-Identifier: Apache-2.0
#include "steps/product/integer.h"

#include <algorithm>
#include <stdexcept>
#include <tuple>

#include "base/checked.h"
#include "steps/lookup.h"
#include "steps/product/part.h"
#include "steps/strides.h"

namespace lamella::steps {

namespace {

using kernels::kPanel;
using std::int32_t;
using std::ptrdiff_t;
using std::size_t;
using std::uint8_t;

constexpr size_t kLine = 64, kGroupBytes = 64;
// Rows of a share, and the most bytes of packed rows: a whole number of the kernels' tiles.
constexpr size_t kRowGrain = 12, kRowsBytes = size_t{4} << 20;
// Rows so far apart that more of them than a first-level cache has ways fall into one set.
constexpr ptrdiff_t kSetBytes = 4096;
constexpr size_t kFewRows = 6;
// The fewest terms of a group: sizes for it are the largest.
constexpr size_t kFewestTerms = 2;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(std::string("integer product: ") + message);
}

size_t count_of(size_t length, size_t unit) { return length / unit + (length % unit > 0 ? 1 : 0); }

size_t panel_bytes(size_t k, size_t terms) {
  return base::checked_mul(base::checked_add(count_of(k, terms), 1), kGroupBytes);
}

size_t panels_bytes(size_t k, size_t n, size_t terms) {
  return base::checked_mul(panel_bytes(k, terms), count_of(n, kPanel));
}

// A row of x as groups, in whole cache lines, no multiple of kSetBytes from the next one.
size_t row_bytes(size_t k, size_t terms) {
  const size_t bytes =
      base::checked_round_up(base::checked_mul(count_of(k, terms), sizeof(int32_t)), kLine);
  return bytes % size_t{kSetBytes} == 0 ? base::checked_add(bytes, kLine) : bytes;
}

// Rows that are packed at a time.
size_t rows_at_once(const IntegerProductSpec& spec, size_t terms) {
  const size_t fit = kRowsBytes / row_bytes(spec.k, terms) / kRowGrain * kRowGrain;
  return std::min(spec.m, std::max(fit, kRowGrain));
}

// What a run keeps: a copy of w, rows of x with their zero points and sums, zero points of columns.
struct Room {
  size_t rows, panels, packed_rows, row_zero, row_sums, column_zero, bytes;

  Room(const IntegerProductSpec& spec, size_t terms) {
    rows = rows_at_once(spec, terms);
    size_t end = 0;
    const auto take = [&end](size_t size) {
      const size_t start = end;
      end = base::checked_round_up(base::checked_add(end, size), kLine);
      return start;
    };
    panels = take(spec.w_constant ? 0 : panels_bytes(spec.k, spec.n, terms));
    packed_rows = take(base::checked_mul(rows, row_bytes(spec.k, terms)));
    row_zero = take(base::checked_mul(rows, sizeof(int32_t)));
    row_sums = take(base::checked_mul(rows, sizeof(int32_t)));
    column_zero = take(base::checked_mul(count_of(spec.n, kPanel), kPanel * sizeof(int32_t)));
    bytes = end;
  }
};

ptrdiff_t offset_in_batch(size_t index, const Shape& batch, const Strides& strides) {
  ptrdiff_t offset = 0;
  for (size_t d = batch.size(); d-- > 0 && index > 0;) {
    offset += static_cast<ptrdiff_t>(index % batch[d]) * strides[d];
    index /= batch[d];
  }
  return offset;
}

// The kernels take x as unsigned and w as signed: by so much a flipped byte is more.
constexpr int32_t x_shift(DType dtype) { return dtype == DType::i8 ? 128 : 0; }
constexpr int32_t w_shift(DType dtype) { return dtype == DType::u8 ? -128 : 0; }
constexpr uint8_t flip_of(int32_t shift) { return shift == 0 ? 0 : 128; }

int32_t number_at(const void* bytes, size_t i, DType dtype) {
  const uint8_t byte = static_cast<const uint8_t*>(bytes)[i];
  return dtype == DType::i8 ? static_cast<int32_t>(static_cast<std::int8_t>(byte)) : byte;
}

bool is_byte(DType dtype) { return dtype == DType::u8 || dtype == DType::i8; }

// One w into panels, shared by the team.
class Packing {
 public:
  Packing(const kernels::KernelTable& table, const IntegerProductSpec& spec)
      : kernels_(*table.integer_gemm),
        spec_{nullptr, spec.w_k, spec.w_col, flip_of(w_shift(spec.w)), spec.k, spec.n,
              0,       0,        nullptr} {}

  void run(const uint8_t* w, uint8_t* panels, const base::Team& team) const {
    kernels::IntegerPanels part = spec_;
    const auto [begin, end] = team.share(count_of(part.n, kPanel));
    part.b = w;
    part.panels = panels;
    part.first_panel = begin;
    part.last_panel = end;
    kernels_.pack_panels(part);
  }

  // Nanoseconds: 0.03 a byte of rows of 64 bytes, far more of what is gathered.
  double cost() const {
    return (spec_.b_n == 1 ? 0.05 : 0.3) * static_cast<double>(spec_.k) *
           static_cast<double>(spec_.n);
  }

 private:
  const kernels::IntegerGemmKernels& kernels_;
  kernels::IntegerPanels spec_;
};

class PackInteger final : public Step {
 public:
  PackInteger(const kernels::KernelTable& table, const IntegerProductSpec& spec)
      : packing_(table, spec) {}
  void run(const Frame& frame, const base::Team& team) const override {
    packing_.run(frame.at<uint8_t>(Slot{0, 0}), frame.at<uint8_t>(Slot{1, 0}), team);
  }
  double cost() const override { return packing_.cost(); }
  const char* name() const override { return "pack_integer"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  Packing packing_;
};

class IntegerProduct final : public Step {
 public:
  IntegerProduct(const kernels::KernelTable& table, const IntegerProductSpec& spec,
                 const IntegerProductSpec::Slots& slots);
  void run(const Frame& frame, const base::Team& team) const override;
  double cost() const override { return cost_; }
  const char* name() const override { return "integer_product"; }
  std::size_t nbytes() const override {
    return sizeof(*this) + heap_of(params_) + heap_of(spec_.batch) + heap_of(spec_.x_batch) +
           heap_of(spec_.w_batch);
  }

 private:
  // What the zero points of one run say.
  struct Zeros {
    int32_t row = 0;  // where they do not differ
    bool columns = false;
  };
  Zeros zeros(const Frame& frame) const;
  void fill_columns(const Frame& frame, int32_t* to, const base::Team& team) const;
  void prepare_rows(const Frame& frame, const uint8_t* x, size_t first, size_t rows, bool copied,
                    const base::Team& team) const;
  void multiply(const Frame& frame, size_t index, size_t first, size_t rows, const uint8_t* x,
                const uint8_t* panels, const Zeros& zeros, bool copied,
                const base::Team& team) const;
  template <class T>
  T* room(const Frame& frame, size_t offset) const {
    return frame.at<T>(Slot{slots_.scratch->buffer, slots_.scratch->offset + offset});
  }

  const kernels::IntegerGemmKernels& kernels_;
  IntegerProductSpec spec_;
  IntegerProductSpec::Slots slots_;
  Packing packing_;
  Room room_;
  kernels::UnaryFn<float> activation_ = nullptr;
  std::vector<float> params_;
  size_t count_, groups_, row_bytes_, panel_bytes_;
  bool in_place_;  // rows of x are groups as they lie
  double cost_;
};

IntegerProduct::IntegerProduct(const kernels::KernelTable& table, const IntegerProductSpec& spec,
                               const IntegerProductSpec::Slots& slots)
    : kernels_(*table.integer_gemm),
      spec_(spec),
      slots_(slots),
      packing_(table, spec),
      room_(spec, table.integer_gemm->terms),
      count_(element_count(spec.batch)),
      groups_(count_of(spec.k, table.integer_gemm->terms)),
      row_bytes_(row_bytes(spec.k, table.integer_gemm->terms)),
      panel_bytes_(panel_bytes(spec.k, table.integer_gemm->terms)) {
  require(is_byte(spec.x) && is_byte(spec.w), "x and w must be uint8 or int8");
  require(spec.x_batch.size() == spec.batch.size() && spec.w_batch.size() == spec.batch.size(),
          "x_batch and w_batch need one stride a batch dimension");
  require(!spec.w_constant || spec.batch.empty(), "a constant w is one matrix");
  require(!spec.w_constant || slots.packed, "a constant w needs the slot of its packed form");
  require(slots.scratch.has_value(), "no scratch");
  require(!(spec.scale_rows && spec.scale_columns), "a scale is of rows or of columns");
  require(slots.scale || !(slots.bias || !spec.activation.empty()),
          "a bias and an activation stand behind a scale");
  base::checked_mul(base::checked_mul(spec.m, count_), spec.n);
  in_place_ = kernels_.terms == sizeof(int32_t) && spec.x == DType::u8 && spec.x_k == 1 &&
              spec.k % sizeof(int32_t) == 0 && (spec.x_row % kSetBytes != 0 || spec.m <= kFewRows);
  const double m = static_cast<double>(spec.m), n = static_cast<double>(spec.n);
  const double k = static_cast<double>(spec.k), products = static_cast<double>(count_);
  // Nanoseconds: 80 % of the peak at 3 GHz or w streamed at 60 GB/s, 0.1 an element of y.
  const double rate =
      2.4 * static_cast<double>(table.vector_bytes) / 4.0 * static_cast<double>(kernels_.terms);
  cost_ = 20 + products * (std::max(m * n * k / rate, n * k / 60) + 0.1 * m * n + 0.05 * m * k);
  if (!spec.w_constant) cost_ += products * packing_.cost();
  if (!spec.activation.empty()) {
    const auto& entry =
        require_kernel(table.f32.elementwise->unary, spec.activation, "integer product");
    require(entry.params == spec.activation_params.size(),
            "the activation wants another number of parameters");
    for (const double value : spec.activation_params) {
      params_.push_back(static_cast<float>(value));
    }
    activation_ = entry.fn;
    cost_ += entry.cost * m * n * products;
  }
}

IntegerProduct::Zeros IntegerProduct::zeros(const Frame& frame) const {
  Zeros found{x_shift(spec_.x), false};
  if (slots_.x_zero && !spec_.x_zero_rows) {
    found.row += number_at(frame.at<uint8_t>(*slots_.x_zero), 0, spec_.x);
  }
  if (!slots_.w_zero) {
    found.columns = w_shift(spec_.w) != 0;
    return found;
  }
  const auto* const zero = frame.at<uint8_t>(*slots_.w_zero);
  for (size_t j = 0; j < (spec_.w_zero_columns ? spec_.n : 1); ++j) {
    found.columns = found.columns || number_at(zero, j, spec_.w) + w_shift(spec_.w) != 0;
  }
  return found;
}

void IntegerProduct::fill_columns(const Frame& frame, int32_t* to, const base::Team& team) const {
  const auto* const zero = slots_.w_zero ? frame.at<uint8_t>(*slots_.w_zero) : nullptr;
  const auto [begin, end] = team.share(count_of(spec_.n, kPanel) * kPanel, kPanel);
  for (size_t j = begin; j < end; ++j) {
    to[j] = w_shift(spec_.w);
    if (zero && j < spec_.n) to[j] += number_at(zero, spec_.w_zero_columns ? j : 0, spec_.w);
  }
}

void IntegerProduct::prepare_rows(const Frame& frame, const uint8_t* x, size_t first, size_t rows,
                                  bool copied, const base::Team& team) const {
  const auto [begin, end] = team.share(rows, kRowGrain);
  if (spec_.x_zero_rows) {
    const auto* const zero = frame.at<uint8_t>(*slots_.x_zero) + first;
    auto* const to = room<int32_t>(frame, room_.row_zero);
    for (size_t i = begin; i < end; ++i) to[i] = number_at(zero, i, spec_.x) + x_shift(spec_.x);
  }
  if (!copied) return;
  kernels_.pack_rows({.a = x + static_cast<ptrdiff_t>(begin) * spec_.x_row,
                      .a_row = spec_.x_row,
                      .a_k = spec_.k <= 1 ? 1 : spec_.x_k,
                      .flip = flip_of(x_shift(spec_.x)),
                      .m = end - begin,
                      .k = spec_.k,
                      .packed = room<uint8_t>(frame, room_.packed_rows) + begin * row_bytes_,
                      .packed_row = static_cast<ptrdiff_t>(row_bytes_),
                      .sums = room<int32_t>(frame, room_.row_sums) + begin});
}

void IntegerProduct::multiply(const Frame& frame, size_t index, size_t first, size_t rows,
                              const uint8_t* x, const uint8_t* panels, const Zeros& zeros,
                              bool copied, const base::Team& team) const {
  const Part part = part_of(team, rows, spec_.n, kRowGrain, 2 * kPanel, rows >= spec_.n);
  if (part.rows == 0 || part.columns == 0) return;
  kernels::IntegerGemmArgs args{};
  args.m = part.rows;
  args.n = part.columns;
  args.k = spec_.k;
  args.groups = groups_;
  args.a_row = copied ? static_cast<ptrdiff_t>(row_bytes_) : spec_.x_row;
  args.a = (copied ? room<uint8_t>(frame, room_.packed_rows) : x) +
           static_cast<ptrdiff_t>(part.row) * args.a_row;
  args.b = panels + part.column / kPanel * panel_bytes_;
  args.b_panel = static_cast<ptrdiff_t>(panel_bytes_);
  args.row_zero = &zeros.row;
  if (spec_.x_zero_rows) {
    args.row_zero = room<int32_t>(frame, room_.row_zero) + part.row;
    args.row_zero_step = 1;
  }
  if (zeros.columns) {
    args.column_zero = room<int32_t>(frame, room_.column_zero) + part.column;
    args.row_sums = room<int32_t>(frame, room_.row_sums) + part.row;
  }
  const size_t row = index * spec_.m + first + part.row, at = row * spec_.n + part.column;
  args.y_row = static_cast<ptrdiff_t>(spec_.n);
  if (slots_.scale) {
    args.y_float = frame.at<float>(slots_.y) + at;
    args.scale = frame.at<float>(*slots_.scale);
    // One a row of a product, the same for all of the batch.
    if (spec_.scale_rows) args.scale += first + part.row;
    if (spec_.scale_columns) args.scale += part.column;
    args.scale_row = spec_.scale_rows ? 1 : 0;
    args.scale_column = spec_.scale_columns;
    if (slots_.bias) args.bias = frame.at<float>(*slots_.bias) + part.column;
    args.activation = activation_;
    args.activation_params = params_.data();
  } else {
    args.y = frame.at<int32_t>(slots_.y) + at;
  }
  kernels_.gemm(args);
}

void IntegerProduct::run(const Frame& frame, const base::Team& team) const {
  if (count_ == 0 || spec_.m == 0 || spec_.n == 0) return;
  const Zeros found = zeros(frame);
  const bool copied = !in_place_ || found.columns;
  const uint8_t* panels = slots_.packed && spec_.w_constant ? frame.at<uint8_t>(*slots_.packed)
                                                            : room<uint8_t>(frame, room_.panels);
  const uint8_t* packed = nullptr;
  for (size_t index = 0; index < count_; ++index) {
    const auto* const x =
        frame.at<uint8_t>(slots_.x) + offset_in_batch(index, spec_.batch, spec_.x_batch);
    for (size_t first = 0; first < spec_.m; first += room_.rows) {
      const size_t rows = std::min(room_.rows, spec_.m - first);
      const uint8_t* from = x + static_cast<ptrdiff_t>(first) * spec_.x_row;
      // Nobody still reads what is written next.
      if (index + first > 0) team.barrier();
      if (first == 0 && !spec_.w_constant) {
        const auto* const w =
            frame.at<uint8_t>(slots_.w) + offset_in_batch(index, spec_.batch, spec_.w_batch);
        if (w != packed) packing_.run(packed = w, room<uint8_t>(frame, room_.panels), team);
      }
      if (index + first == 0 && found.columns) {
        fill_columns(frame, room<int32_t>(frame, room_.column_zero), team);
      }
      prepare_rows(frame, from, first, rows, copied, team);
      team.barrier();
      multiply(frame, index, first, rows, from, panels, found, copied, team);
    }
  }
}

}  // namespace

std::size_t scratch_bytes(const IntegerProductSpec& spec) { return Room(spec, kFewestTerms).bytes; }

std::optional<Preparation> preparation(const kernels::KernelTable& table,
                                       const IntegerProductSpec& spec,
                                       const IntegerProductSpec::Slots& slots) {
  if (!spec.w_constant) return std::nullopt;
  std::string kind = std::string("pack_integer ") + table.isa + " " + dtype_name(spec.w);
  const auto add = [&kind](auto number) { kind += " " + std::to_string(number); };
  add(spec.n);
  add(spec.k);
  add(spec.w_k);
  add(spec.w_col);
  return Preparation{kind, panels_bytes(spec.k, spec.n, table.integer_gemm->terms), slots.w,
                     std::make_shared<PackInteger>(table, spec)};
}

bool same_preparation(const IntegerProductSpec& a, const IntegerProductSpec& b) {
  const auto read = [](const IntegerProductSpec& s) {
    return std::tie(s.w, s.n, s.k, s.w_k, s.w_col, s.w_constant);
  };
  return (!a.w_constant && !b.w_constant) || read(a) == read(b);
}

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const IntegerProductSpec& spec,
                                const IntegerProductSpec::Slots& slots) {
  return std::make_unique<IntegerProduct>(table, spec, slots);
}

void arrays(const IntegerProductSpec& spec, const IntegerProductSpec::Slots& slots,
            ArrayList& list) {
  const auto matrices = [&](Slot slot, size_t rows, size_t columns, Strides strides, ptrdiff_t row,
                            ptrdiff_t column, Use use) {
    Shape shape = spec.batch;
    shape.insert(shape.end(), {rows, columns});
    strides.insert(strides.end(), {row, column});
    return strided(slot, shape, strides, 1, use);
  };
  list = {matrices(slots.x, spec.m, spec.k, spec.x_batch, spec.x_row, spec.x_k, Use::read),
          matrices(slots.w, spec.k, spec.n, spec.w_batch, spec.w_k, spec.w_col,
                   spec.w_constant ? Use::prepared : Use::read)};
  const auto read = [&](const std::optional<Slot>& slot, size_t count, size_t item) {
    if (slot) list.push_back(contiguous(*slot, count, item));
  };
  read(slots.x_zero, spec.x_zero_rows ? spec.m : 1, 1);
  read(slots.w_zero, spec.w_zero_columns ? spec.n : 1, 1);
  read(slots.scale, spec.scale_rows ? spec.m : spec.scale_columns ? spec.n : 1, sizeof(float));
  read(slots.bias, spec.n, sizeof(float));
  const size_t results = element_count({element_count(spec.batch), spec.m, spec.n});
  list.push_back(contiguous(slots.y, results, sizeof(int32_t), Use::written));
}

double work(const IntegerProductSpec& spec) {
  double products = static_cast<double>(spec.m) * static_cast<double>(spec.n);
  for (const size_t size : spec.batch) products *= static_cast<double>(size);
  return products * static_cast<double>(spec.k);
}

}  // namespace lamella::steps

// SPDX-License-Identifier: Apache-2.0
#include "steps/scatter.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string_view>

#include "base/checked.h"
#include "steps/lookup.h"

namespace lamella::steps {

namespace {

using std::size_t;

// Members' shares begin at so many bytes, so that no cache line has two writers.
constexpr size_t kLineBytes = 64;

// What a reduction starts from where x does not count.
template <class T>
T start_of(std::string_view reduce) {
  using Limits = std::numeric_limits<T>;
  if (reduce == "prod") return T(1);
  if (reduce == "amax") return Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
  if (reduce == "amin") return Limits::has_infinity ? Limits::infinity() : Limits::max();
  return T(0);
}
template <>
kernels::Truth start_of<kernels::Truth>(std::string_view reduce) {
  return static_cast<kernels::Truth>(reduce == "amin");
}

template <class T>
class Scatter final : public Step {
 public:
  Scatter(const kernels::KernelTable& table, const ScatterSpec& spec,
          const ScatterSpec::Slots& slots)
      : spec_(spec),
        slots_(slots),
        kernel_(require_kernel(indexing_kernels<T>(table).scatter, spec.reduce, "scatter")),
        start_(start_of<T>(spec.reduce)),
        // A sum that starts from zeros is the same with and without them.
        fresh_(!spec.include_self && spec.reduce != "replace" && (slots.x || start_ != T(0))) {
    const size_t row = base::checked_mul(spec.inner, spec.width);
    const size_t entry = base::checked_mul(base::checked_mul(spec.outer, row), sizeof(T));
    base::checked_mul(entry, spec.rows);
    base::checked_mul(entry, spec.count);
    base::checked_mul(base::checked_mul(base::checked_mul(spec.outer, spec.inner), spec.count),
                      sizeof(std::int64_t));
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const size_t row = spec_.inner * spec_.width;
    constexpr size_t kLine = kLineBytes / sizeof(T);
    if (team.size > 1 && row >= 2 * kLine * static_cast<size_t>(team.size)) {
      const Range columns = team.share(row, kLine);
      for (size_t outer = 0; outer < spec_.outer; ++outer) {
        put(frame, outer, {0, spec_.rows}, columns);
      }
      return;
    }
    const size_t grain = std::max<size_t>(kLine / std::max<size_t>(row, 1), 1);
    const auto [begin, end] = team.share(spec_.outer * spec_.rows, grain);
    for (size_t at = begin; at < end;) {
      const size_t outer = at / spec_.rows, first = at % spec_.rows;
      const size_t last = std::min(spec_.rows, first + (end - at));
      put(frame, outer, {first, last}, {0, row});
      at += last - first;
    }
  }

  // A random row costs what a gather's does; elements come from neighbouring lines.
  double cost() const override {
    const auto pieces = static_cast<double>(spec_.outer) * static_cast<double>(spec_.count) *
                        static_cast<double>(spec_.inner);
    const auto bytes = static_cast<double>(spec_.width * sizeof(T));
    const double piece = spec_.inner == 1 ? 10.0 + 0.1 * bytes : kernel_.cost;
    const double held = static_cast<double>(spec_.outer) * static_cast<double>(spec_.rows) *
                        static_cast<double>(spec_.inner) * bytes;
    return 20.0 + pieces * piece * (fresh_ ? 2.0 : 1.0) + (in_place() ? 0.0 : 0.05 * held);
  }
  const char* name() const override { return "scatter"; }
  std::size_t nbytes() const override { return sizeof(*this) + spec_.reduce.capacity(); }

 private:
  using Range = base::Team::Range;

  bool in_place() const { return slots_.x == slots_.y; }

  // Everything that goes into some rows and columns of one of outer.
  void put(const Frame& frame, size_t outer, Range rows, Range columns) const {
    const size_t row = spec_.inner * spec_.width, width = columns.end - columns.begin;
    if (width == 0) return;
    T* const y = frame.at<T>(slots_.y) + outer * spec_.rows * row + columns.begin;
    if (!in_place()) {
      const T* const x =
          slots_.x ? frame.at<T>(*slots_.x) + outer * spec_.rows * row + columns.begin : nullptr;
      // Whole rows are one piece of memory.
      const size_t pieces = width == row ? 1 : rows.end - rows.begin;
      const size_t length = width == row ? width * (rows.end - rows.begin) : width;
      for (size_t i = 0; i < pieces; ++i) {
        const size_t at = (rows.begin + i) * row;
        if (x != nullptr) std::copy_n(x + at, length, y + at);
        if (x == nullptr) std::fill_n(y + at, length, T(0));
      }
    }
    const bool whole_rows = spec_.inner == 1;
    kernels::ScatterArgs<T> args;
    args.index = frame.at<std::int64_t>(slots_.indices) +
                 (spec_.outer_index ? outer * spec_.count * spec_.inner : 0) +
                 (whole_rows ? 0 : columns.begin);
    args.index_step = spec_.inner;
    args.count = spec_.count;
    args.inner = whole_rows ? 1 : width;
    args.source = frame.at<T>(slots_.source) + outer * spec_.count * row + columns.begin;
    args.source_step = row;
    args.width = whole_rows ? width : 1;
    args.y = y;
    args.y_step = row;
    args.first = rows.begin;
    args.last = rows.end;
    args.skipped = static_cast<size_t>(spec_.skipped);
    args.fresh = fresh_;
    args.start = start_;
    kernel_.fn(args);
  }

  ScatterSpec spec_;
  ScatterSpec::Slots slots_;
  const kernels::Entry<kernels::ScatterFn<T>>& kernel_;
  T start_;
  bool fresh_;
};

void require_pieces(const ScatterSpec& spec) {
  if (spec.inner == 1 || spec.width == 1) return;
  throw std::invalid_argument("scatter: a piece is a row or an element of it; got inner=" +
                              std::to_string(spec.inner) + ", width=" + std::to_string(spec.width));
}

}  // namespace

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ScatterSpec& spec,
                                const ScatterSpec::Slots& slots) {
  require_pieces(spec);
  return with_type(spec.dtype, "scatter", [&](auto tag) -> std::unique_ptr<Step> {
    return std::make_unique<Scatter<typename decltype(tag)::type>>(table, spec, slots);
  });
}

void arrays(const ScatterSpec& spec, const ScatterSpec::Slots& slots, ArrayList& list) {
  const size_t item = item_bytes(spec.dtype);
  const size_t row = base::checked_mul(spec.inner, spec.width);
  const size_t entry = base::checked_mul(spec.outer, row);
  const size_t whole = base::checked_mul(entry, spec.rows);
  const size_t lists = spec.outer_index ? base::checked_mul(spec.outer, spec.inner) : spec.inner;
  list = {contiguous(slots.indices, base::checked_mul(lists, spec.count), sizeof(std::int64_t)),
          contiguous(slots.source, base::checked_mul(entry, spec.count), item),
          contiguous(slots.y, whole, item, Use::written)};
  if (slots.x) list.push_back(contiguous(*slots.x, whole, item, Use::replaced));
}

double work(const ScatterSpec& spec) {
  return static_cast<double>(spec.outer) * static_cast<double>(spec.count) *
         static_cast<double>(spec.inner) * static_cast<double>(spec.width);
}

}  // namespace lamella::steps

// SPDX-License-Identifier: Apache-2.0
#include "steps/sort.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "base/checked.h"
#include "steps/lookup.h"

namespace lamella::steps {

namespace {

using std::size_t;

// Rows that are sorted at the same time.
constexpr size_t kRooms = 16;

size_t room_bytes(const SortSpec& spec) {
  if (spec.cols <= kernels::kSortAlone) return 0;
  const size_t item = item_bytes(spec.dtype) == 8 ? 16 : 8;
  const size_t rows = base::checked_mul(base::checked_mul(spec.cols, 2), item);
  return base::checked_add(rows, kernels::kSortCounts + 63) / 64 * 64;
}

template <class T>
class Sort final : public Step {
 public:
  Sort(const kernels::KernelTable& table, const SortSpec& spec, const SortSpec::Slots& slots)
      : spec_(spec),
        slots_(slots),
        kernel_(indexing_kernels<T>(table).sort),
        room_(room_bytes(spec)),
        rooms_(std::max<size_t>(std::min(spec.rows, kRooms), 1)) {}

  void run(const Frame& frame, const base::Team& team) const override {
    const auto index = static_cast<size_t>(team.index);
    const size_t members = std::min(static_cast<size_t>(team.size), rooms_);
    if (index >= members) return;
    const size_t begin = spec_.rows * index / members, end = spec_.rows * (index + 1) / members;
    kernels::SortArgs<T> args;
    args.cols = spec_.cols;
    args.wanted = spec_.wanted;
    args.descending = spec_.descending;
    args.scratch = room_ > 0 ? frame.at<std::byte>(*slots_.scratch) + index * room_ : nullptr;
    for (size_t row = begin; row < end; ++row) {
      args.x = frame.at<T>(slots_.x) + row * spec_.cols;
      args.values = slots_.values ? frame.at<T>(*slots_.values) + row * spec_.wanted : nullptr;
      args.positions = slots_.positions
                           ? frame.at<std::int64_t>(*slots_.positions) + row * spec_.wanted
                           : nullptr;
      kernel_.fn(args);
    }
  }

  // Looking for a few of a row takes a quarter of what all of it takes.
  double cost() const override {
    const auto cols = static_cast<double>(spec_.cols), wanted = static_cast<double>(spec_.wanted);
    return 20.0 + static_cast<double>(spec_.rows) * kernel_.cost * (0.25 * cols + 0.75 * wanted);
  }
  const char* name() const override { return "sort"; }
  size_t nbytes() const override { return sizeof(*this); }

 private:
  SortSpec spec_;
  SortSpec::Slots slots_;
  const kernels::Entry<kernels::SortFn<T>>& kernel_;
  size_t room_, rooms_;
};

template <class T>
class Search final : public Step {
 public:
  Search(const kernels::KernelTable& table, const SearchSpec& spec, const SearchSpec::Slots& slots)
      : spec_(spec), slots_(slots), kernel_(indexing_kernels<T>(table).search) {}

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.rows * spec_.count, 64);
    kernels::SearchArgs<T> args;
    args.cols = spec_.cols;
    args.right = spec_.right;
    for (size_t at = begin; at < end; at += args.count) {
      const size_t row = spec_.shared ? 0 : at / spec_.count;
      args.row = frame.at<T>(slots_.sorted) + row * spec_.cols;
      args.x = frame.at<T>(slots_.x) + at;
      args.count = spec_.shared ? end - at : std::min(end, (row + 1) * spec_.count) - at;
      args.y = frame.at<std::int64_t>(slots_.y) + at;
      kernel_.fn(args);
    }
  }

  // The kernel's cost is that of one comparison of a binary search.
  double cost() const override {
    return 20.0 + work(spec_) * kernel_.cost * std::log2(2.0 + static_cast<double>(spec_.cols));
  }
  const char* name() const override { return "search"; }
  size_t nbytes() const override { return sizeof(*this); }

 private:
  SearchSpec spec_;
  SearchSpec::Slots slots_;
  const kernels::Entry<kernels::SearchFn<T>>& kernel_;
};

}  // namespace

size_t scratch_bytes(const SortSpec& spec) {
  return base::checked_mul(room_bytes(spec), std::max<size_t>(std::min(spec.rows, kRooms), 1));
}

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const SortSpec& spec,
                                const SortSpec::Slots& slots) {
  if (spec.cols >> 32 != 0 || spec.wanted > spec.cols) {
    throw std::invalid_argument(
        "sort: wanted <= cols < 2**32; got wanted=" + std::to_string(spec.wanted) +
        ", cols=" + std::to_string(spec.cols));
  }
  if (room_bytes(spec) > 0 && !slots.scratch) {
    throw std::invalid_argument("sort: rows of more than " + std::to_string(kernels::kSortAlone) +
                                " elements want scratch");
  }
  return with_type(spec.dtype, "sort", [&](auto tag) -> std::unique_ptr<Step> {
    return std::make_unique<Sort<typename decltype(tag)::type>>(table, spec, slots);
  });
}

void arrays(const SortSpec& spec, const SortSpec::Slots& slots, ArrayList& list) {
  const size_t item = item_bytes(spec.dtype);
  const size_t results = base::checked_mul(spec.rows, spec.wanted);
  list = {contiguous(slots.x, base::checked_mul(spec.rows, spec.cols), item)};
  if (slots.values) list.push_back(contiguous(*slots.values, results, item, Use::written));
  if (slots.positions) {
    list.push_back(contiguous(*slots.positions, results, sizeof(std::int64_t), Use::written));
  }
}

double work(const SortSpec& spec) {
  return static_cast<double>(spec.rows) * static_cast<double>(spec.cols);
}

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const SearchSpec& spec,
                                const SearchSpec::Slots& slots) {
  return with_type(spec.dtype, "search", [&](auto tag) -> std::unique_ptr<Step> {
    return std::make_unique<Search<typename decltype(tag)::type>>(table, spec, slots);
  });
}

void arrays(const SearchSpec& spec, const SearchSpec::Slots& slots, ArrayList& list) {
  const size_t item = item_bytes(spec.dtype);
  const size_t count = base::checked_mul(spec.rows, spec.count);
  list = {contiguous(slots.sorted, base::checked_mul(spec.shared ? 1 : spec.rows, spec.cols), item),
          contiguous(slots.x, count, item),
          contiguous(slots.y, count, sizeof(std::int64_t), Use::written)};
}

double work(const SearchSpec& spec) {
  return static_cast<double>(spec.rows) * static_cast<double>(spec.count);
}

}  // namespace lamella::steps

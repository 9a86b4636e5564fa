// SPDX-License-Identifier: Apache-2.0
#include "steps/gather.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "base/checked.h"
#include "steps/lookup.h"

namespace lamella::steps {

namespace {

// What is added to a negative index: the rows where it counts from the end. Without that it stays
// negative and is found to be outside, as one below -rows is.
std::int64_t shift(bool from_end, std::size_t rows) {
  return from_end ? static_cast<std::int64_t>(rows) : 0;
}

class Gather final : public Step {
 public:
  Gather(const GatherSpec& spec, const GatherSpec::Slots& slots) : spec_(spec), slots_(slots) {
    base::checked_mul(spec.rows, spec.row_bytes);
    base::checked_mul(spec.count, spec.row_bytes);
    base::checked_mul(spec.count, sizeof(std::int64_t));
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.count, 16);
    const auto* const indices = frame.at<std::int64_t>(slots_.indices);
    const std::byte* const table = frame.at<std::byte>(slots_.table);
    std::byte* const y = frame.at<std::byte>(slots_.y);
    const std::int64_t shifted = shift(spec_.from_end, spec_.rows);
    for (std::size_t i = begin; i < end; ++i) {
      const std::int64_t given = indices[i];
      const auto index = static_cast<std::size_t>(given < 0 ? given + shifted : given);
      if (index >= spec_.rows) {  // a negative one has become huge
        frame.failure->raise(given, -shifted, static_cast<std::int64_t>(spec_.rows));
        return;
      }
      std::memcpy(y + i * spec_.row_bytes, table + index * spec_.row_bytes, spec_.row_bytes);
    }
  }

  // A random row costs a cache miss or so (20 ns), a byte of it what a copy costs.
  double cost() const override {
    return 20.0 +
           static_cast<double>(spec_.count) * (20.0 + 0.05 * static_cast<double>(spec_.row_bytes));
  }
  const char* name() const override { return "gather"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  GatherSpec spec_;
  GatherSpec::Slots slots_;
};

class Index final : public Step {
 public:
  Index(const IndexSpec& spec, const IndexSpec::Slots& slots) : spec_(spec), slots_(slots) {
    base::checked_mul(spec.count, sizeof(std::int64_t));
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.count, 64);
    const auto* const indices = frame.at<std::int64_t>(slots_.indices);
    auto* const y = frame.at<std::int64_t>(slots_.y);
    const std::int64_t shifted = shift(spec_.from_end, spec_.rows);
    for (std::size_t i = begin; i < end; ++i) {
      const std::int64_t given = indices[i];
      const std::int64_t index = given < 0 ? given + shifted : given;
      if (static_cast<std::size_t>(index) >= spec_.rows) {  // a negative one has become huge
        frame.failure->raise(given, -shifted, static_cast<std::int64_t>(spec_.rows));
        return;
      }
      y[i] = index;
    }
  }

  double cost() const override { return 20.0 + static_cast<double>(spec_.count); }
  const char* name() const override { return "index"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  IndexSpec spec_;
  IndexSpec::Slots slots_;
};

// Members share the rows of y: each copies those of x, and then writes what is new among its own.
class IndexCopy final : public Step {
 public:
  IndexCopy(const IndexCopySpec& spec, const IndexCopySpec::Slots& slots)
      : spec_(spec), slots_(slots), in_place_(slots.x == slots.y) {
    const std::size_t entry = base::checked_mul(spec.outer, spec.row_bytes);
    base::checked_mul(entry, spec.rows);
    base::checked_mul(entry, spec.count);
    base::checked_mul(spec.count, sizeof(std::int64_t));
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const std::size_t bytes = spec_.row_bytes;
    const auto [begin, end] = team.share(spec_.outer * spec_.rows);
    if (begin == end || bytes == 0) return;
    const auto* const indices = frame.at<std::int64_t>(slots_.indices);
    const std::byte* const source = frame.at<std::byte>(slots_.source);
    std::byte* const y = frame.at<std::byte>(slots_.y);
    if (!in_place_) {
      const std::byte* const x = frame.at<std::byte>(slots_.x);
      std::memcpy(y + begin * bytes, x + begin * bytes, (end - begin) * bytes);
    }
    for (std::size_t outer = begin / spec_.rows; outer * spec_.rows < end; ++outer) {
      for (std::size_t i = 0; i < spec_.count; ++i) {
        const auto index = static_cast<std::size_t>(indices[i]);
        const std::size_t row = outer * spec_.rows + index;
        if (index >= spec_.rows || row < begin || row >= end) continue;
        std::memcpy(y + row * bytes, source + (outer * spec_.count + i) * bytes, bytes);
      }
    }
  }

  // As a gather, and a copy of x where y is not x.
  double cost() const override {
    const auto rows = static_cast<double>(spec_.outer * spec_.count);
    const auto bytes = static_cast<double>(spec_.row_bytes);
    const double copied = static_cast<double>(spec_.outer * spec_.rows) * bytes;
    return 20.0 + rows * (4.0 + 0.05 * bytes) + (in_place_ ? 0.0 : 0.05 * copied);
  }
  const char* name() const override { return "index_copy"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  IndexCopySpec spec_;
  IndexCopySpec::Slots slots_;
  bool in_place_;
};

// Columns that a member takes at least, so that no cache line has two writers.
constexpr std::size_t kColumnGrain = 16;

// Every element of y is a sum in increasing i, whoever computes it: members share the columns of a
// wide table and the rows of a narrow one, never the indices, which all of them read.
template <class T>
class ScatterAdd final : public Step {
 public:
  ScatterAdd(const kernels::KernelTable& table, const ScatterAddSpec& spec,
             const ScatterAddSpec::Slots& slots)
      : spec_(spec),
        slots_(slots),
        add_(require_kernel(typed_kernels<T>(table).elementwise->binary, "add", "scatter_add").fn) {
    base::checked_mul(base::checked_mul(spec.rows, spec.cols), sizeof(T));
    base::checked_mul(base::checked_mul(spec.count, spec.cols), sizeof(T));
    base::checked_mul(spec.count, sizeof(std::int64_t));
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const bool wide = spec_.cols >= 2 * kColumnGrain * static_cast<std::size_t>(team.size);
    const auto columns = wide ? team.share(spec_.cols, kColumnGrain) : whole(spec_.cols);
    const auto rows = wide ? whole(spec_.rows) : team.share(spec_.rows);
    const std::size_t width = columns.end - columns.begin;
    const auto* const indices = frame.at<std::int64_t>(slots_.indices);
    const T* const x = frame.at<T>(slots_.x) + columns.begin;
    T* const y = frame.at<T>(slots_.y) + columns.begin;
    for (std::size_t r = rows.begin; r < rows.end; ++r) {
      std::fill_n(y + r * spec_.cols, width, T(0));
    }
    const std::int64_t shifted = shift(spec_.from_end, spec_.rows);
    for (std::size_t i = 0; i < spec_.count; ++i) {
      const std::int64_t given = indices[i];
      const auto index = static_cast<std::size_t>(given < 0 ? given + shifted : given);
      if (index >= spec_.rows) {  // a negative one has become huge
        frame.failure->raise(given, -shifted, static_cast<std::int64_t>(spec_.rows));
        return;
      }
      if (index < rows.begin || index >= rows.end) continue;
      if (static_cast<std::int64_t>(index) == spec_.skipped) continue;
      T* const row = y + index * spec_.cols;
      add_(row, 1, x + i * spec_.cols, 1, row, width);
    }
  }

  // As a gather, and the zeros.
  double cost() const override {
    const auto bytes = static_cast<double>(spec_.cols * sizeof(T));
    return 20.0 + static_cast<double>(spec_.count) * (20.0 + 0.1 * bytes) +
           0.03 * static_cast<double>(spec_.rows) * bytes;
  }
  const char* name() const override { return "scatter_add"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  static base::Team::Range whole(std::size_t total) { return {0, total}; }

  ScatterAddSpec spec_;
  ScatterAddSpec::Slots slots_;
  kernels::BinaryFn<T> add_;
};

}  // namespace

std::unique_ptr<Step> make_step(const kernels::KernelTable&, const GatherSpec& spec,
                                const GatherSpec::Slots& slots) {
  return std::make_unique<Gather>(spec, slots);
}

void arrays(const GatherSpec& spec, const GatherSpec::Slots& slots, ArrayList& list) {
  list = {contiguous(slots.table, base::checked_mul(spec.rows, spec.row_bytes), 1),
          contiguous(slots.indices, spec.count, sizeof(std::int64_t)),
          contiguous(slots.y, base::checked_mul(spec.count, spec.row_bytes), 1, Use::written)};
}

double work(const GatherSpec& spec) { return static_cast<double>(spec.count); }

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ScatterAddSpec& spec,
                                const ScatterAddSpec::Slots& slots) {
  return with_floating(spec.dtype, "scatter_add", [&](auto tag) -> std::unique_ptr<Step> {
    using T = typename decltype(tag)::type;
    return std::make_unique<ScatterAdd<T>>(table, spec, slots);
  });
}

void arrays(const ScatterAddSpec& spec, const ScatterAddSpec::Slots& slots, ArrayList& list) {
  const std::size_t item = item_bytes(spec.dtype);
  list = {contiguous(slots.x, base::checked_mul(spec.count, spec.cols), item),
          contiguous(slots.indices, spec.count, sizeof(std::int64_t)),
          contiguous(slots.y, base::checked_mul(spec.rows, spec.cols), item, Use::written)};
}

double work(const ScatterAddSpec& spec) {
  return static_cast<double>(spec.count) * static_cast<double>(spec.cols);
}

std::unique_ptr<Step> make_step(const kernels::KernelTable&, const IndexSpec& spec,
                                const IndexSpec::Slots& slots) {
  return std::make_unique<Index>(spec, slots);
}

void arrays(const IndexSpec& spec, const IndexSpec::Slots& slots, ArrayList& list) {
  list = {contiguous(slots.indices, spec.count, sizeof(std::int64_t), Use::replaced),
          contiguous(slots.y, spec.count, sizeof(std::int64_t), Use::written)};
}

double work(const IndexSpec& spec) { return static_cast<double>(spec.count); }

std::unique_ptr<Step> make_step(const kernels::KernelTable&, const IndexCopySpec& spec,
                                const IndexCopySpec::Slots& slots) {
  return std::make_unique<IndexCopy>(spec, slots);
}

void arrays(const IndexCopySpec& spec, const IndexCopySpec::Slots& slots, ArrayList& list) {
  const std::size_t entry = base::checked_mul(spec.outer, spec.row_bytes);
  const std::size_t whole = base::checked_mul(entry, spec.rows);
  list = {contiguous(slots.x, whole, 1, Use::replaced),
          contiguous(slots.indices, spec.count, sizeof(std::int64_t)),
          contiguous(slots.source, base::checked_mul(entry, spec.count), 1),
          contiguous(slots.y, whole, 1, Use::written)};
}

double work(const IndexCopySpec& spec) {
  return static_cast<double>(spec.outer) * static_cast<double>(spec.count);
}

}  // namespace lamella::steps

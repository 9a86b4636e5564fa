// SPDX-License-Identifier: Apache-2.0
#include "steps/reduce.h"

#include <algorithm>
#include <stdexcept>

#include "base/checked.h"
#include "steps/lookup.h"

namespace lamella::steps {

namespace {

// Boundaries between members fall on multiples of so many results, to keep them off each other's
// cache lines; rows of kLongRow elements take so long that one shared line does not matter.
constexpr std::size_t kResultGrain = 16;
constexpr std::size_t kLongRow = 256;

// Members' shares of columns: half of a tile of the columns kernels (kernels/reduce.h) in float.
constexpr std::size_t kColumnGrain = 512;

double reduce_cost(const ReduceSpec& spec, double element) {
  const auto results = static_cast<double>(spec.outer) * static_cast<double>(spec.inner);
  return 20.0 + results * (5.0 + static_cast<double>(spec.size) * element);
}

// One result per contiguous run of `size` elements. Kernel is one of the table's rows kernels.
template <class T, class Result, class Kernel>
class ReduceRows final : public Step {
 public:
  ReduceRows(const ReduceSpec& spec, const ReduceSpec::Slots& slots, Kernel kernel, double element)
      : spec_(spec), slots_(slots), kernel_(kernel), cost_(reduce_cost(spec, element)) {}

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.outer, spec_.size < kLongRow ? kResultGrain : 1);
    if (begin == end) return;
    kernel_(frame.at<T>(slots_.x) + begin * spec_.size, static_cast<std::ptrdiff_t>(spec_.size),
            end - begin, spec_.size, frame.at<Result>(slots_.y) + begin);
  }
  double cost() const override { return cost_; }
  const char* name() const override { return "reduce"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  ReduceSpec spec_;
  ReduceSpec::Slots slots_;
  Kernel kernel_;
  double cost_;
};

template <class T, class Result, class Kernel>
std::unique_ptr<Step> make_rows(const ReduceSpec& spec, const ReduceSpec::Slots& slots,
                                Kernel kernel, double element) {
  return std::make_unique<ReduceRows<T, Result, Kernel>>(spec, slots, kernel, element);
}

// One result per column of each (size, inner) matrix. The unit of work is a tile of columns.
template <class T, class Result>
class ReduceColumns final : public Step {
 public:
  ReduceColumns(const ReduceSpec& spec, const ReduceSpec::Slots& slots,
                const kernels::Entry<kernels::FoldFn<T, Result>>& entry)
      : spec_(spec),
        slots_(slots),
        kernel_(entry.fn),
        tiles_((spec.inner + kColumnGrain - 1) / kColumnGrain),
        grain_(spec.inner < kResultGrain ? kResultGrain : 1),
        cost_(reduce_cost(spec, entry.cost)) {}

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.outer * tiles_, grain_);
    const auto step = static_cast<std::ptrdiff_t>(spec_.inner);
    for (std::size_t unit = begin; unit < end;) {
      const std::size_t outer = unit / tiles_, tile = unit % tiles_;
      const std::size_t tiles = std::min(tiles_ - tile, end - unit);
      const std::size_t column = tile * kColumnGrain;
      const std::size_t columns = std::min(tiles * kColumnGrain, spec_.inner - column);
      kernel_(frame.at<T>(slots_.x) + outer * spec_.size * spec_.inner + column, step, spec_.size,
              columns, frame.at<Result>(slots_.y) + outer * spec_.inner + column);
      unit += tiles;
    }
  }
  double cost() const override { return cost_; }
  const char* name() const override { return "reduce"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  ReduceSpec spec_;
  ReduceSpec::Slots slots_;
  kernels::FoldFn<T, Result> kernel_;
  std::size_t tiles_, grain_;
  double cost_;
};

bool is_arg(const std::string& kind) { return kind == "argmax" || kind == "argmin"; }

DType result_type(const ReduceSpec& spec) {
  if (is_arg(spec.kind)) return DType::i64;
  if (is_floating(spec.dtype) || is_storage(spec.dtype)) return spec.dtype;  // which is refused
  if (spec.kind == "any" || spec.kind == "all") return DType::boolean;
  return spec.kind == "max" || spec.kind == "min" ? spec.dtype : DType::i64;
}

[[noreturn]] void refuse_columns(const ReduceSpec& spec) {
  throw std::invalid_argument("reduce: '" + spec.kind +
                              "' has no columns form; got inner=" + std::to_string(spec.inner));
}

// Variance and its root are rows kernels with one number more.
template <class T>
std::unique_ptr<Step> make_spread(const ReduceSpec& spec, const ReduceSpec::Slots& slots,
                                  const kernels::Entry<kernels::VarianceFn<T>>& entry) {
  const double count = std::max(0.0, static_cast<double>(spec.size) - spec.correction);
  const auto kernel = [fn = entry.fn, divisor = static_cast<T>(count)](
                          const T* x, std::ptrdiff_t row_step, std::size_t rows, std::size_t cols,
                          T* y) { fn(x, row_step, rows, cols, divisor, y); };
  return make_rows<T, T>(spec, slots, kernel, entry.cost);
}

template <class T>
std::unique_ptr<Step> make_floating(const kernels::KernelTable& table, const ReduceSpec& spec,
                                    const ReduceSpec::Slots& slots) {
  const kernels::RowKernels<T>& kernels = *typed_kernels<T>(table).rows;
  const auto* spread = find_kernel(kernels.spread, spec.kind);
  const auto* arg = find_kernel(kernels.arg_reduce, spec.kind);
  if (spec.columns || spec.inner != 1) {
    if (const auto* columns = find_kernel(kernels.reduce_columns, spec.kind)) {
      return std::make_unique<ReduceColumns<T, T>>(spec, slots, *columns);
    }
    if (spread != nullptr || arg != nullptr || find_kernel(kernels.reduce_rows, spec.kind)) {
      refuse_columns(spec);
    }
  }
  if (spread != nullptr) return make_spread<T>(spec, slots, *spread);
  if (arg != nullptr) return make_rows<T, std::int64_t>(spec, slots, arg->fn, arg->cost);
  const auto& rows = require_kernel(kernels.reduce_rows, spec.kind, "reduce");
  return make_rows<T, T>(spec, slots, rows.fn, rows.cost);
}

// The kind among those with results of type R; null where it is none of them.
template <class T, class R>
std::unique_ptr<Step> find_fold(const kernels::FoldKernels<T, R>& kernels, const ReduceSpec& spec,
                                const ReduceSpec::Slots& slots) {
  if (spec.columns || spec.inner != 1) {
    const auto* columns = find_kernel(kernels.columns, spec.kind);
    if (columns == nullptr) return nullptr;
    return std::make_unique<ReduceColumns<T, R>>(spec, slots, *columns);
  }
  const auto* rows = find_kernel(kernels.rows, spec.kind);
  return rows == nullptr ? nullptr : make_rows<T, R>(spec, slots, rows->fn, rows->cost);
}

template <class T>
std::unique_ptr<Step> make_integer(const kernels::KernelTable& table, const ReduceSpec& spec,
                                   const ReduceSpec::Slots& slots) {
  const kernels::IntegerRowKernels<T>& kernels = *typed_kernels<T>(table).rows;
  if (auto step = find_fold(kernels.wide, spec, slots)) return step;
  if (auto step = find_fold(kernels.same, spec, slots)) return step;
  if (auto step = find_fold(kernels.truth, spec, slots)) return step;
  const auto& arg = require_kernel(kernels.arg_reduce, spec.kind, "reduce");
  if (spec.columns || spec.inner != 1) refuse_columns(spec);
  return make_rows<T, std::int64_t>(spec, slots, arg.fn, arg.cost);
}

}  // namespace

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ReduceSpec& spec,
                                const ReduceSpec::Slots& slots) {
  base::checked_mul(base::checked_mul(spec.outer, spec.size), spec.inner);
  base::checked_mul(spec.outer, spec.inner);
  const bool has_identity = spec.kind != "max" && spec.kind != "min" && !is_arg(spec.kind);
  if (spec.size == 0 && !has_identity) {
    throw std::invalid_argument("reduce: '" + spec.kind + "' of no elements has no value");
  }
  return with_type(spec.dtype, "reduce", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (kernels::kClassOf<T> == kernels::ElementClass::floating) {
      return make_floating<T>(table, spec, slots);
    } else {
      return make_integer<T>(table, spec, slots);
    }
  });
}

void arrays(const ReduceSpec& spec, const ReduceSpec::Slots& slots, ArrayList& list) {
  const std::size_t results = base::checked_mul(spec.outer, spec.inner);
  const DType result = result_type(spec);
  list = {contiguous(slots.x, base::checked_mul(results, spec.size), item_bytes(spec.dtype)),
          contiguous(slots.y, results, item_bytes(result), Use::written)};
}

double work(const ReduceSpec& spec) {
  return static_cast<double>(spec.outer) * static_cast<double>(spec.size) *
         static_cast<double>(spec.inner);
}

}  // namespace lamella::steps

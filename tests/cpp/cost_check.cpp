// SPDX-License-Identifier: Apache-2.0
// Measures what every kernel costs, beside the figure that stands with its name (kernels/cost.h).
//
//   cost_check [--isa NAME] [kernel ...]
//
// Each kernel runs alone on one core, on arrays in the second-level cache; the fastest of many
// stretches counts, so that a busy machine only takes longer. Kernels of rows have 1024 columns.
// Exits with 1 when a figure is off by more than a factor of two. That is meant for the machine the
// figures were measured on: elsewhere all of them may be off alike, which does no harm.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "dispatch/cpu.h"
#include "kernels/table.h"

namespace {

using lamella::dispatch::IsaRow;
using lamella::kernels::Entry;
using lamella::kernels::Family;
using lamella::kernels::TypedKernels;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kElements = 16384, kColumns = 1024, kRows = kElements / kColumns;
constexpr auto kStep = static_cast<std::ptrdiff_t>(kColumns);
constexpr double kStretch = 20e-6, kBudget = 0.02;  // seconds
constexpr double kFactor = 2;
constexpr int kMore =
    20;  // for what is too slow: a machine may be disturbed for longer than kBudget

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The fastest stretch of at least kStretch, in nanoseconds an element.
template <class Call>
double measure(Call call, std::size_t elements) {
  double best = 1e9;
  std::size_t calls = 1;
  for (const Clock::time_point start = Clock::now(); seconds_since(start) < kBudget;) {
    const Clock::time_point begin = Clock::now();
    for (std::size_t i = 0; i < calls; ++i) call();
    const double taken = seconds_since(begin);
    if (taken < kStretch) {
      calls *= 2;
    } else {
      best = std::min(best, taken / static_cast<double>(calls));
    }
  }
  return best * 1e9 / static_cast<double>(elements);
}

// ---- arguments of ordinary size, from within each function's domain
struct Domain {
  const char* name;
  double low, high;
  double params[2];
};
constexpr Domain kAnywhere = {"", -3, 3, {}};
constexpr Domain kDomains[] = {
    {"sqrt", 0.1, 4, {}},          {"rsqrt", 0.1, 4, {}},        {"log", 0.1, 4, {}},
    {"log1p", -0.9, 4, {}},        {"asin", -0.99, 0.99, {}},    {"acos", -0.99, 0.99, {}},
    {"atanh", -0.99, 0.99, {}},    {"acosh", 1, 4, {}},          {"pow", 0.1, 4, {}},
    {"leaky_relu", -3, 3, {0.01}}, {"elu", -3, 3, {1}},          {"celu", -3, 3, {1}},
    {"softplus", -3, 3, {1, 20}},  {"hardtanh", -3, 3, {-1, 1}}, {"clamp", -3, 3, {-1, 1}},
    {"softshrink", -3, 3, {0.5}},  {"hardshrink", -3, 3, {0.5}}, {"threshold", -3, 3, {0.1, 1}},
};

const Domain& domain_of(std::string_view name) {
  const auto* const found = std::find_if(std::begin(kDomains), std::end(kDomains),
                                         [&](const Domain& domain) { return name == domain.name; });
  return found == std::end(kDomains) ? kAnywhere : *found;
}

template <class T>
std::vector<T> numbers(const Domain& domain, std::uint32_t seed) {
  std::vector<T> all(kElements);
  for (T& x : all) {
    seed = seed * 1664525u + 1013904223u;
    x = static_cast<T>(domain.low + (domain.high - domain.low) * (seed >> 8) / 0x1p24);
  }
  return all;
}

// ---- one line a kernel
struct Report {
  std::string isa;
  std::vector<std::string> only;
  bool good = true;

  template <class Fn, class Call>
  void line(const Entry<Fn>& entry, const char* kind, Call call, std::size_t size = kElements) {
    if (!only.empty() && std::find(only.begin(), only.end(), entry.name) == only.end()) return;
    double found = measure(call, size);
    for (int more = 0; more < kMore && found > kFactor * entry.cost; ++more) {
      found = std::min(found, measure(call, size));
    }
    const double ratio = found / entry.cost;
    const bool holds = ratio <= kFactor && ratio >= 1 / kFactor;
    std::printf("%-9s %-11s %-26s row %6.2f  measured %7.3f  ratio %4.2f%s\n", isa.c_str(), kind,
                entry.name, entry.cost, found, ratio, holds ? "" : "  FAILED");
    std::fflush(stdout);
    good = good && holds;
  }
};

template <class Fn, class Use>
void each(const Family<Fn>& family, Use use) {
  for (std::size_t i = 0; i < family.count; ++i) use(family.entries[i]);
}

template <class T>
void elementwise(Report& report, const char* type, const TypedKernels<T>& kernels) {
  const auto& family = *kernels.elementwise;
  const std::vector<T> a = numbers<T>(kAnywhere, 1), b = numbers<T>(kAnywhere, 7);
  std::vector<T> y(kElements);
  std::vector<std::uint8_t> truth(kElements);
  each(family.unary, [&](const auto& entry) {
    const Domain& domain = domain_of(entry.name);
    const std::vector<T> x = numbers<T>(domain, 1);
    const T params[2] = {static_cast<T>(domain.params[0]), static_cast<T>(domain.params[1])};
    report.line(entry, type, [&] { entry.fn(x.data(), y.data(), kElements, params); });
  });
  each(family.binary, [&](const auto& entry) {
    const std::vector<T> base = numbers<T>(domain_of(entry.name), 1);
    report.line(entry, type, [&] { entry.fn(base.data(), 1, b.data(), 1, y.data(), kElements); });
  });
  each(family.compare, [&](const auto& entry) {
    report.line(entry, type, [&] { entry.fn(a.data(), 1, b.data(), 1, truth.data(), kElements); });
  });
  report.line(family.select, type, [&] {
    family.select.fn(truth.data(), 1, a.data(), 1, b.data(), 1, y.data(), kElements);
  });
  each(family.joined, [&](const auto& entry) {
    const T zero = 0;
    const T* const three[4] = {a.data(), &zero, b.data(), nullptr};
    const T* const four[4] = {a.data(), &zero, &zero, b.data()};
    const std::ptrdiff_t steps3[4] = {1, 0, 1, 0}, steps4[4] = {1, 0, 0, 1};
    const bool is_three = entry.params == 3;
    report.line(entry, type, [&] {
      entry.fn(is_three ? three : four, is_three ? steps3 : steps4, y.data(), kElements);
    });
  });
  each(kernels.random->draw, [&](const auto& entry) {
    report.line(entry, type, [&] { entry.fn(y.data(), kElements, 0, 1, 2); });
  });
  report.line(kernels.random->dropout, type, [&] {
    kernels.random->dropout.fn(a.data(), y.data(), kElements, 0, 1, 2, 1u << 30, T(2));
  });
}

template <class T>
void rows(Report& report, const char* type, const TypedKernels<T>& kernels) {
  const auto& family = *kernels.rows;
  const std::vector<T> x = numbers<T>(kAnywhere, 1);
  std::vector<T> y(kElements), losses(kRows);
  std::vector<std::int64_t> where(kRows, 3);
  const auto reduce = [&](const auto& entry) {
    report.line(entry, type, [&] { entry.fn(x.data(), kStep, kRows, kColumns, y.data()); });
  };
  each(family.reduce_rows, reduce);
  each(family.reduce_columns, reduce);
  each(family.arg_reduce, [&](const auto& entry) {
    report.line(entry, type, [&] { entry.fn(x.data(), kStep, kRows, kColumns, where.data()); });
  });
  each(family.spread, [&](const auto& entry) {
    report.line(entry, type,
                [&] { entry.fn(x.data(), kStep, kRows, kColumns, T(kColumns), y.data()); });
  });
  each(family.softmax, [&](const auto& entry) {
    report.line(entry, type, [&] { entry.fn(x.data(), y.data(), kRows, kColumns); });
  });
  report.line(family.layer_norm, type, [&] {
    family.layer_norm.fn(x.data(), y.data(), kRows, kColumns, nullptr, nullptr, T(1e-5));
  });
  report.line(family.rms_norm, type,
              [&] { family.rms_norm.fn(x.data(), y.data(), kRows, kColumns, nullptr, T(1e-5)); });
  const std::vector<std::int64_t> target(kRows, 3);
  each(family.class_loss, [&](const auto& entry) {
    report.line(entry, type, [&] {
      entry.fn({x.data(), target.data(), nullptr, kRows, kColumns, -100, T(1), T(0), losses.data(),
                y.data(), nullptr});
    });
  });
}

// In place, as programs update; a quarter of the elements, because an update has up to five arrays.
template <class T>
void updates(Report& report, const char* type, const TypedKernels<T>& kernels) {
  constexpr std::size_t kCount = kElements / 4, kArrays = 6;
  constexpr Domain kPositive = {"", 0.5, 1, {}};
  const std::vector<double> scalars(16, 0.5);
  each(kernels.optimizer->update, [&](const auto& entry) {
    std::vector<std::vector<T>> arrays(kArrays, numbers<T>(kPositive, 5));
    const T* x[kArrays];
    T* y[kArrays];
    for (std::size_t i = 0; i < kArrays; ++i) {
      x[i] = arrays[i].data();
      if (i != 1) y[i == 0 ? 0 : i - 1] = arrays[i].data();  // the gradient, x[1], is only read
    }
    report.line(entry, type, [&] { entry.fn(x, y, kCount, scalars.data()); }, kCount);
  });
}

// Integers and truth values: small numbers, which divisions do not take long for.
template <class T>
void integers(Report& report, const char* type,
              const lamella::kernels::IntegerKernels<T>& kernels) {
  std::vector<T> a(kElements), b(kElements), y(kElements);
  std::vector<std::uint8_t> truth(kElements);
  for (std::size_t i = 0; i < kElements; ++i) {
    const bool is_truth = std::is_same_v<T, lamella::kernels::Truth>;
    a[i] = static_cast<T>(is_truth ? i % 3 % 2 : i * 7 % 100);
    b[i] = static_cast<T>(is_truth ? i % 2 : 1 + i % 7);
    truth[i] = i % 3 == 1;
  }
  const auto& family = *kernels.elementwise;
  each(family.unary, [&](const auto& entry) {
    report.line(entry, type, [&] { entry.fn(a.data(), y.data(), kElements, nullptr); });
  });
  each(family.binary, [&](const auto& entry) {
    report.line(entry, type, [&] { entry.fn(a.data(), 1, b.data(), 1, y.data(), kElements); });
  });
  each(family.compare, [&](const auto& entry) {
    std::vector<std::uint8_t> result(kElements);
    report.line(entry, type, [&] { entry.fn(a.data(), 1, b.data(), 1, result.data(), kElements); });
  });
  report.line(family.select, type, [&] {
    family.select.fn(truth.data(), 1, a.data(), 1, b.data(), 1, y.data(), kElements);
  });
  const auto fold = [&]<class R>(const Entry<lamella::kernels::FoldFn<T, R>>& entry) {
    std::vector<R> results(kColumns);
    report.line(entry, type, [&] { entry.fn(a.data(), kStep, kRows, kColumns, results.data()); });
  };
  const auto& rows = *kernels.rows;
  each(rows.wide.rows, fold), each(rows.wide.columns, fold);
  each(rows.same.rows, fold), each(rows.same.columns, fold);
  each(rows.truth.rows, fold), each(rows.truth.columns, fold);
  each(rows.arg_reduce, fold);
}

// Numbers and indices in no order; chains of whole arrays, sorted rows, binary searches by comparison.
template <class T>
void entries(Report& report, const char* type,
             const lamella::kernels::IndexingKernels<T>& kernels) {
  constexpr std::size_t kComparisons = 10;  // of a search among kColumns
  std::vector<T> x(kElements), y(kElements), row(kColumns);
  std::vector<std::int64_t> index(kElements), positions(kElements);
  for (std::size_t i = 0; i < kElements; ++i) {
    const auto number = static_cast<std::uint32_t>(i) * 2654435761u >> 22;  // below kColumns
    index[i] = number;
    x[i] = static_cast<T>(std::is_same_v<T, lamella::kernels::Truth> ? number % 2 : number % 100);
  }
  for (std::size_t i = 0; i < kColumns; ++i) {
    row[i] = static_cast<T>(i * (std::is_same_v<T, lamella::kernels::Truth> ? 2 : 100) / kColumns);
  }
  const auto kind = [&](const char* family) { return std::string(family) + " " + type; };
  each(kernels.scatter, [&](const auto& entry) {
    report.line(entry, kind("scatter").c_str(), [&] {
      entry.fn({index.data(), 1, kElements, 1, x.data(), 1, 1, y.data(), 1, 0, kColumns, kColumns,
                false, T{}});
    });
  });
  each(kernels.scan, [&](const auto& entry) {
    report.line(entry, kind("scan").c_str(),
                [&] { entry.fn(x.data(), y.data(), 1, kElements, 1); });
  });
  each(kernels.extreme_scan, [&](const auto& entry) {
    report.line(entry, kind("scan").c_str(),
                [&] { entry.fn(x.data(), y.data(), positions.data(), 1, kElements, 1); });
  });
  std::vector<std::uint64_t> scratch((lamella::kernels::kSortCounts + 32 * kColumns) / 8 + 8);
  const auto place = (reinterpret_cast<std::uintptr_t>(scratch.data()) + 63) / 64 * 64;
  report.line(kernels.sort, type, [&] {
    for (std::size_t i = 0; i < kElements; i += kColumns) {
      kernels.sort.fn({x.data() + i, kColumns, kColumns, false, y.data() + i, positions.data() + i,
                       reinterpret_cast<std::byte*>(place)});
    }
  });
  report.line(
      kernels.search, type,
      [&] {
        kernels.search.fn({row.data(), kColumns, x.data(), kElements, false, positions.data()});
      },
      kComparisons * kElements);
}

// Of zeros, which every type has in the same bits.
void casts(Report& report, const lamella::kernels::KernelTable& table) {
  using lamella::kernels::kElementCount;
  const std::vector<std::uint64_t> from(kElements);
  std::vector<std::uint64_t> to(kElements);
  for (std::size_t i = 0; i < kElementCount * kElementCount; ++i) {
    const std::size_t x = i / kElementCount, y = i % kElementCount;
    auto entry = table.cast->entries[x][y];
    if (entry.fn == nullptr) continue;
    const std::string kind = "to " + std::string(lamella::kernels::kElements[y].name);
    entry.name = lamella::kernels::kElements[x].name;
    report.line(entry, kind.c_str(), [&] { entry.fn(from.data(), to.data(), kElements); });
  }
}

template <class T>
void typed(Report& report, const char* type, const TypedKernels<T>& kernels) {
  elementwise(report, type, kernels);
  rows(report, type, kernels);
  updates(report, type, kernels);
}

}  // namespace

int main(int count, char** arguments) {
  Report report;
  std::string only_isa;
  for (int i = 1; i < count; ++i) {
    if (std::string_view(arguments[i]) != "--isa") {
      report.only.emplace_back(arguments[i]);
    } else if (++i < count) {
      only_isa = arguments[i];
    } else {
      std::fprintf(stderr, "cost_check: --isa needs a value\n");
      return 2;
    }
  }
  bool any = false;
  for (const IsaRow& isa : lamella::dispatch::isa_rows()) {
    if (!isa.runs_here() || (!only_isa.empty() && only_isa != isa.name)) continue;
    report.isa = isa.name;
    any = true;
    typed(report, "float32", isa.table().f32);
    typed(report, "float64", isa.table().f64);
#define LAMELLA_LINE(tag, Type, name, kind) integers(report, name, isa.table().tag);
    LAMELLA_INTEGERS(LAMELLA_LINE)
    LAMELLA_TRUTH(LAMELLA_LINE)
#undef LAMELLA_LINE
#define LAMELLA_LINE(tag, Type, name, kind) entries(report, name, isa.table().indexing->tag);
    LAMELLA_FLOATING(LAMELLA_LINE)
    LAMELLA_INTEGERS(LAMELLA_LINE)
    LAMELLA_TRUTH(LAMELLA_LINE)
#undef LAMELLA_LINE
    casts(report, isa.table());
  }
  return any && report.good ? 0 : 1;
}

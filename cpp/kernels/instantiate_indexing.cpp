// SPDX-License-Identifier: Apache-2.0
// Scattering, scans and sorting on one instruction set: compiled once per ISA, tables only.
// Costs (cost.h): of a piece of one element, of a link of a chain, of an element of a row of 1024 that
// is sorted, of a comparison of a search.
#include "kernels/cost.h"
#include "kernels/families.h"
#include "kernels/scan.h"
#include "kernels/scatter.h"
#include "kernels/sort.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

inline constexpr double kPiece = Nanoseconds{1.5, 1.5, 1.5}.here();
inline constexpr double kLink = Nanoseconds{0.6, 0.6, 0.6}.here();
inline constexpr double kExtremeLink = Nanoseconds{2.5, 2.5, 2.5}.here();
template <class T>
constexpr bool kIsFloating = kClassOf<T> == ElementClass::floating;
template <class T>
constexpr double kSorted =
    kIsFloating<T> ? cost<T>({4.6, 4.6, 4.6}, {7.5, 7.5, 7.5}) : Nanoseconds{3.2, 3.2, 3.2}.here();
template <class T>
constexpr double kComparison =
    (kIsFloating<T> ? Nanoseconds{1.4, 1.4, 1.4} : Nanoseconds{0.8, 0.8, 0.8}).here();

// Truth values are put and compared, numbers added and multiplied too.
template <class T>
constexpr Entry<ScatterFn<T>> kScatterEntries[] = {
    {"replace", 0, kPiece, scatter<T, Replacing>}, {"amax", 0, kPiece, scatter<T, Larger>},
    {"amin", 0, kPiece, scatter<T, Smaller>},      {"sum", 0, kPiece, scatter<T, Adding>},
    {"prod", 0, kPiece, scatter<T, Multiplying>},
};
template <>
constexpr Entry<ScatterFn<Truth>> kScatterEntries<Truth>[] = {
    {"replace", 0, kPiece, scatter<Truth, Replacing>},
    {"amax", 0, kPiece, scatter<Truth, Larger>},
    {"amin", 0, kPiece, scatter<Truth, Smaller>},
};

template <class T>
constexpr Entry<ScanFn<T>> kScanEntries[] = {
    {"sum", 0, kLink, scan<T, RunningSum>},
    {"prod", 0, kLink, scan<T, RunningProduct>},
};
template <class T>
constexpr Entry<ExtremeScanFn<T>> kExtremeScanEntries[] = {
    {"max", 0, kExtremeLink, scan_extreme<T, NotBelow>},
    {"min", 0, kExtremeLink, scan_extreme<T, NotAbove>},
};

template <class Fn, size_t N>
constexpr Family<Fn> family(const Entry<Fn> (&entries)[N]) {
  return {entries, N};
}

template <class T>
constexpr IndexingKernels<T> indexing_kernels() {
  IndexingKernels<T> all = {
      .scatter = family(kScatterEntries<T>),
      .scan = {nullptr, 0},
      .extreme_scan = family(kExtremeScanEntries<T>),
      .sort = {"sort", 0, kSorted<T>, sort_row<T>},
      .search = {"search", 0, kComparison<T>, search_row<T>},
  };
  // Sums and products of narrower integers are carried in int64, which the caller casts to.
  if constexpr (kIsFloating<T> || sizeof(T) == sizeof(std::int64_t)) {
    all.scan = family(kScanEntries<T>);
  }
  return all;
}

#define LAMELLA_KERNELS(tag, Type, name, kind) indexing_kernels<Type>(),
constinit const IndexingTable kIndexing = {LAMELLA_FLOATING(LAMELLA_KERNELS) LAMELLA_INTEGERS(
    LAMELLA_KERNELS) LAMELLA_TRUTH(LAMELLA_KERNELS)};
#undef LAMELLA_KERNELS

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE

// SPDX-License-Identifier: Apache-2.0
// A row in order, stable, with the positions its elements come from; the first of the order alone;
// and where numbers belong in a row that is in order.
//
// Elements are mapped to unsigned keys of the same order: -0 and 0 are equal, all NaN are equal and
// above everything. Long rows are sorted by their digits, the lowest first (LSD radix sort), short
// ones by insertion. Few of many are kept in a list, more are selected by their digits, the highest
// first. Source: Knuth, The Art of Computer Programming 3, 5.2.1 and 5.2.5.
#pragma once

#include "kernels/table.h"

namespace lamella::kernels::LAMELLA_ISA_NAMESPACE {

// ---- keys

template <class T>
struct KeyOf {
  using type = std::uint32_t;
  static type of(T x) { return static_cast<std::uint32_t>(x); }
};
template <>
struct KeyOf<std::int8_t> {
  using type = std::uint32_t;
  static type of(std::int8_t x) { return static_cast<std::uint32_t>(x + 128); }
};
template <>
struct KeyOf<std::int32_t> {
  using type = std::uint32_t;
  static type of(std::int32_t x) { return static_cast<std::uint32_t>(x) ^ 0x80000000u; }
};
template <>
struct KeyOf<std::int64_t> {
  using type = std::uint64_t;
  static type of(std::int64_t x) { return static_cast<std::uint64_t>(x) ^ 0x8000000000000000u; }
};
template <class T, class Key, class Signed>
[[gnu::always_inline]] inline Key floating_key(T x) {
  constexpr int kSign = 8 * sizeof(Key) - 1;
  const T number = x == T(0) ? T(0) : x;
  Key bits;
  __builtin_memcpy(&bits, &number, sizeof(bits));
  // Of negative numbers all bits turn, of others the sign.
  const Key turned = static_cast<Key>(static_cast<Signed>(bits) >> kSign) | Key(1) << kSign;
  return x != x ? ~Key(0) : bits ^ turned;
}
template <>
struct KeyOf<float> {
  using type = std::uint32_t;
  static type of(float x) { return floating_key<float, std::uint32_t, std::int32_t>(x); }
};
template <>
struct KeyOf<double> {
  using type = std::uint64_t;
  static type of(double x) { return floating_key<double, std::uint64_t, std::int64_t>(x); }
};

template <class Key>
struct Keyed {
  Key key;
  std::uint32_t position;
};

// ---- whole rows

// Rows of up to so many are sorted by insertion, which there takes less time than clearing counts.
inline constexpr size_t kInsertion = 32;
static_assert(kInsertion <= kSortAlone);

template <class Key>
void insertion_sort(Keyed<Key>* items, size_t count) {
  for (size_t i = 1; i < count; ++i) {
    const Keyed<Key> item = items[i];
    size_t j = i;
    for (; j > 0 && items[j - 1].key > item.key; --j) items[j] = items[j - 1];
    items[j] = item;
  }
}

// Sorts with the help of as many items in `other`; gives the one of the two where the result lies.
template <int kBits, class Key>
Keyed<Key>* radix_sort(Keyed<Key>* items, Keyed<Key>* other, size_t count, std::uint32_t* counts) {
  constexpr int kKeyBits = 8 * sizeof(Key);
  constexpr size_t kDigits = (kKeyBits + kBits - 1) / kBits, kValues = size_t(1) << kBits;
  constexpr Key kMask = kValues - 1;
  for (size_t i = 0; i < kDigits * kValues; ++i) counts[i] = 0;
  for (size_t i = 0; i < count; ++i) {
    const Key key = items[i].key;
    for (size_t digit = 0; digit < kDigits; ++digit) {
      ++counts[digit * kValues + ((key >> (digit * kBits)) & kMask)];
    }
  }
  for (size_t digit = 0; digit < kDigits; ++digit) {
    std::uint32_t* const places = counts + digit * kValues;
    const size_t shift = digit * kBits;
    // A digit that all have alike moves nothing.
    if (places[(items[0].key >> shift) & kMask] == count) continue;
    std::uint32_t place = 0;
    for (size_t value = 0; value < kValues; ++value) {
      const std::uint32_t many = places[value];
      places[value] = place;
      place += many;
    }
    for (size_t i = 0; i < count; ++i) other[places[(items[i].key >> shift) & kMask]++] = items[i];
    Keyed<Key>* const sorted = other;
    other = items;
    items = sorted;
  }
  return items;
}

template <class Key>
Keyed<Key>* sort_items(Keyed<Key>* items, Keyed<Key>* other, size_t count, std::uint32_t* counts) {
  if (count <= kInsertion) {
    insertion_sort(items, count);
    return items;
  }
  // Wide digits pay where the passes over the row cost more than those over the counts.
  if (sizeof(Key) == 4 && count >= 4096) return radix_sort<11>(items, other, count, counts);
  return radix_sort<8>(items, other, count, counts);
}

// ---- the first of a row

// Up to so many are kept in a list, into which every element is compared.
inline constexpr size_t kListed = 16;
static_assert(kListed <= kSortAlone);

template <class T, class Key = typename KeyOf<T>::type>
void keep_first(const T* x, size_t cols, Key turn, size_t wanted, Keyed<Key>* list) {
  for (size_t i = 0; i < wanted; ++i) {
    list[i] = {static_cast<Key>(KeyOf<T>::of(x[i]) ^ turn), static_cast<std::uint32_t>(i)};
  }
  insertion_sort(list, wanted);
  for (size_t i = wanted; i < cols; ++i) {
    const Key key = KeyOf<T>::of(x[i]) ^ turn;
    if (key >= list[wanted - 1].key) continue;
    size_t j = wanted - 1;
    for (; j > 0 && list[j - 1].key > key; --j) list[j] = list[j - 1];
    list[j] = {key, static_cast<std::uint32_t>(i)};
  }
}

// Puts the `wanted` first of the items, in no order but stable, to `chosen`; items are used up.
template <class Key>
void select_first(Keyed<Key>* items, size_t count, size_t wanted, Keyed<Key>* chosen,
                  std::uint32_t* counts) {
  for (int shift = 8 * sizeof(Key) - 8;; shift -= 8) {
    for (size_t value = 0; value < 256; ++value) counts[value] = 0;
    for (size_t i = 0; i < count; ++i) ++counts[(items[i].key >> shift) & 255];
    size_t border = 0, before = 0;
    while (before + counts[border] < wanted) before += counts[border++];
    size_t left = 0;
    for (size_t i = 0; i < count; ++i) {
      const size_t digit = (items[i].key >> shift) & 255;
      if (digit < border) *chosen++ = items[i];
      if (digit == border) items[left++] = items[i];
    }
    wanted -= before;
    count = left;
    // All that are left, or equal ones, of which the first count.
    if (wanted == count || shift == 0) {
      for (size_t i = 0; i < wanted; ++i) chosen[i] = items[i];
      return;
    }
  }
}

// Scratch: counts, then two rows of keyed items; none for short rows and short lists.
template <class T>
void sort_row(const SortArgs<T>& args) {
  using Key = typename KeyOf<T>::type;
  const size_t cols = args.cols, wanted = args.wanted;
  const Key turn = args.descending ? ~Key(0) : Key(0);
  if (wanted == 0) return;
  Keyed<Key> listed[kSortAlone];
  Keyed<Key>* items = listed;
  if (wanted <= kListed && wanted < cols) {
    keep_first<T>(args.x, cols, turn, wanted, listed);
  } else {
    auto* const counts = reinterpret_cast<std::uint32_t*>(args.scratch);
    if (cols > kInsertion) items = reinterpret_cast<Keyed<Key>*>(args.scratch + kSortCounts);
    Keyed<Key>* const other = items + cols;
    for (size_t i = 0; i < cols; ++i) {
      items[i] = {static_cast<Key>(KeyOf<T>::of(args.x[i]) ^ turn), static_cast<std::uint32_t>(i)};
    }
    if (cols > kInsertion && wanted <= cols / 4) {
      select_first(items, cols, wanted, other, counts);
      items = sort_items(other, items, wanted, counts);
    } else {
      items = sort_items(items, other, cols, counts);
    }
  }
  if (args.values != nullptr) {
    for (size_t i = 0; i < wanted; ++i) args.values[i] = args.x[items[i].position];
  }
  if (args.positions != nullptr) {
    for (size_t i = 0; i < wanted; ++i) args.positions[i] = items[i].position;
  }
}

// ---- places in a row that is in order

// How many of the row come before x: those below it, or with `right` those not above it either.
template <class T>
void search_row(const SearchArgs<T>& args) {
  for (size_t i = 0; i < args.count; ++i) {
    const auto key = KeyOf<T>::of(args.x[i]);
    const T* base = args.row;
    size_t left = args.cols;
    while (left > 0) {
      const size_t half = left / 2;
      const auto middle = KeyOf<T>::of(base[half]);
      const bool before = args.right ? middle <= key : middle < key;
      base = before ? base + half + 1 : base;
      left = before ? left - half - 1 : half;
    }
    args.y[i] = base - args.row;
  }
}

}  // namespace lamella::kernels::LAMELLA_ISA_NAMESPACE

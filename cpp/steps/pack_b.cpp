// SPDX-License-Identifier: Apache-2.0
#include "steps/pack_b.h"

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "steps/lookup.h"
#include "steps/reversible.h"

namespace lamella::steps {

using kernels::kPanel;
using std::ptrdiff_t;
using std::size_t;

namespace {

// From how many rows on copying a row-major b pays (measured on Zen 4, n and k from 64 to 4096).
// Rows a multiple of 4 KB apart fall into one set of the first-level cache and are read again for
// every tile, from 33 rows on often enough for a copy to pay; few rows of a far b are swept (sweep.h),
// and a b that stays in the second-level cache is as quick where it lies. Of two panels, the second one
// cut, packing both saves tiles for the second alone (64 x 20 with 32 terms 1.7 -> 1.55 us, Zen 4).
size_t rows_worth_packing(const MatMulSpec& spec) {
  constexpr size_t kFewTerms = 128, kSomeRows = 24;
  const size_t item = item_bytes(spec.dtype);
  if (kPanel < spec.n && spec.n < 2 * kPanel && spec.k <= kFewTerms) return kSomeRows;
  if (static_cast<size_t>(spec.b_k) * item % 4096 == 0) return 33;
  return spec.n * spec.k * item <= 128 * 1024 ? 200 : 80;
}

// Whether elements are dot products of their own. A few terms are summed sooner in a panel, most of it
// empty, than by n trees of additions. Part of the numerical contract: it looks at n and k alone.
bool is_narrow(const MatMulSpec& spec) {
  constexpr size_t kFewTerms = 32, kTreeTerms = 4;
  return spec.n < kPanel && (spec.k > kFewTerms || spec.k > kTreeTerms * spec.n);
}

// Whether a column-major b is packed piece by piece while it is multiplied. A b that exceeds the
// second-level cache would otherwise be read from memory twice, and written once as a whole
// (64 x 2048 x 2048 6.7 -> 5.9 ms, Zen 4). With very many rows the pieces make a be read too often
// (2048 rows: 4 % slower). With very few, b is not packed at all (columns.h).
bool packs_pieces(const MatMulSpec& spec, size_t rows) {
  constexpr size_t kNearBytes = 1024 * 1024, kManyRows = 512, kFewRows = 4;
  if (spec.b_constant || spec.b_k != 1 || spec.b_col == 1 || rows > kManyRows) return false;
  if (rows <= kFewRows && spec.n >= kPanel) return true;
  return spec.n * spec.k * item_bytes(spec.dtype) > kNearBytes;
}

// The batch dimensions b does not repeat over; their product counts the different matrices in b.
struct Distinct {
  Shape shape;
  Strides strides;
  explicit Distinct(const MatMulSpec& spec) {
    if (spec.b_batch.size() != spec.batch.size()) {
      throw std::invalid_argument("matmul: b_batch needs one stride a batch dimension");
    }
    for (size_t d = 0; d < spec.batch.size(); ++d) {
      if (spec.b_batch[d] == 0) continue;
      shape.push_back(spec.batch[d]);
      strides.push_back(spec.b_batch[d]);
    }
  }
};

template <class T>
class PackB final : public Reversible {
 public:
  PackB(const kernels::KernelTable& table, const MatMulSpec& spec)
      : kernels_(*typed_kernels<T>(table).gemm),
        plan_{form_of(spec, 0), spec.n, spec.k, spec.b_k, spec.b_col},
        copy_(copy_size(spec, plan_.form)),
        distinct_(spec),
        count_(element_count(distinct_.shape)) {}

  void run(const Frame& frame, const base::Team& team) const override {
    const T* b = frame.at<T>(Slot{0, 0});
    T* packed = frame.at<T>(Slot{1, 0});
    for (size_t i = 0; i < count_; ++i, packed += copy_) {
      copy_b(kernels_, plan_, b + offset_of(i, distinct_.shape, distinct_.strides), packed, team);
    }
  }
  // Nanoseconds: 0.1 an element from the second-level cache, more from memory.
  double cost() const override {
    return 0.2 * static_cast<double>(copy_) * static_cast<double>(count_);
  }
  const char* name() const override { return "pack_b"; }
  std::size_t nbytes() const override {
    return sizeof(*this) + heap_of(distinct_.shape) + heap_of(distinct_.strides);
  }

  // Dense: sorted by stride, each dimension steps over all of those before.
  size_t source_bytes() const override {
    std::vector<std::pair<ptrdiff_t, size_t>> dimensions = {{plan_.b_k, plan_.k},
                                                            {plan_.b_col, plan_.n}};
    for (size_t d = 0; d < distinct_.shape.size(); ++d) {
      dimensions.emplace_back(distinct_.strides[d], distinct_.shape[d]);
    }
    std::sort(dimensions.begin(), dimensions.end());
    size_t elements = 1;
    for (const auto& [stride, size] : dimensions) {
      if (size == 1) continue;
      if (stride != static_cast<ptrdiff_t>(elements)) return 0;
      elements *= size;
    }
    return elements * sizeof(T);
  }
  void undo(const Frame& frame, const base::Team& team) const override;

 private:
  const kernels::GemmKernels<T>& kernels_;
  CopyPlan plan_;
  size_t copy_;
  Distinct distinct_;
  size_t count_;
};

// A piece of a panel at a time, which stays in the first-level cache while its columns are written.
// Integers move, so that a signalling NaN stays one.
template <class T>
void PackB<T>::undo(const Frame& frame, const base::Team& team) const {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  constexpr size_t kTerms = 256;
  const bool panels = plan_.form == Form::panels;
  const ptrdiff_t from_k = panels ? static_cast<ptrdiff_t>(kPanel) : 1;
  const ptrdiff_t from_column = panels ? 1 : static_cast<ptrdiff_t>(plan_.k);
  const size_t width = panels ? kPanel : plan_.n;
  const auto [begin, end] = team.share(panels ? count_panels(plan_.n) : 1);
  for (size_t i = 0; i < count_; ++i) {
    Bits* b = frame.at<Bits>(Slot{0, 0}) + offset_of(i, distinct_.shape, distinct_.strides);
    for (size_t p = begin; p < end; ++p) {
      const Bits* packed = frame.at<Bits>(Slot{1, 0}) + i * copy_ + p * plan_.k * kPanel;
      const size_t first = p * kPanel, columns = std::min(width, plan_.n - first);
      for (size_t k = 0; k < plan_.k; k += kTerms) {
        const size_t terms = std::min(kTerms, plan_.k - k);
        const auto move = [&](size_t term, size_t column) {
          const auto row = static_cast<ptrdiff_t>(k + term), j = static_cast<ptrdiff_t>(column);
          b[row * plan_.b_k + (static_cast<ptrdiff_t>(first) + j) * plan_.b_col] =
              packed[row * from_k + j * from_column];
        };
        if (plan_.b_k == 1) {
          for (size_t column = 0; column < columns; ++column) {
            for (size_t term = 0; term < terms; ++term) move(term, column);
          }
        } else {
          for (size_t term = 0; term < terms; ++term) {
            for (size_t column = 0; column < columns; ++column) move(term, column);
          }
        }
      }
    }
  }
}

// All that the packed form of a b depends on beside its elements, as text.
std::string packed_kind(const kernels::KernelTable& table, const MatMulSpec& spec) {
  const Distinct distinct(spec);
  std::string kind = std::string("pack_b ") + table.isa + " " + dtype_name(spec.dtype);
  const auto add = [&kind](auto number) { kind += " " + std::to_string(number); };
  add(spec.n);
  add(spec.k);
  add(spec.b_k);
  add(spec.b_col);
  for (size_t d = 0; d < distinct.shape.size(); ++d) {
    add(distinct.shape[d]);
    add(distinct.strides[d]);
  }
  return kind;
}

}  // namespace

size_t count_panels(size_t n) { return n / kPanel + (n % kPanel > 0 ? 1 : 0); }

Form form_of(const MatMulSpec& spec, size_t rows) {
  const bool neighbours = spec.b_k == 1 || spec.k <= 1;
  if (is_narrow(spec)) return neighbours ? Form::terms : Form::packed_terms;
  if (packs_pieces(spec, rows)) return Form::columns;
  if (spec.b_constant || spec.b_col != 1 || rows >= rows_worth_packing(spec)) return Form::panels;
  return spec.n % kPanel == 0 ? Form::rows : Form::rows_and_tail;
}

size_t copy_size(const MatMulSpec& spec, Form form) {
  switch (form) {
    case Form::terms:
    case Form::rows:
    case Form::columns:
      return 0;
    case Form::packed_terms:
      return base::checked_mul(spec.n, spec.k);
    case Form::rows_and_tail:
      return base::checked_mul(kPanel, spec.k);
    case Form::panels:
      return base::checked_mul(base::checked_round_up(spec.n, kPanel), spec.k);
  }
  return 0;
}

size_t copy_bytes(const MatMulSpec& spec, Form form) {
  return base::checked_round_up(base::checked_mul(copy_size(spec, form), item_bytes(spec.dtype)),
                                64);
}

Strides copy_strides(const MatMulSpec& spec, size_t copy) {
  const Strides distinct = contiguous_strides(Distinct(spec).shape);
  Strides strides(spec.batch.size(), 0);
  for (size_t d = 0, i = 0; d < spec.batch.size(); ++d) {
    if (spec.b_batch[d] == 0) continue;
    strides[d] =
        static_cast<ptrdiff_t>(base::checked_mul(static_cast<size_t>(distinct[i++]), copy));
  }
  return strides;
}

ptrdiff_t offset_of(size_t index, const Shape& batch, const Strides& strides) {
  ptrdiff_t offset = 0;
  for (size_t d = batch.size(); d-- > 0 && index > 0;) {
    offset += static_cast<ptrdiff_t>(index % batch[d]) * strides[d];
    index /= batch[d];
  }
  return offset;
}

template <class T>
void copy_b(const kernels::GemmKernels<T>& kernels, const CopyPlan& plan, const T* b, T* room,
            const base::Team& team) {
  if (plan.form == Form::packed_terms) {
    const auto [begin, end] = team.share(plan.k, kPanel);
    kernels.pack_terms(b, plan.b_k, plan.b_col, plan.k, plan.n, begin, end, room);
  } else if (plan.form == Form::panels) {
    const auto [begin, end] = team.share(count_panels(plan.n));
    kernels.pack_b(b, plan.b_k, plan.b_col, plan.k, plan.n, begin, end, room);
  } else if (plan.form == Form::rows_and_tail && team.index == 0) {
    const size_t whole = plan.n / kPanel * kPanel;
    const T* tail = b + static_cast<ptrdiff_t>(whole) * plan.b_col;
    kernels.pack_b(tail, plan.b_k, plan.b_col, plan.k, plan.n - whole, 0, 1, room);
  }
}

template void copy_b(const kernels::GemmKernels<float>&, const CopyPlan&, const float*, float*,
                     const base::Team&);
template void copy_b(const kernels::GemmKernels<double>&, const CopyPlan&, const double*, double*,
                     const base::Team&);

std::size_t packed_bytes(const MatMulSpec& spec) {
  if (!spec.b_constant) return 0;
  const size_t one = base::checked_mul(copy_size(spec, form_of(spec, 0)), item_bytes(spec.dtype));
  return base::checked_round_up(base::checked_mul(one, element_count(Distinct(spec).shape)), 64);
}

bool same_preparation(const MatMulSpec& a, const MatMulSpec& b) {
  if (!a.b_constant && !b.b_constant) return true;
  const auto read = [](const MatMulSpec& s) {
    return std::tie(s.dtype, s.n, s.k, s.b_k, s.b_col, s.b_constant, s.b_batch);
  };
  bool same = read(a) == read(b);
  for (size_t d = 0; d < a.batch.size() && same; ++d) {
    same = a.b_batch[d] == 0 || a.batch[d] == b.batch[d];
  }
  return same || (packed_bytes(a) == 0 && packed_bytes(b) == 0);
}

std::optional<Preparation> preparation(const kernels::KernelTable& table, const MatMulSpec& spec,
                                       const MatMulSpec::Slots& slots) {
  const size_t bytes = packed_bytes(spec);
  if (bytes == 0) return std::nullopt;
  auto step = with_floating(spec.dtype, "matmul", [&](auto tag) -> std::shared_ptr<const Step> {
    using T = typename decltype(tag)::type;
    return std::make_shared<PackB<T>>(table, spec);
  });
  return Preparation{packed_kind(table, spec), bytes, slots.b, std::move(step)};
}

}  // namespace lamella::steps

// SPDX-License-Identifier: Apache-2.0
#include "steps/product/pack_b.h"

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

template <class T, class Stored, class Packed>
class PackB final : public Reversible {
 public:
  PackB(const kernels::KernelTable& table, const MatMulSpec& spec)
      : kernels_(product_kernels<T, Stored, T>(table)),
        plan_{choose_form(sizes_of(spec, 0)), spec.n, spec.k, spec.b_k, spec.b_col},
        copy_(copy_size(spec, plan_.form)),
        distinct_(spec),
        count_(element_count(distinct_.shape)) {}

  void run(const Frame& frame, const base::Team& team) const override {
    const Stored* b = frame.at<Stored>(Slot{0, 0});
    Packed* packed = frame.at<Packed>(Slot{1, 0});
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
    return elements * sizeof(Stored);
  }
  void undo(const Frame& frame, const base::Team& team) const override;

 private:
  const kernels::GemmKernels<T, Stored, T>& kernels_;
  CopyPlan plan_;
  size_t copy_;
  Distinct distinct_;
  size_t count_;
};

// A piece of a panel at a time, which stays in the first-level cache while its columns are written.
// Integers move, so that a signalling NaN stays one.
template <class T, class Stored, class Packed>
void PackB<T, Stored, Packed>::undo(const Frame& frame, const base::Team& team) const {
  using Bits =
      std::conditional_t<sizeof(Stored) == 4, std::uint32_t,
                         std::conditional_t<sizeof(Stored) == 8, std::uint64_t, std::uint16_t>>;
  constexpr size_t kTerms = 256;
  constexpr size_t kUnits = std::is_same_v<Stored, Packed> ? 1 : 2;  // of a widened element

  const bool panels = plan_.form != Form::packed_terms;
  constexpr bool kPairs = std::is_same_v<Packed, kernels::Bfloat16>;
  const size_t from_k = panels ? kPanel : 1, from_column = panels ? 1 : plan_.k;
  // Of a widened element the upper half, the last unit in memory, is the stored one.
  const auto place = [&](size_t term, size_t column) {
    if constexpr (kPairs) return term / 2 * 2 * kPanel + 2 * column + term % 2;
    return (term * from_k + column * from_column) * kUnits + kUnits - 1;
  };
  const size_t width = panels ? kPanel : plan_.n;
  const size_t panel_size = (kPairs ? plan_.k + plan_.k % 2 : plan_.k) * kPanel;
  const auto [begin, end] = team.share(panels ? count_panels(plan_.n) : 1);
  for (size_t i = 0; i < count_; ++i) {
    Bits* b = frame.at<Bits>(Slot{0, 0}) + offset_of(i, distinct_.shape, distinct_.strides);
    for (size_t p = begin; p < end; ++p) {
      const Bits* packed = frame.at<Bits>(Slot{1, 0}) + (i * copy_ + p * panel_size) * kUnits;
      const size_t first = p * kPanel, columns = std::min(width, plan_.n - first);
      for (size_t k = 0; k < plan_.k; k += kTerms) {
        const size_t terms = std::min(kTerms, plan_.k - k);
        const auto move = [&](size_t term, size_t column) {
          const auto row = static_cast<ptrdiff_t>(k + term), j = static_cast<ptrdiff_t>(column);
          b[row * plan_.b_k + (static_cast<ptrdiff_t>(first) + j) * plan_.b_col] =
              packed[place(k + term, column)];
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
  std::string kind = std::string("pack_b ") + table.isa + " " + dtype_name(spec.b_dtype);
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

ProductSizes sizes_of(const MatMulSpec& spec, size_t rows) {
  return {rows,
          spec.n,
          spec.k,
          spec.a_row,
          spec.k <= 1 ? 1 : spec.a_k,
          spec.b_k,
          spec.b_col,
          item_bytes(spec.dtype),
          spec.b_constant,
          spec.b_dtype == DType::bf16};
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
    case Form::pairs:
      return base::checked_mul(base::checked_round_up(spec.n, kPanel),
                               base::checked_round_up(spec.k, 2));
  }
  return 0;
}

size_t copy_bytes(const MatMulSpec& spec, Form form) {
  const size_t item = item_bytes(form == Form::pairs ? spec.b_dtype : spec.dtype);
  return base::checked_round_up(base::checked_mul(copy_size(spec, form), item), 64);
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

template <class T, class Stored, class Packed>
void copy_b(const kernels::GemmKernels<T, Stored, T>& kernels, const CopyPlan& plan,
            const Stored* b, Packed* room, const base::Team& team) {
  if (plan.form == Form::packed_terms) {
    if constexpr (std::is_same_v<T, Packed>) {
      const auto [begin, end] = team.share(plan.k, kPanel);
      kernels.pack_terms(b, plan.b_k, plan.b_col, plan.k, plan.n, begin, end, room);
    }
  } else if constexpr (std::is_same_v<Stored, Packed>) {
    const size_t whole = plan.n / kPanel * kPanel;
    if (plan.form == Form::panels || plan.form == Form::pairs) {
      const auto [begin, end] = team.share(count_panels(plan.n));
      kernels.pack_b(b, plan.b_k, plan.b_col, plan.k, plan.n, begin, end, room);
    } else if (plan.form == Form::rows_and_tail && team.index == 0) {
      const Stored* tail = b + static_cast<ptrdiff_t>(whole) * plan.b_col;
      kernels.pack_b(tail, plan.b_k, plan.b_col, plan.k, plan.n - whole, 0, 1, room);
    }
  }
}

#define LAMELLA_COPY(T, Stored, Packed)                                                           \
  template void copy_b(const kernels::GemmKernels<T, Stored, T>&, const CopyPlan&, const Stored*, \
                       Packed*, const base::Team&);
LAMELLA_COPY(float, float, float)
LAMELLA_COPY(double, double, double)
LAMELLA_COPY(float, kernels::Bfloat16, kernels::Bfloat16)
LAMELLA_COPY(float, kernels::Bfloat16, float)
#undef LAMELLA_COPY

std::size_t packed_bytes(const MatMulSpec& spec) {
  if (!spec.b_constant) return 0;
  const Form form = choose_form(sizes_of(spec, 0));
  const size_t item = item_bytes(form == Form::pairs ? spec.b_dtype : spec.dtype);
  const size_t one = base::checked_mul(copy_size(spec, form), item);
  return base::checked_round_up(base::checked_mul(one, element_count(Distinct(spec).shape)), 64);
}

bool same_preparation(const MatMulSpec& a, const MatMulSpec& b) {
  if (!a.b_constant && !b.b_constant) return true;
  const auto read = [](const MatMulSpec& s) {
    return std::tie(s.b_dtype, s.n, s.k, s.b_k, s.b_col, s.b_constant, s.b_batch);
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
  auto step =
      with_factors(spec, [&]<class T, class Stored, class Packed>() -> std::shared_ptr<const Step> {
        return std::make_shared<PackB<T, Stored, Packed>>(table, spec);
      });
  return Preparation{packed_kind(table, spec), bytes, slots.b, std::move(step)};
}

}  // namespace lamella::steps

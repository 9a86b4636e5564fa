// SPDX-License-Identifier: Apache-2.0
#include "steps/product/matmul.h"

#include <algorithm>
#include <stdexcept>
#include <type_traits>

#include "base/checked.h"
#include "steps/lookup.h"
#include "steps/product/choose.h"
#include "steps/product/pack_b.h"
#include "steps/product/part.h"
#include "steps/strides.h"

namespace lamella::steps {

namespace {

using kernels::kPanel;
using std::ptrdiff_t;
using std::size_t;

// Products of a batch that can be packed at the same time, each by one member of the team.
constexpr size_t kScratchSlots = 16;
// Rows of a share: a multiple of the tile height of float (6) and double (3) with 16 registers.
constexpr size_t kRowGrain = 6;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(std::string("matmul: ") + message);
}

// T: of a and y. Stored: of b's array. Packed: of its copy, if there is one.
template <class T, class Stored, class Packed>
class MatMul final : public Step {
 public:
  MatMul(const kernels::KernelTable& table, const MatMulSpec& spec, const MatMulSpec::Slots& slots);
  void run(const Frame& frame, const base::Team& team) const override;
  double cost() const override { return cost_; }
  const char* name() const override { return "matmul"; }
  std::string way() const override { return text_of(way_); }
  std::size_t nbytes() const override {
    return sizeof(*this) + heap_of(params_) + heap_of(batch_) + heap_of(a_batch_) +
           heap_of(b_batch_);
  }

 private:
  static constexpr bool kWidens = !std::is_same_v<Stored, Packed>;
  // One product's pointers.
  struct Product {
    const T* a;
    const Packed* b;     // as args_.b_k and args_.b_panel describe it
    const Packed* tail;  // rows_and_tail: the last panel
    T* y;
    const T* bias;
    const T* residual;
  };
  // What all or the last of y's columns are made of, and the way for all rows of so many columns.
  struct Factor {
    const Packed* b;
    ptrdiff_t b_k, b_panel;
    const Way& way;
    size_t columns;
  };
  void merge(const MatMulSpec& spec, bool constant);
  Product product(const Frame& frame, size_t index) const;
  const Stored* source_b(const Frame& frame, size_t index) const;
  Packed* room(const Frame& frame, size_t slot) const;
  void attach(Product& product, const Packed* copy) const;
  Part part(const base::Team& team) const;
  void multiply(const Product& product, const Part& part) const;
  void call(const Product& product, const Part& part, const Factor& factor) const;
  void run_products(const Frame& frame, const base::Team& team, const Packed* copy) const;
  void run_copying(const Frame& frame, const base::Team& team) const;

  const kernels::GemmKernels<T, Packed, T>& kernels_;
  const kernels::GemmKernels<T, Stored, T>& copying_;
  kernels::GemmArgs<T, Packed, T>
      args_{};          // sizes, strides and activation; no pointers into arrays
  ProductSizes sizes_;  // of one product
  Way way_{}, tail_{};  // of all rows; rows_and_tail: of whole panels, and of the cut one
  std::vector<T> params_;
  Shape batch_;
  Strides a_batch_, b_batch_;
  size_t count_ = 0;
  MatMulSpec::Slots slots_;  // `b` is where the kernels find it
  CopyPlan plan_;            // of b where it lies
  bool copies_ = false;      // b is copied at every run
  bool shared_b_ = false;    // one b for all of the batch
  size_t rooms_ = 0, room_bytes_ = 0;
  double cost_ = 0;
};

// Batch dimensions that a and b cross alike become one; those that only lengthen a become rows.
template <class T, class Stored, class Packed>
void MatMul<T, Stored, Packed>::merge(const MatMulSpec& spec, bool constant) {
  require(spec.a_batch.size() == spec.batch.size(), "a_batch needs one stride a batch dimension");
  const Strides b_batch =
      constant ? copy_strides(spec, copy_size(spec, choose_form(sizes_of(spec, 0)))) : spec.b_batch;
  Merged merged = merge_dimensions(spec.batch, {spec.a_batch, b_batch});
  batch_ = merged.shape;
  a_batch_ = merged.strides[0];
  b_batch_ = merged.strides[1];
  while (!batch_.empty() && b_batch_.back() == 0) {
    if (args_.m == 1) args_.a_row = a_batch_.back();
    // Unsigned, because a stride read from outside may be anything.
    if (static_cast<size_t>(a_batch_.back()) != static_cast<size_t>(args_.a_row) * args_.m) break;
    args_.m = base::checked_mul(args_.m, batch_.back());
    batch_.pop_back();
    a_batch_.pop_back();
    b_batch_.pop_back();
  }
  count_ = element_count(batch_);
  shared_b_ = std::all_of(b_batch_.begin(), b_batch_.end(), [](ptrdiff_t s) { return s == 0; });
}

// Nanoseconds: 80 % of an AVX2 core's peak at 3 GHz or b streamed at 100 GB/s, whichever is longer,
// 0.05 an element of y. Copies of b and the activation are added where they are known.
double matmul_cost(const kernels::KernelTable& table, const MatMulSpec& spec) {
  const double m = static_cast<double>(spec.m), n = static_cast<double>(spec.n);
  const double k = static_cast<double>(spec.k), item = static_cast<double>(item_bytes(spec.dtype));
  const double b_item = static_cast<double>(item_bytes(spec.b_dtype));
  double batch = 1;
  for (const size_t size : spec.batch) batch *= static_cast<double>(size);
  const double lanes = static_cast<double>(table.vector_bytes) / item;
  const double flops = 9.6 * lanes * (table.fused_multiply_add ? 1.0 : 0.5);
  return 15 + batch * (std::max(2 * m * n * k / flops, n * k * b_item / 100) + m * n * 0.05);
}

template <class T, class Stored, class Packed>
MatMul<T, Stored, Packed>::MatMul(const kernels::KernelTable& table, const MatMulSpec& spec,
                                  const MatMulSpec::Slots& slots)
    : kernels_(product_kernels<T, Packed, T>(table)),
      copying_(product_kernels<T, Stored, T>(table)),
      sizes_(sizes_of(spec, spec.m)),
      slots_(slots),
      plan_{Form::rows, spec.n, spec.k, spec.b_k, spec.b_col},
      cost_(matmul_cost(table, spec)) {
  args_.m = spec.m;
  args_.n = spec.n;
  args_.k = spec.k;
  args_.a_row = spec.a_row;
  args_.a_k = spec.k <= 1 ? 1 : spec.a_k;
  args_.y_row = args_.end.residual_row = static_cast<ptrdiff_t>(spec.n);
  base::checked_mul(base::checked_mul(spec.m, element_count(spec.batch)), spec.n);

  const bool ahead = packed_bytes(spec) > 0;
  require(!ahead || slots.packed, "a constant b needs the slot of its packed form");
  merge(spec, ahead);
  sizes_.m = args_.m;
  sizes_.a_row = args_.a_row;
  plan_.form = choose_form(sizes_);
  const size_t copy = copy_size(spec, plan_.form);
  copies_ = copy > 0 && !ahead && count_ > 0 && args_.m > 0;
  if (ahead) slots_.b = *slots.packed;
  if (copies_) {
    require(slots.scratch.has_value(), "b needs scratch to be packed into");
    room_bytes_ = copy_bytes(spec, plan_.form);
    rooms_ = shared_b_ ? 1 : std::min(count_, kScratchSlots);
    cost_ += 0.15 * static_cast<double>(copy) * static_cast<double>(shared_b_ ? 1 : count_);
  }
  switch (plan_.form) {
    case Form::terms:
      args_.b_k = 1;
      args_.b_panel = plan_.b_col;
      break;
    case Form::packed_terms:
      args_.b_k = 1;
      args_.b_panel = static_cast<ptrdiff_t>(spec.k);
      break;
    case Form::rows:
    case Form::rows_and_tail:
      args_.b_k = plan_.b_k;
      args_.b_panel = static_cast<ptrdiff_t>(kPanel);
      break;
    case Form::columns:
      args_.b_k = 1;
      // Unsigned, because the array's extent is not checked yet.
      args_.b_panel = static_cast<ptrdiff_t>(static_cast<size_t>(spec.b_col) * kPanel);
      cost_ += 0.2 * static_cast<double>(spec.n) * static_cast<double>(spec.k) *
               static_cast<double>(count_);
      break;
    case Form::pairs:
      args_.b_k = static_cast<ptrdiff_t>(kPanel);
      args_.b_panel = static_cast<ptrdiff_t>(kPanel * (spec.k + spec.k % 2));
      break;
    case Form::panels:
      args_.b_k = static_cast<ptrdiff_t>(kPanel);
      args_.b_panel = static_cast<ptrdiff_t>(kPanel * spec.k);
      break;
  }
  const auto& facts = kernels_.facts;
  way_ = choose(plan_.form, sizes_, facts);
  if (plan_.form == Form::rows_and_tail) {
    ProductSizes cut = sizes_;
    cut.n = spec.n % kPanel;
    tail_ = choose(Form::panels, cut, facts);
    cut.n = spec.n - cut.n;
    way_ = choose(plan_.form, cut, facts);
  }
  if (!spec.activation.empty()) {
    const auto& entry =
        require_kernel(typed_kernels<T>(table).elementwise->unary, spec.activation, "matmul");
    require(entry.params == spec.activation_params.size(),
            "the activation wants another number of parameters");
    for (const double value : spec.activation_params) params_.push_back(static_cast<T>(value));
    args_.end.activation = entry.fn;
    cost_ += entry.cost * static_cast<double>(spec.m) * static_cast<double>(spec.n) *
             static_cast<double>(element_count(spec.batch));
    args_.end.activation_params = params_.data();
  }
}

template <class T, class Stored, class Packed>
Packed* MatMul<T, Stored, Packed>::room(const Frame& frame, size_t slot) const {
  return frame.at<Packed>(
      Slot{slots_.scratch->buffer, slots_.scratch->offset + slot * room_bytes_});
}

template <class T, class Stored, class Packed>
const Stored* MatMul<T, Stored, Packed>::source_b(const Frame& frame, size_t index) const {
  return frame.at<Stored>(slots_.b) + offset_of(index, batch_, b_batch_);
}

template <class T, class Stored, class Packed>
typename MatMul<T, Stored, Packed>::Product MatMul<T, Stored, Packed>::product(const Frame& frame,
                                                                               size_t index) const {
  const size_t first = index * args_.m * args_.n;
  return {
      frame.at<T>(slots_.a) + offset_of(index, batch_, a_batch_),
      frame.at<Packed>(slots_.b) + (kWidens && copies_ ? 0 : offset_of(index, batch_, b_batch_)),
      nullptr,
      frame.at<T>(slots_.y) + first,
      slots_.bias ? frame.at<T>(*slots_.bias) : nullptr,
      slots_.residual ? frame.at<T>(*slots_.residual) + first : nullptr};
}

template <class T, class Stored, class Packed>
void MatMul<T, Stored, Packed>::attach(Product& product, const Packed* copy) const {
  (plan_.form == Form::rows_and_tail ? product.tail : product.b) = copy;
}

template <class T, class Stored, class Packed>
Part MatMul<T, Stored, Packed>::part(const base::Team& team) const {
  const bool tall = args_.m >= args_.n && plan_.form != Form::columns;
  return part_of(team, args_.m, args_.n, kRowGrain, kPanel, tall);
}

// A member's part goes a way of its own.
template <class T, class Stored, class Packed>
void MatMul<T, Stored, Packed>::call(const Product& product, const Part& part,
                                     const Factor& factor) const {
  kernels::GemmArgs<T, Packed, T> args = args_;
  Way own;
  args.way = &factor.way;
  if (part.rows != args_.m || part.columns != factor.columns) {
    ProductSizes sizes = sizes_;
    sizes.m = part.rows;
    sizes.n = part.columns;
    own = choose(factor.way.form, sizes, kernels_.facts);
    args.way = &own;
  }
  args.m = part.rows;
  args.n = part.columns;
  args.a = product.a + static_cast<ptrdiff_t>(part.row) * args.a_row;
  args.b = factor.b;
  args.b_k = factor.b_k;
  args.b_panel = factor.b_panel;
  const size_t first = part.row * args_.n + part.column;
  args.y = product.y + first;
  if (product.bias) args.end.bias = {product.bias + part.column, 0, 1};
  if (product.residual) args.end.residual = product.residual + first;
  kernels_.multiply(args);
}

template <class T, class Stored, class Packed>
void MatMul<T, Stored, Packed>::multiply(const Product& product, const Part& part) const {
  if (part.rows == 0 || part.columns == 0) return;
  const size_t panel = part.column / kPanel;
  const Packed* b = product.b + static_cast<ptrdiff_t>(panel) * args_.b_panel;
  if (plan_.form != Form::rows_and_tail) {
    return call(product, part, {b, args_.b_k, args_.b_panel, way_, args_.n});
  }
  const size_t whole = args_.n / kPanel * kPanel;
  const size_t end = part.column + part.columns;
  if (part.column < whole) {
    const Part body = {part.row, part.rows, part.column, std::min(end, whole) - part.column};
    call(product, body, {b, args_.b_k, args_.b_panel, way_, whole});
  }
  if (end > whole) {
    const Part cut = {part.row, part.rows, whole, end - whole};
    const ptrdiff_t panel_row = static_cast<ptrdiff_t>(kPanel);
    call(product, cut, {product.tail, panel_row, 0, tail_, args_.n - whole});
  }
}

template <class T, class Stored, class Packed>
void MatMul<T, Stored, Packed>::run_products(const Frame& frame, const base::Team& team,
                                             const Packed* copy) const {
  const size_t size = static_cast<size_t>(team.size);
  const bool whole = count_ >= 4 * size || (size > 1 && count_ % size == 0);
  const auto [begin, end] = whole ? team.share(count_) : base::Team::Range{0, count_};
  const Part part = whole ? Part{0, args_.m, 0, args_.n} : this->part(team);
  for (size_t i = begin; i < end; ++i) {
    Product one = product(frame, i);
    if (copy) attach(one, copy);
    multiply(one, part);
  }
}

// Different matrices of a batch: each member copies and multiplies its own, or, where members
// outnumber products or rooms, all work on one after another. Two rooms in turn need one barrier a
// product: who is past it has finished the product before.
template <class T, class Stored, class Packed>
void MatMul<T, Stored, Packed>::run_copying(const Frame& frame, const base::Team& team) const {
  const size_t size = static_cast<size_t>(team.size);
  const bool apart = size <= std::min(rooms_, count_);
  const base::Team alone;
  const auto [begin, end] = apart ? team.share(count_) : base::Team::Range{0, count_};
  const Part part = apart ? Part{0, args_.m, 0, args_.n} : this->part(team);
  size_t slot = apart ? static_cast<size_t>(team.index) : 0;
  const Stored* copied = nullptr;
  for (size_t i = begin; i < end; ++i) {
    Product one = product(frame, i);
    if (const Stored* source = source_b(frame, i); i == begin || source != copied) {
      copied = source;
      if (!apart) slot = 1 - slot;
      copy_b(copying_, plan_, copied, room(frame, slot), apart ? alone : team);
      if (!apart) team.barrier();
    }
    attach(one, room(frame, slot));
    multiply(one, part);
  }
}

template <class T, class Stored, class Packed>
void MatMul<T, Stored, Packed>::run(const Frame& frame, const base::Team& team) const {
  if (count_ == 0 || args_.m == 0 || args_.n == 0) return;
  if (!copies_) return run_products(frame, team, nullptr);
  if (!shared_b_) return run_copying(frame, team);
  Packed* copy = room(frame, 0);
  copy_b(copying_, plan_, source_b(frame, 0), copy, team);
  team.barrier();
  run_products(frame, team, copy);
}

}  // namespace

// Which rows the batch adds is not known here, so that the most that may be wanted is told.
std::size_t scratch_bytes(const MatMulSpec& spec) {
  if (spec.b_constant) return 0;
  const size_t batch = element_count(spec.batch);
  const size_t one =
      copy_bytes(spec, choose_form(sizes_of(spec, base::checked_mul(spec.m, batch))));
  return base::checked_mul(one, std::min(batch, kScratchSlots));
}

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const MatMulSpec& spec,
                                const MatMulSpec::Slots& slots) {
  return with_factors(spec, [&]<class T, class Stored, class Packed>() -> std::unique_ptr<Step> {
    return std::make_unique<MatMul<T, Stored, Packed>>(table, spec, slots);
  });
}

std::string way_of(const kernels::KernelTable& table, const MatMulSpec& spec) {
  MatMulSpec::Slots anywhere;
  anywhere.scratch = anywhere.packed = Slot{};
  return make_step(table, spec, anywhere)->way();
}

void arrays(const MatMulSpec& spec, const MatMulSpec::Slots& slots, ArrayList& list) {
  const size_t item = item_bytes(spec.dtype);
  const auto matrices = [&](Slot slot, size_t rows, size_t columns, Strides strides, ptrdiff_t row,
                            ptrdiff_t column, size_t item_size, Use use) {
    Shape shape = spec.batch;
    shape.insert(shape.end(), {rows, columns});
    strides.insert(strides.end(), {row, column});
    return strided(slot, shape, strides, item_size, use);
  };
  const size_t results = element_count({element_count(spec.batch), spec.m, spec.n});
  // What is copied ahead is not read by the step itself.
  const Use b_use = packed_bytes(spec) > 0 ? Use::prepared : Use::read;
  list = {matrices(slots.a, spec.m, spec.k, spec.a_batch, spec.a_row, spec.a_k, item, Use::read),
          matrices(slots.b, spec.k, spec.n, spec.b_batch, spec.b_k, spec.b_col,
                   item_bytes(spec.b_dtype), b_use)};
  if (slots.bias) list.push_back(contiguous(*slots.bias, spec.n, item));
  if (slots.residual) list.push_back(contiguous(*slots.residual, results, item));
  list.push_back(contiguous(slots.y, results, item, Use::written));
}

double work(const MatMulSpec& spec) {
  double products = static_cast<double>(spec.m) * static_cast<double>(spec.n);
  for (const size_t size : spec.batch) products *= static_cast<double>(size);
  return products * static_cast<double>(spec.k);
}

}  // namespace lamella::steps

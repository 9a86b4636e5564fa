// SPDX-License-Identifier: Apache-2.0
#include "steps/matmul.h"

#include <algorithm>
#include <stdexcept>

#include "base/checked.h"
#include "steps/lookup.h"
#include "steps/pack_b.h"
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

template <class T>
class MatMul final : public Step {
 public:
  MatMul(const kernels::KernelTable& table, const MatMulSpec& spec, const MatMulSpec::Slots& slots);
  void run(const Frame& frame, const base::Team& team) const override;
  double cost() const override { return cost_; }
  const char* name() const override { return "matmul"; }
  std::size_t nbytes() const override {
    return sizeof(*this) + heap_of(params_) + heap_of(batch_) + heap_of(a_batch_) +
           heap_of(b_batch_);
  }

 private:
  // One product's pointers.
  struct Product {
    const T* a;
    const T* b;     // as args_.b_k and args_.b_panel describe it
    const T* tail;  // rows_and_tail: the last panel
    T* y;
    const T* bias;
    const T* residual;
  };
  struct Part {
    size_t row, rows, column, columns;
  };
  void merge(const MatMulSpec& spec, bool constant);
  Product product(const Frame& frame, size_t index) const;
  const T* source_b(const Frame& frame, size_t index) const;
  T* room(const Frame& frame, size_t slot) const;
  void attach(Product& product, const T* copy) const;
  Part part_of(const base::Team& team) const;
  void multiply(const Product& product, const Part& part) const;
  void call(const Product& product, const Part& part, const T* b, ptrdiff_t b_k,
            ptrdiff_t b_panel) const;
  void run_products(const Frame& frame, const base::Team& team, const T* copy) const;
  void run_copying(const Frame& frame, const base::Team& team) const;

  const kernels::GemmKernels<T>& kernels_;
  kernels::GemmArgs<T> args_{};  // sizes, strides and activation; no pointers into arrays
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
template <class T>
void MatMul<T>::merge(const MatMulSpec& spec, bool constant) {
  require(spec.a_batch.size() == spec.batch.size(), "a_batch needs one stride a batch dimension");
  const Strides b_batch =
      constant ? copy_strides(spec, copy_size(spec, form_of(spec, 0))) : spec.b_batch;
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
  double batch = 1;
  for (const size_t size : spec.batch) batch *= static_cast<double>(size);
  const double lanes = static_cast<double>(table.vector_bytes) / item;
  const double flops = 9.6 * lanes * (table.fused_multiply_add ? 1.0 : 0.5);
  return 15 + batch * (std::max(2 * m * n * k / flops, n * k * item / 100) + m * n * 0.05);
}

template <class T>
MatMul<T>::MatMul(const kernels::KernelTable& table, const MatMulSpec& spec,
                  const MatMulSpec::Slots& slots)
    : kernels_(*typed_kernels<T>(table).gemm),
      slots_(slots),
      plan_{Form::rows, spec.n, spec.k, spec.b_k, spec.b_col},
      cost_(matmul_cost(table, spec)) {
  args_.m = spec.m;
  args_.n = spec.n;
  args_.k = spec.k;
  args_.a_row = spec.a_row;
  args_.a_k = spec.k <= 1 ? 1 : spec.a_k;
  args_.y_row = args_.residual_row = static_cast<ptrdiff_t>(spec.n);
  base::checked_mul(base::checked_mul(spec.m, element_count(spec.batch)), spec.n);

  const bool ahead = packed_bytes(spec) > 0;
  require(!ahead || slots.packed, "a constant b needs the slot of its packed form");
  merge(spec, ahead);
  plan_.form = form_of(spec, args_.m);
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
      args_.b_panel = plan_.b_col;
      break;
    case Form::packed_terms:
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
    case Form::panels:
      args_.b_k = static_cast<ptrdiff_t>(kPanel);
      args_.b_panel = static_cast<ptrdiff_t>(kPanel * spec.k);
      break;
  }
  if (!spec.activation.empty()) {
    const auto& entry =
        require_kernel(typed_kernels<T>(table).elementwise->unary, spec.activation, "matmul");
    require(entry.params == spec.activation_params.size(),
            "the activation wants another number of parameters");
    for (const double value : spec.activation_params) params_.push_back(static_cast<T>(value));
    args_.activation = entry.fn;
    cost_ += entry.cost * static_cast<double>(spec.m) * static_cast<double>(spec.n) *
             static_cast<double>(element_count(spec.batch));
    args_.activation_params = params_.data();
  }
}

template <class T>
T* MatMul<T>::room(const Frame& frame, size_t slot) const {
  return frame.at<T>(Slot{slots_.scratch->buffer, slots_.scratch->offset + slot * room_bytes_});
}

template <class T>
const T* MatMul<T>::source_b(const Frame& frame, size_t index) const {
  return frame.at<T>(slots_.b) + offset_of(index, batch_, b_batch_);
}

template <class T>
typename MatMul<T>::Product MatMul<T>::product(const Frame& frame, size_t index) const {
  const size_t first = index * args_.m * args_.n;
  return {frame.at<T>(slots_.a) + offset_of(index, batch_, a_batch_),
          source_b(frame, index),
          nullptr,
          frame.at<T>(slots_.y) + first,
          slots_.bias ? frame.at<T>(*slots_.bias) : nullptr,
          slots_.residual ? frame.at<T>(*slots_.residual) + first : nullptr};
}

template <class T>
void MatMul<T>::attach(Product& product, const T* copy) const {
  (plan_.form == Form::rows_and_tail ? product.tail : product.b) = copy;
}

// A grid of members: the one whose largest part is smallest. Equal ones: a tall product is cut into
// rows, another into columns, where each member keeps its own part of b in its own cache or packs it.
template <class T>
typename MatMul<T>::Part MatMul<T>::part_of(const base::Team& team) const {
  if (team.size <= 1) return {0, args_.m, 0, args_.n};
  const size_t size = static_cast<size_t>(team.size), index = static_cast<size_t>(team.index);
  const size_t grains = (args_.m + kRowGrain - 1) / kRowGrain;
  const size_t panels = count_panels(args_.n);
  const bool tall = args_.m >= args_.n && plan_.form != Form::columns;
  size_t down = 1, largest = static_cast<size_t>(-1);
  for (size_t rows = 1; rows <= size; ++rows) {
    const size_t columns = size / rows;
    const size_t part = ((grains + rows - 1) / rows) * ((panels + columns - 1) / columns);
    if (part < largest || (part == largest && tall)) {
      largest = part;
      down = rows;
    }
  }
  const size_t across = size / down;
  if (index >= down * across) return {0, 0, 0, 0};
  const size_t i = index / across, j = index % across;
  const size_t row = std::min(grains * i / down * kRowGrain, args_.m);
  const size_t row_end = std::min(grains * (i + 1) / down * kRowGrain, args_.m);
  const size_t column = std::min(panels * j / across * kPanel, args_.n);
  const size_t column_end = std::min(panels * (j + 1) / across * kPanel, args_.n);
  return {row, row_end - row, column, column_end - column};
}

template <class T>
void MatMul<T>::call(const Product& product, const Part& part, const T* b, ptrdiff_t b_k,
                     ptrdiff_t b_panel) const {
  kernels::GemmArgs<T> args = args_;
  args.m = part.rows;
  args.n = part.columns;
  args.a = product.a + static_cast<ptrdiff_t>(part.row) * args.a_row;
  args.b = b;
  args.b_k = b_k;
  args.b_panel = b_panel;
  const size_t first = part.row * args_.n + part.column;
  args.y = product.y + first;
  if (product.bias) args.bias = product.bias + part.column;
  if (product.residual) args.residual = product.residual + first;
  (is_dot(plan_.form) ? kernels_.dot : kernels_.gemm)(args);
}

template <class T>
void MatMul<T>::multiply(const Product& product, const Part& part) const {
  if (part.rows == 0 || part.columns == 0) return;
  const size_t panel = part.column / kPanel;
  const T* b = product.b + static_cast<ptrdiff_t>(panel) * args_.b_panel;
  if (plan_.form != Form::rows_and_tail) return call(product, part, b, args_.b_k, args_.b_panel);
  const size_t whole = args_.n / kPanel * kPanel;
  const size_t end = part.column + part.columns;
  if (part.column < whole) {
    const Part body = {part.row, part.rows, part.column, std::min(end, whole) - part.column};
    call(product, body, b, args_.b_k, args_.b_panel);
  }
  if (end > whole) {
    const Part tail = {part.row, part.rows, whole, end - whole};
    call(product, tail, product.tail, static_cast<ptrdiff_t>(kPanel), 0);
  }
}

template <class T>
void MatMul<T>::run_products(const Frame& frame, const base::Team& team, const T* copy) const {
  const size_t size = static_cast<size_t>(team.size);
  const bool whole = count_ >= 4 * size || (size > 1 && count_ % size == 0);
  const auto [begin, end] = whole ? team.share(count_) : base::Team::Range{0, count_};
  const Part part = whole ? Part{0, args_.m, 0, args_.n} : part_of(team);
  for (size_t i = begin; i < end; ++i) {
    Product one = product(frame, i);
    if (copy) attach(one, copy);
    multiply(one, part);
  }
}

// Different matrices of a batch: each member copies and multiplies its own, or, where members
// outnumber products or rooms, all work on one after another. Two rooms in turn need one barrier a
// product: who is past it has finished the product before.
template <class T>
void MatMul<T>::run_copying(const Frame& frame, const base::Team& team) const {
  const size_t size = static_cast<size_t>(team.size);
  const bool apart = size <= std::min(rooms_, count_);
  const base::Team alone;
  const auto [begin, end] = apart ? team.share(count_) : base::Team::Range{0, count_};
  const Part part = apart ? Part{0, args_.m, 0, args_.n} : part_of(team);
  size_t slot = apart ? static_cast<size_t>(team.index) : 0;
  const T* copied = nullptr;
  for (size_t i = begin; i < end; ++i) {
    Product one = product(frame, i);
    if (i == begin || one.b != copied) {
      copied = one.b;
      if (!apart) slot = 1 - slot;
      copy_b(kernels_, plan_, copied, room(frame, slot), apart ? alone : team);
      if (!apart) team.barrier();
    }
    attach(one, room(frame, slot));
    multiply(one, part);
  }
}

template <class T>
void MatMul<T>::run(const Frame& frame, const base::Team& team) const {
  if (count_ == 0 || args_.m == 0 || args_.n == 0) return;
  if (!copies_) return run_products(frame, team, nullptr);
  if (!shared_b_) return run_copying(frame, team);
  T* copy = room(frame, 0);
  copy_b(kernels_, plan_, source_b(frame, 0), copy, team);
  team.barrier();
  run_products(frame, team, copy);
}

}  // namespace

// Which rows the batch adds is not known here, so that the most that may be wanted is told.
std::size_t scratch_bytes(const MatMulSpec& spec) {
  if (spec.b_constant) return 0;
  const size_t batch = element_count(spec.batch);
  const size_t one = copy_bytes(spec, form_of(spec, base::checked_mul(spec.m, batch)));
  return base::checked_mul(one, std::min(batch, kScratchSlots));
}

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const MatMulSpec& spec,
                                const MatMulSpec::Slots& slots) {
  return with_floating(spec.dtype, "matmul", [&](auto tag) -> std::unique_ptr<Step> {
    using T = typename decltype(tag)::type;
    return std::make_unique<MatMul<T>>(table, spec, slots);
  });
}

void arrays(const MatMulSpec& spec, const MatMulSpec::Slots& slots, ArrayList& list) {
  const size_t item = item_bytes(spec.dtype);
  const auto matrices = [&](Slot slot, size_t rows, size_t columns, Strides strides, ptrdiff_t row,
                            ptrdiff_t column, Use use) {
    Shape shape = spec.batch;
    shape.insert(shape.end(), {rows, columns});
    strides.insert(strides.end(), {row, column});
    return strided(slot, shape, strides, item, use);
  };
  const size_t results = element_count({element_count(spec.batch), spec.m, spec.n});
  // What is copied ahead is not read by the step itself.
  const Use b_use = packed_bytes(spec) > 0 ? Use::prepared : Use::read;
  list = {matrices(slots.a, spec.m, spec.k, spec.a_batch, spec.a_row, spec.a_k, Use::read),
          matrices(slots.b, spec.k, spec.n, spec.b_batch, spec.b_k, spec.b_col, b_use)};
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

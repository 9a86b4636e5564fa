// SPDX-License-Identifier: Apache-2.0
#include "steps/elementwise.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "base/checked.h"
#include "steps/repeat.h"

namespace lamella::steps {

namespace {

// Registers, direct operands included, whose addresses one run keeps on its stack.
constexpr std::size_t kMaxRegisters = 128;

// Scratch of one run. All blocks in flight together take at most three quarters of a 32 KB
// first-level cache, one block at most 4 KB (long enough to hide a kernel call of some 5 ns).
constexpr std::size_t kScratchBytes = 24 * 1024;
constexpr std::size_t kMaxPlaceBytes = 4 * 1024;
constexpr std::size_t kMaxPlaces = kElementwiseRegisters;

// Shares and blocks begin at multiples of this many elements: whole cache lines of any type.
constexpr std::size_t kGrain = 64;

// Inner dimensions of this length are worth a kernel call each. Shorter ones are joined in blocks,
// where what is not contiguous is copied, unless that costs more.
constexpr std::size_t kLongRun = 128;

// Copies `count` runs' worth of elements, walking an odometer over the dimensions from `first` on.
template <class T>
void gather_items(const Shape& shape, const Strides& strides, const std::byte* origin,
                  std::size_t first, std::size_t n, T* block) {
  const std::size_t rank = shape.size();
  std::size_t index[kMaxRank] = {};
  const std::byte* at = origin;
  for (std::size_t d = rank, rest = first; d-- > 0; rest /= shape[d]) {
    index[d] = rest % shape[d];
    at += static_cast<std::ptrdiff_t>(index[d]) * strides[d];
  }
  if (rank == 0) {
    T value;
    std::memcpy(&value, at, sizeof(T));
    repeat(block, n, value);
    return;
  }
  const std::size_t inner = shape[rank - 1];
  const std::ptrdiff_t step = strides[rank - 1];
  while (n > 0) {
    const std::size_t length = std::min(n, inner - index[rank - 1]);
    if (step == 0) {
      T value;
      std::memcpy(&value, at, sizeof(T));
      repeat(block, length, value);
    } else {
      const std::byte* source = at;
      for (std::size_t i = 0; i < length; ++i, source += step) {
        std::memcpy(block + i, source, sizeof(T));
      }
    }
    block += length;
    n -= length;
    at -= static_cast<std::ptrdiff_t>(index[rank - 1]) * step;
    index[rank - 1] = 0;
    for (std::size_t d = rank - 1; d-- > 0;) {
      at += strides[d];
      if (++index[d] < shape[d]) break;
      at -= static_cast<std::ptrdiff_t>(shape[d]) * strides[d];
      index[d] = 0;
    }
  }
}

Strides in_bytes(const Strides& strides, std::size_t item) {
  Strides bytes(strides);
  for (std::ptrdiff_t& stride : bytes) stride *= static_cast<std::ptrdiff_t>(item);
  return bytes;
}

// Whether an operand must be copied block after block when several rows are joined: its own
// dimensions do not merge, and it does not repeat with a short period either.
bool is_copied_when_joined(const Shape& shape, const Strides& strides) {
  const Merged own = merge_dimensions(shape, {strides});
  if (own.shape.size() < 2) return false;
  return own.strides[0].front() != 0 || element_count(shape) / own.shape.front() > kLongRun;
}

}  // namespace

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ElementwiseSpec& spec,
                                const ElementwiseSpec::Slots& slots) {
  return std::make_unique<Elementwise>(table, spec, slots);
}

void arrays(const ElementwiseSpec& spec, const ElementwiseSpec::Slots& slots, ArrayList& list) {
  if (spec.code.empty()) throw std::invalid_argument("elementwise: the chain has no instruction");
  if (spec.dtypes.size() != slots.x.size() || spec.strides.size() != slots.x.size()) {
    throw std::invalid_argument("elementwise: " + std::to_string(slots.x.size()) +
                                " operands; got " + std::to_string(spec.dtypes.size()) +
                                " types and " + std::to_string(spec.strides.size()) +
                                " lists of strides");
  }
  list.clear();
  for (std::size_t i = 0; i < slots.x.size(); ++i) {
    const std::size_t item = item_bytes(spec.dtypes[i]);
    list.push_back(strided(slots.x[i], spec.shape, spec.strides[i], item, Use::replaced));
  }
  list.push_back(contiguous(slots.y, element_count(spec.shape), item_bytes(spec.code.back().dtype),
                            Use::written));
}

double work(const ElementwiseSpec& spec) {
  return static_cast<double>(element_count(spec.shape)) * static_cast<double>(spec.code.size());
}

Elementwise::Elementwise(const kernels::KernelTable& table, const ElementwiseSpec& spec,
                         const ElementwiseSpec::Slots& slots)
    : output_(slots.y), total_(element_count(spec.shape)) {
  const std::vector<Instruction>& code = spec.code;
  if (code.empty()) throw std::invalid_argument("elementwise: the chain has no instruction");
  if (slots.x.size() + code.size() > kMaxRegisters) {
    throw std::invalid_argument("elementwise: more than " + std::to_string(kMaxRegisters) +
                                " operands and instructions");
  }
  build_operations(table, spec.dtypes, join(code, spec.dtypes));
  choose_run(spec, slots.x);
  spread_uniform();
  choose_block();
  double per_element = 0;
  for (const Operation& op : operations_) per_element += op.uniform ? 0.0 : op.cost;
  for (const Input& input : inputs_) per_element += input.access == Access::gathered ? 0.5 : 0.0;
  cost_ = 20.0 + per_element * static_cast<double>(total_);
}

void Elementwise::build_operations(const kernels::KernelTable& table,
                                   const std::vector<DType>& operand_types,
                                   const std::vector<Instruction>& code) {
  types_ = operand_types;
  for (const Instruction& instruction : code) {
    std::vector<DType> arg_types;
    for (const std::size_t arg : instruction.args) {
      if (arg >= types_.size()) {
        throw std::invalid_argument("elementwise: '" + instruction.op +
                                    "' reads a register that is not yet written");
      }
      arg_types.push_back(types_[arg]);
    }
    Operation operation = find_operation(table, instruction, arg_types);
    std::copy(instruction.args.begin(), instruction.args.end(), operation.args);
    operation.result = types_.size();
    operations_.push_back(operation);
    types_.push_back(instruction.dtype);
  }
}

// Either the inner dimension is the run, with operands of stride 0 and 1 read in place, or it is
// short and the whole output is. Nanoseconds decide: a row costs 10 and 6 for each kernel call; a
// row of n elements of a copied operand costs 12 + 0.3 n.
void Elementwise::choose_run(const ElementwiseSpec& spec, const std::vector<Slot>& slots) {
  const Shape& shape = spec.shape;
  std::vector<Strides> strides = spec.strides;
  strides.push_back(contiguous_strides(shape));
  const Merged merged = merge_dimensions(shape, strides);
  const std::size_t rank = merged.shape.size();
  if (rank > kMaxRank) {
    throw std::invalid_argument("elementwise: more than " + std::to_string(kMaxRank) +
                                " dimensions that cannot be merged");
  }
  bool by_row = false;
  if (rank > 1) {
    const auto inner = static_cast<double>(merged.shape.back());
    double copying = 0;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      const std::ptrdiff_t step = merged.strides[i].back();
      const bool in_place = step == 0 || step == 1;
      if (in_place && is_copied_when_joined(shape, strides[i])) copying += 12.0 + 0.3 * inner;
    }
    const double calling = 10.0 + 6.0 * static_cast<double>(operations_.size());
    by_row = merged.shape.back() >= kLongRun || calling < copying;
  }
  run_ = by_row ? merged.shape.back() : total_;
  if (by_row) rows_.assign(merged.shape.begin(), merged.shape.end() - 1);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    Input input;
    input.slot = slots[i];
    input.item = item_bytes(spec.dtypes[i]);
    const Merged own = merge_dimensions(shape, {spec.strides[i]});
    input.shape = own.shape;
    input.strides = in_bytes(own.strides[0], input.item);
    const Strides& walked = by_row ? merged.strides[i] : own.strides[0];
    const bool even = by_row || walked.size() <= 1;
    const std::ptrdiff_t step = walked.empty() ? 1 : walked.back();
    input.access = even && step == 0   ? Access::uniform
                   : even && step == 1 ? Access::direct
                                       : Access::gathered;
    if (by_row) {
      input.row_strides = in_bytes(Strides(walked.begin(), walked.end() - 1), input.item);
    }
    inputs_.push_back(std::move(input));
  }
}

// An operation on nothing but uniform registers is computed once per block. The output has to be
// written in full: when it would be uniform too, nothing is, and kernels that cannot repeat a value
// get it repeated in scratch.
void Elementwise::spread_uniform() {
  const auto step_of = [this](std::size_t reg) -> std::ptrdiff_t {
    if (reg < inputs_.size()) return inputs_[reg].access == Access::uniform ? 0 : 1;
    return operations_[reg - inputs_.size()].uniform ? 0 : 1;
  };
  for (Operation& operation : operations_) {
    operation.uniform = true;
    for (std::size_t i = 0; i < operation.arg_count; ++i) {
      operation.uniform = operation.uniform && step_of(operation.args[i]) == 0;
    }
  }
  if (operations_.back().uniform) {
    for (Operation& operation : operations_) {
      operation.uniform = false;
      if (operation.broadcasts) continue;
      const std::size_t arg = operation.args[0];
      if (arg < inputs_.size()) inputs_[arg].access = Access::gathered;
    }
  }
  for (Operation& operation : operations_) {
    for (std::size_t i = 0; i < operation.arg_count; ++i) {
      operation.steps[i] = step_of(operation.args[i]);
    }
  }
}

// Gives every register that needs scratch a place of its own from its first use to its last, and
// sizes the blocks so that all places fit.
void Elementwise::choose_block() {
  std::vector<std::size_t> last_use(types_.size(), 0);
  for (std::size_t i = 0; i < operations_.size(); ++i) {
    for (std::size_t a = 0; a < operations_[i].arg_count; ++a) last_use[operations_[i].args[a]] = i;
  }
  std::size_t count = 0, item = 1;
  std::vector<std::size_t> open;
  const auto take = [&](std::size_t reg) {
    item = std::max(item, item_bytes(types_[reg]));
    if (open.empty()) return count++;
    const std::size_t place = open.back();
    open.pop_back();
    return place;
  };
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (inputs_[i].access == Access::gathered) inputs_[i].place = take(i);
  }
  for (std::size_t i = 0; i + 1 < operations_.size(); ++i) {
    places_.push_back(take(operations_[i].result));
    for (std::size_t reg = inputs_.size(); reg < operations_[i].result; ++reg) {
      if (last_use[reg] == i) open.push_back(places_[reg - inputs_.size()]);
    }
  }
  if (count > kMaxPlaces) {
    throw std::invalid_argument("elementwise: " + std::to_string(count) +
                                " values alive at once; at most " + std::to_string(kMaxPlaces) +
                                " fit");
  }
  grain_ = kGrain;
  if (count == 0) {
    block_ = std::max<std::size_t>(run_, 1);
    return;
  }
  place_bytes_ = std::min(kMaxPlaceBytes, kScratchBytes / count / 64 * 64);
  block_ = place_bytes_ / item;
  if (!rows_.empty()) return;
  // Operands that repeat from block to block are copied once per run: the block becomes a multiple
  // of their period. Periods are products of trailing dimensions, so each divides the next.
  std::size_t longest = 0;
  for (Input& input : inputs_) {
    const bool repeats =
        input.access == Access::gathered && input.shape.size() > 1 && input.strides.front() == 0;
    input.period = repeats ? total_ / input.shape.front() : 0;
    if (input.period > 0 && input.period <= block_) {
      input.access = Access::periodic;
      longest = std::max(longest, input.period);
    }
  }
  if (longest > 0) grain_ = block_ = block_ / longest * longest;
}

std::size_t Elementwise::nbytes() const {
  std::size_t bytes = sizeof(*this) + heap_of(inputs_) + heap_of(types_) + heap_of(operations_) +
                      heap_of(places_) + heap_of(rows_);
  for (const Input& input : inputs_) {
    bytes += heap_of(input.row_strides) + heap_of(input.shape) + heap_of(input.strides);
  }
  return bytes;
}

void Elementwise::gather(const Input& input, const std::byte* origin, std::size_t first,
                         std::size_t n, std::byte* block) const {
  switch (input.item) {
    case 1:
      return gather_items(input.shape, input.strides, origin, first, n,
                          reinterpret_cast<std::uint8_t*>(block));
    case 2:
      return gather_items(input.shape, input.strides, origin, first, n,
                          reinterpret_cast<std::uint16_t*>(block));
    case 4:
      return gather_items(input.shape, input.strides, origin, first, n,
                          reinterpret_cast<std::uint32_t*>(block));
    default:
      return gather_items(input.shape, input.strides, origin, first, n,
                          reinterpret_cast<std::uint64_t*>(block));
  }
}

void Elementwise::run(const Frame& frame, const base::Team& team) const {
  const auto [begin, end] = team.share(total_, grain_);
  if (begin == end) return;
  alignas(64) std::byte scratch[kScratchBytes];
  std::byte* at[kMaxRegisters];
  const std::byte* origin[kMaxRegisters];
  const std::size_t operands = inputs_.size();
  for (std::size_t i = 0; i < operands; ++i) {
    const Input& input = inputs_[i];
    origin[i] = frame.at<std::byte>(input.slot);
    at[i] = scratch + input.place * place_bytes_;
    if (input.access != Access::periodic) continue;
    const std::size_t n = std::min(block_, end - begin), first = std::min(input.period, n);
    gather(input, origin[i], 0, first, at[i]);
    for (std::size_t done = first; done < n;) {
      const std::size_t more = std::min(done, n - done);
      std::memcpy(at[i] + done * input.item, at[i], more * input.item);
      done += more;
    }
  }
  for (std::size_t i = 0; i < places_.size(); ++i) {
    at[operands + i] = scratch + places_[i] * place_bytes_;
  }
  std::byte* const y = frame.at<std::byte>(output_);
  const std::size_t last = operands + operations_.size() - 1;
  const std::size_t y_item = item_bytes(types_[last]);

  // An odometer over the dimensions outside the run moves the operands from row to row.
  std::size_t index[kMaxRank] = {};
  const std::byte* row_origin[kMaxRegisters];
  std::copy(origin, origin + operands, row_origin);
  const auto step = [&](std::size_t d, std::ptrdiff_t count) {
    for (std::size_t i = 0; i < operands; ++i) row_origin[i] += count * inputs_[i].row_strides[d];
  };
  std::size_t row_begin = begin / run_ * run_;
  for (std::size_t d = rows_.size(), rest = begin / run_; d-- > 0; rest /= rows_[d]) {
    index[d] = rest % rows_[d];
    step(d, static_cast<std::ptrdiff_t>(index[d]));
  }
  for (std::size_t position = begin; position < end;) {
    const std::size_t row_end = std::min(end, row_begin + run_);
    while (position < row_end) {
      const std::size_t n = std::min(block_, row_end - position);
      for (std::size_t i = 0; i < operands; ++i) {
        const Input& input = inputs_[i];
        if (input.access == Access::gathered) {
          gather(input, origin[i], position, n, at[i]);
        } else if (input.access != Access::periodic) {
          const bool moves = input.access == Access::direct;
          const std::size_t passed = moves ? (position - row_begin) * input.item : 0;
          at[i] = const_cast<std::byte*>(row_origin[i]) + passed;
        }
      }
      at[last] = y + position * y_item;
      for (const Operation& operation : operations_) operation.run(at, n);
      position += n;
    }
    row_begin = row_end;
    for (std::size_t d = rows_.size(); d-- > 0;) {
      step(d, 1);
      if (++index[d] < rows_[d]) break;
      step(d, -static_cast<std::ptrdiff_t>(rows_[d]));
      index[d] = 0;
    }
  }
}

}  // namespace lamella::steps

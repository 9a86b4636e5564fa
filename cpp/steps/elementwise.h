// SPDX-License-Identifier: Apache-2.0
// A fused chain of elementwise instructions over broadcast operands, in one pass over memory.
//
// Registers 0..k-1 are the operands, then comes one register per instruction; the last one is the
// output, stored contiguously. The chain is interpreted over blocks small enough that every
// register in flight stays in the first-level cache; one instruction over contiguous operands is a
// plain kernel call. The output may be exactly one of the operands (same slot, same item size, both
// contiguous); any other overlap is not allowed.
#pragma once

#include <memory>
#include <vector>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/instruction.h"
#include "steps/step.h"
#include "steps/strides.h"

namespace lamella::steps {

struct ElementwiseSpec {
  static constexpr const char* kKind = "ElementwiseSpec";

  Shape shape;
  // Of each operand: its type, and its strides in elements, where 0 repeats the value.
  std::vector<DType> dtypes;
  std::vector<Strides> strides;
  std::vector<Instruction> code;

  auto fields() {
    return std::array{field("shape", shape), field("dtypes", dtypes), field("strides", strides),
                      field("code", code)};
  }

  struct Slots {
    std::vector<Slot> x;
    Slot y;

    auto fields() { return std::array{field("x", x), field("y", y)}; }
  };
};

// A chain with no more operands and instructions together than this always fits; a longer one fits
// when few enough of its values are alive at the same time.
inline constexpr std::size_t kElementwiseRegisters = 32;

// Throws std::invalid_argument when the chain does not fit, names no kernel, or is malformed.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ElementwiseSpec& spec,
                                const ElementwiseSpec::Slots& slots);
void arrays(const ElementwiseSpec& spec, const ElementwiseSpec::Slots& slots, ArrayList& list);
double work(const ElementwiseSpec& spec);

class Elementwise final : public Step {
 public:
  Elementwise(const kernels::KernelTable& table, const ElementwiseSpec& spec,
              const ElementwiseSpec::Slots& slots);

  void run(const Frame& frame, const base::Team& team) const override;
  double cost() const override { return cost_; }
  const char* name() const override { return "elementwise"; }
  std::size_t nbytes() const override;

 private:
  // How an operand reaches the kernels: its own memory, one element at a time or one for all; or
  // copied into scratch, for every block or once because the block is a multiple of its period.
  enum class Access : std::uint8_t { direct, uniform, gathered, periodic };

  struct Input {
    Slot slot;
    std::size_t item = 0;
    Access access = Access::direct;
    std::size_t place = 0;  // its block of scratch
    std::size_t period = 0;
    Strides row_strides;  // bytes, for the dimensions outside the run
    Shape shape;          // the operand's own merged dimensions, for gathering
    Strides strides;      // bytes
  };

  void build_operations(const kernels::KernelTable& table, const std::vector<DType>& operand_types,
                        const std::vector<Instruction>& code);
  void choose_run(const ElementwiseSpec& spec, const std::vector<Slot>& slots);
  void spread_uniform();
  void choose_block();

  void gather(const Input& input, const std::byte* origin, std::size_t first, std::size_t n,
              std::byte* block) const;

  std::vector<Input> inputs_;
  std::vector<DType> types_;  // of every register
  std::vector<Operation> operations_;
  std::vector<std::size_t> places_;  // scratch block of each operation's result but the last
  Shape rows_;                       // dimensions outside the run
  Slot output_;
  std::size_t total_ = 0;
  std::size_t run_ = 0;          // elements over which the operands' addresses advance evenly
  std::size_t block_ = 0;        // elements per block
  std::size_t place_bytes_ = 0;  // bytes of one block of scratch
  std::size_t grain_ = 0;        // boundary of the members' shares
  double cost_ = 0;
};

}  // namespace lamella::steps

// SPDX-License-Identifier: Apache-2.0
#include "steps/instruction.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include "steps/lookup.h"

namespace lamella::steps {

namespace {

template <class T>
const T* arg(const Operation& op, std::byte* const* at, std::size_t i) {
  return reinterpret_cast<const T*>(at[op.args[i]]);
}

template <class T>
T* result(const Operation& op, std::byte* const* at) {
  return reinterpret_cast<T*>(at[op.result]);
}

template <class T>
void call_unary(const Operation& op, std::byte* const* at, std::size_t n) {
  reinterpret_cast<kernels::UnaryFn<T>>(op.kernel)(arg<T>(op, at, 0), result<T>(op, at), n,
                                                   reinterpret_cast<const T*>(op.params));
}

template <class T>
void call_binary(const Operation& op, std::byte* const* at, std::size_t n) {
  reinterpret_cast<kernels::BinaryFn<T>>(op.kernel)(
      arg<T>(op, at, 0), op.steps[0], arg<T>(op, at, 1), op.steps[1], result<T>(op, at), n);
}

template <class T>
void call_compare(const Operation& op, std::byte* const* at, std::size_t n) {
  reinterpret_cast<kernels::CompareFn<T>>(op.kernel)(arg<T>(op, at, 0), op.steps[0],
                                                     arg<T>(op, at, 1), op.steps[1],
                                                     result<std::uint8_t>(op, at), n);
}

template <class T>
void call_select(const Operation& op, std::byte* const* at, std::size_t n) {
  reinterpret_cast<kernels::SelectFn<T>>(op.kernel)(
      arg<std::uint8_t>(op, at, 0), op.steps[0], arg<T>(op, at, 1), op.steps[1], arg<T>(op, at, 2),
      op.steps[2], result<T>(op, at), n);
}

template <class T>
void call_joined(const Operation& op, std::byte* const* at, std::size_t n) {
  const T* x[Operation::kMaxArgs];
  for (std::size_t i = 0; i < op.arg_count; ++i) x[i] = arg<T>(op, at, i);
  reinterpret_cast<kernels::JoinedFn<T>>(op.kernel)(x, op.steps, result<T>(op, at), n);
}

void call_cast(const Operation& op, std::byte* const* at, std::size_t n) {
  reinterpret_cast<kernels::CastFn>(op.kernel)(at[op.args[0]], at[op.result], n);
}

[[noreturn]] void reject(const Instruction& instruction, const std::vector<DType>& arg_types,
                         const std::string& expected) {
  std::string got;
  for (const DType type : arg_types)
    got += (got.empty() ? "" : ", ") + std::string(dtype_name(type));
  throw std::invalid_argument("elementwise: no kernel '" + instruction.op + "' (" + got + ") -> " +
                              dtype_name(instruction.dtype) + "; expected " + expected);
}

void expect_args(const Instruction& instruction, const std::vector<DType>& arg_types,
                 const std::vector<DType>& expected) {
  if (arg_types == expected) return;
  std::string text;
  for (const DType type : expected)
    text += (text.empty() ? "" : ", ") + std::string(dtype_name(type));
  reject(instruction, arg_types, "(" + text + ")");
}

template <class Fn>
void bind(Operation& op, const kernels::Entry<Fn>& entry) {
  op.kernel = reinterpret_cast<Operation::AnyKernel>(entry.fn);
  op.cost = entry.cost;
}

// Writes the instruction's numbers in the kernel's type.
template <class T>
void set_params(Operation& op, const Instruction& instruction, std::size_t expected) {
  if (instruction.params.size() != expected || expected > Operation::kMaxParams) {
    throw std::invalid_argument("elementwise: '" + instruction.op + "' takes " +
                                std::to_string(expected) + " parameters; got " +
                                std::to_string(instruction.params.size()));
  }
  for (std::size_t i = 0; i < expected; ++i) {
    const T value = static_cast<T>(instruction.params[i]);
    std::memcpy(op.params + i * sizeof(T), &value, sizeof(T));
  }
}

// Families whose result has the type of their arguments.
template <class T>
bool find_same_type(const kernels::ElementwiseKernels<T>& family, const Instruction& instruction,
                    const std::vector<DType>& arg_types, Operation& op) {
  const DType type = instruction.dtype;
  if (const auto* unary = find_kernel(family.unary, instruction.op)) {
    expect_args(instruction, arg_types, {type});
    op.invoke = call_unary<T>;
    bind(op, *unary);
    set_params<T>(op, instruction, unary->params);
    return true;
  }
  op.broadcasts = true;
  if (const auto* binary = find_kernel(family.binary, instruction.op)) {
    expect_args(instruction, arg_types, {type, type});
    op.invoke = call_binary<T>;
    bind(op, *binary);
    return true;
  }
  if (const auto* joined = find_kernel(family.joined, instruction.op)) {
    expect_args(instruction, arg_types, std::vector<DType>(joined->params, type));
    op.invoke = call_joined<T>;
    bind(op, *joined);
    return true;
  }
  if (instruction.op == "select") {
    expect_args(instruction, arg_types, {DType::boolean, type, type});
    op.invoke = call_select<T>;
    bind(op, family.select);
    return true;
  }
  return false;
}

template <class T>
bool find_compare(const kernels::ElementwiseKernels<T>& family, const Instruction& instruction,
                  const std::vector<DType>& arg_types, Operation& op) {
  const auto* compare = find_kernel(family.compare, instruction.op);
  if (compare == nullptr) return false;
  expect_args(instruction, arg_types, {arg_types[0], arg_types[0]});
  op.broadcasts = true;
  op.invoke = call_compare<T>;
  bind(op, *compare);
  return true;
}

void find_cast(const kernels::CastKernels& casts, const Instruction& instruction,
               const std::vector<DType>& arg_types, Operation& op) {
  if (arg_types.size() == 1) {
    const auto from = static_cast<std::size_t>(arg_types[0]);
    const auto& entry = casts.entries[from][static_cast<std::size_t>(instruction.dtype)];
    if (entry.fn != nullptr) {
      op.invoke = call_cast;
      bind(op, entry);
      return;
    }
  }
  reject(instruction, arg_types, "one argument of another type that casts to the result's");
}

bool find_by_type(const kernels::KernelTable& table, const Instruction& instruction,
                  const std::vector<DType>& arg_types, Operation& op) {
  const DType type = instruction.dtype;
  if (is_storage(type) || is_storage(arg_types[0])) return false;
  const bool found = with_type(type, "elementwise", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return find_same_type<T>(*typed_kernels<T>(table).elementwise, instruction, arg_types, op);
  });
  if (found || type != DType::boolean) return found;
  return with_type(arg_types[0], "elementwise", [&](auto tag) {
    using T = typename decltype(tag)::type;
    return find_compare<T>(*typed_kernels<T>(table).elementwise, instruction, arg_types, op);
  });
}

// What instructions are joined with: the one that made a register, where it is read once only.
class Sources {
 public:
  Sources(const std::vector<Instruction>& code, const std::vector<DType>& operands)
      : code_(code), first_(operands.size()), types_(operands) {
    for (const Instruction& instruction : code) types_.push_back(instruction.dtype);
    uses_.resize(types_.size());
    for (const Instruction& instruction : code) {
      for (const std::size_t arg : instruction.args) ++uses_.at(arg);
    }
  }
  DType type(std::size_t reg) const { return types_[reg]; }
  // Its number in the code, or that behind the last.
  std::size_t only(std::size_t reg) const {
    return reg >= first_ && uses_[reg] == 1 ? reg - first_ : code_.size();
  }
  bool is(std::size_t number, std::string_view op, DType dtype) const {
    return number < code_.size() && code_[number].op == op && code_[number].dtype == dtype;
  }

 private:
  const std::vector<Instruction>& code_;
  std::size_t first_;
  std::vector<DType> types_;
  std::vector<std::size_t> uses_;
};

constexpr std::array<std::string_view, 6> kCompare = {"eq", "ne", "lt", "le", "gt", "ge"};

// Puts the sources of one instruction into it, and marks them as gone. Zen 4: the slope of tanh for
// 4096 elements 0.55 -> 0.25 us, that of relu for 2048 0.16 -> 0.12; half of what is left of the
// former are lines that the first-level cache had to give up.
void join_one(Instruction& instruction, const std::vector<Instruction>& code,
              const Sources& sources, std::vector<bool>& gone) {
  const DType type = instruction.dtype;
  const std::vector<std::size_t> args = instruction.args;
  if (!is_floating(type)) return;
  if (instruction.op == "select" && args.size() == 3) {
    const std::size_t made = sources.only(args[0]);
    for (const std::string_view compare : kCompare) {
      if (!sources.is(made, compare, DType::boolean)) continue;
      const std::vector<std::size_t>& pair = code[made].args;
      if (pair.size() != 2 || sources.type(pair[0]) != type || sources.type(pair[1]) != type)
        return;
      instruction.op = "select_" + code[made].op;
      instruction.args = {pair[0], pair[1], args[1], args[2]};
      gone[made] = true;
      return;
    }
  } else if (instruction.op == "mul" && args.size() == 2) {
    for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
      const std::size_t rest = sources.only(args[side]);
      if (!sources.is(rest, "sub", type) || code[rest].args.size() != 2) continue;
      const std::size_t square = sources.only(code[rest].args[1]);
      if (!sources.is(square, "square", type) || code[square].args.size() != 1) continue;
      instruction.op = "mul_sub_square";
      instruction.args = {args[1 - side], code[rest].args[0], code[square].args[0]};
      gone[rest] = gone[square] = true;
      return;
    }
  }
}

}  // namespace

std::vector<Instruction> join(const std::vector<Instruction>& code,
                              const std::vector<DType>& operands) {
  for (std::size_t i = 0; i < code.size(); ++i) {
    for (const std::size_t arg : code[i].args) {
      if (arg >= operands.size() + i) return code;  // refused by whoever looks the instructions up
    }
  }
  const Sources sources(code, operands);
  std::vector<Instruction> joined = code;
  std::vector<bool> gone(code.size());
  for (Instruction& instruction : joined) join_one(instruction, code, sources, gone);
  std::vector<std::size_t> renamed(operands.size() + code.size());
  std::vector<Instruction> kept;
  for (std::size_t reg = 0; reg < renamed.size(); ++reg) {
    renamed[reg] = reg < operands.size() ? reg : operands.size() + kept.size();
    if (reg < operands.size() || gone[reg - operands.size()]) continue;
    kept.push_back(joined[reg - operands.size()]);
    for (std::size_t& arg : kept.back().args) arg = renamed[arg];
  }
  return kept;
}

Operation find_operation(const kernels::KernelTable& table, const Instruction& instruction,
                         const std::vector<DType>& arg_types) {
  if (arg_types.empty() || arg_types.size() > Operation::kMaxArgs) {
    throw std::invalid_argument("elementwise: '" + instruction.op + "' needs 1 to " +
                                std::to_string(Operation::kMaxArgs) + " arguments; got " +
                                std::to_string(arg_types.size()));
  }
  Operation op;
  op.arg_count = arg_types.size();
  if (instruction.op == "cast") {
    find_cast(*table.cast, instruction, arg_types, op);
  } else if (!find_by_type(table, instruction, arg_types, op)) {
    reject(instruction, arg_types, "a name and types that some kernel family has");
  }
  return op;
}

}  // namespace lamella::steps

// SPDX-License-Identifier: Apache-2.0
// Linear quantisation and its inverse: q = saturate(round(x / scale) + zero), x = (q - zero) * scale.
//
// x is (outer, axis, inner). A scale and a zero point serve all of it, or a block of the axis each:
// element (o, c, i) reads number o * outer_step + c / block * axis_step + i * inner_step. Dynamic
// quantisation takes both from the least and the greatest of 0 and x (ONNX, DynamicQuantizeLinear).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/step.h"

namespace lamella::steps {

// Where the numbers of an element lie.
struct Granularity {
  std::size_t outer = 1, axis = 1, inner = 1, block = 1;
  std::size_t outer_step = 0, axis_step = 0, inner_step = 0;  // inner_step is 0 or 1

  auto placing() {
    return std::array{field("outer", outer),
                      field("axis", axis),
                      field("inner", inner),
                      optional_field("block", block),
                      optional_field("outer_step", outer_step),
                      optional_field("axis_step", axis_step),
                      optional_field("inner_step", inner_step)};
  }
};

struct QuantizeSpec : Granularity {
  static constexpr const char* kKind = "QuantizeSpec";

  DType dtype = DType::f32;  // of x and scale: float32 or float64
  DType to = DType::u8;      // of zero and y: uint8 or int8

  auto fields() { return joined(std::array{field("dtype", dtype), field("to", to)}, placing()); }

  struct Slots {
    Slot x, scale;
    std::optional<Slot> zero;
    Slot y;

    auto fields() {
      return std::array{field("x", x), field("scale", scale), optional_field("zero", zero),
                        field("y", y)};
    }
  };
};

struct DequantizeSpec : Granularity {
  static constexpr const char* kKind = "DequantizeSpec";

  DType of = DType::u8;      // x and zero: uint8, int8 or int32
  DType dtype = DType::f32;  // of scale and y: float32 or float64

  auto fields() { return joined(std::array{field("of", of), field("dtype", dtype)}, placing()); }

  using Slots = QuantizeSpec::Slots;
};

// y = quantised x as uint8, scale = (greatest - least) / 255 and zero = round(-least / scale); a scale
// of 0 becomes 1.
struct DynamicQuantizeSpec {
  static constexpr const char* kKind = "DynamicQuantizeSpec";

  std::size_t count = 0;

  auto fields() { return std::array{field("count", count)}; }

  struct Slots {
    Slot x, y, scale, zero;       // float32, uint8, float32, uint8
    std::optional<Slot> scratch;  // scratch_bytes bytes

    auto fields() {
      return std::array{field("x", x), field("y", y), field("scale", scale), field("zero", zero)};
    }
  };
};

std::size_t scratch_bytes(const DynamicQuantizeSpec& spec);

// Throw std::invalid_argument for other types and steps.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const QuantizeSpec& spec,
                                const QuantizeSpec::Slots& slots);
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const DequantizeSpec& spec,
                                const DequantizeSpec::Slots& slots);
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const DynamicQuantizeSpec& spec,
                                const DynamicQuantizeSpec::Slots& slots);
void arrays(const QuantizeSpec& spec, const QuantizeSpec::Slots& slots, ArrayList& list);
void arrays(const DequantizeSpec& spec, const DequantizeSpec::Slots& slots, ArrayList& list);
void arrays(const DynamicQuantizeSpec& spec, const DynamicQuantizeSpec::Slots& slots,
            ArrayList& list);
double work(const QuantizeSpec& spec);
double work(const DequantizeSpec& spec);
double work(const DynamicQuantizeSpec& spec);

}  // namespace lamella::steps

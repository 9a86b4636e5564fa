// SPDX-License-Identifier: Apache-2.0
// Running sums, products and extremes over the middle of a contiguous (outer, size, inner) array.
//
// Members share whole chains, so that no bit depends on the team. Sums and products may be written
// over x, and may run from the end.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/step.h"

namespace lamella::steps {

struct ScanSpec {
  static constexpr const char* kKind = "ScanSpec";

  std::string kind;          // sum prod of float32, float64 and int64; max min of every type
  DType dtype = DType::f32;  // of x and y
  std::size_t outer = 0, size = 0, inner = 0;
  bool reverse = false;  // y[j] of x[j] and those behind it; sum and prod only

  auto fields() {
    return std::array{field("kind", kind),   field("dtype", dtype),
                      field("outer", outer), field("size", size),
                      field("inner", inner), optional_field("reverse", reverse)};
  }

  struct Slots {
    Slot x, y;
    std::optional<Slot> positions;  // int64, of max and min alone: where they stand

    auto fields() {
      return std::array{field("x", x), field("y", y), optional_field("positions", positions)};
    }
  };
};

// Throws std::invalid_argument for a kind that is unknown or not for this type.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ScanSpec& spec,
                                const ScanSpec::Slots& slots);
void arrays(const ScanSpec& spec, const ScanSpec::Slots& slots, ArrayList& list);
double work(const ScanSpec& spec);

}  // namespace lamella::steps

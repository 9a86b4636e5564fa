// SPDX-License-Identifier: Apache-2.0
// Random numbers from a counter-based generator; dropout: y = x * keep / (1 - p), keep drawn.
//
// The draw of an element depends on the generator's key, the number of this run, the step's stream
// and the element's index, and on nothing else: any team and any split give the same
// numbers.
#pragma once

#include <memory>
#include <string>

#include "kernels/table.h"
#include "steps/arrays.h"
#include "steps/dtype.h"
#include "steps/fields.h"
#include "steps/step.h"

namespace lamella::steps {

struct DropoutSpec {
  static constexpr const char* kKind = "DropoutSpec";

  DType dtype = DType::f32;  // float32 or float64
  std::size_t count = 0;
  double p = 0.5;            // probability that an element becomes zero, in [0, 1]
  std::uint64_t stream = 0;  // tells the dropouts of one program apart, below 2^16

  auto fields() {
    return std::array{field("dtype", dtype), field("count", count), field("p", p),
                      field("stream", stream)};
  }

  struct Slots {
    Slot x, y;  // y may be exactly x

    auto fields() { return std::array{field("x", x), field("y", y)}; }
  };
};

// Throws std::invalid_argument for other types, p outside [0, 1] and streams of 2^16 and more.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const DropoutSpec& spec,
                                const DropoutSpec::Slots& slots);
void arrays(const DropoutSpec& spec, const DropoutSpec::Slots& slots, ArrayList& list);
double work(const DropoutSpec& spec);

struct DrawSpec {
  static constexpr const char* kKind = "DrawSpec";

  std::string name;          // "uniform", in [0, 1), or "normal"
  DType dtype = DType::f32;  // float32 or float64
  std::size_t count = 0;
  std::uint64_t stream = 0;  // as in DropoutSpec

  auto fields() {
    return std::array{field("name", name), field("dtype", dtype), field("count", count),
                      field("stream", stream)};
  }

  struct Slots {
    Slot y;

    auto fields() { return std::array{field("y", y)}; }
  };
};

// Throws std::invalid_argument for other types, names and streams of 2^16 and more.
std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const DrawSpec& spec,
                                const DrawSpec::Slots& slots);
void arrays(const DrawSpec& spec, const DrawSpec::Slots& slots, ArrayList& list);
double work(const DrawSpec& spec);

}  // namespace lamella::steps

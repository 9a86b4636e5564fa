// SPDX-License-Identifier: Apache-2.0
#include "steps/quantize.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "base/checked.h"
#include "steps/strides.h"

namespace lamella::steps {

namespace {

using std::size_t;

// Elements of a share, where one run is shared: whole cache lines of bytes.
constexpr size_t kGrain = 64;
// Parts of a dynamically quantised array whose extremes are found apart.
constexpr size_t kParts = 256;

template <class T>
const kernels::TypedQuantizeKernels<T>& typed(const kernels::KernelTable& table) {
  if constexpr (sizeof(T) == sizeof(float)) return table.quantize->f32;
  if constexpr (sizeof(T) == sizeof(double)) return table.quantize->f64;
}

size_t count_of(const Granularity& of) {
  return base::checked_mul(base::checked_mul(of.outer, of.axis), of.inner);
}

// Scales that are read: one behind the last.
size_t numbers_of(const Granularity& of) {
  if (count_of(of) == 0) return 0;
  const auto reach = [](size_t extent, size_t step) { return base::checked_mul(extent - 1, step); };
  const size_t blocks = (of.axis - 1) / of.block + 1;
  return base::checked_add(
      base::checked_add(reach(of.outer, of.outer_step), reach(blocks, of.axis_step)),
      base::checked_add(reach(of.inner, of.inner_step), 1));
}

// Calls run(element, number, step, n) for the stretches of x that a member of the team is to do: n
// elements whose numbers are `step`, 0 or 1, apart.
template <class Run>
void stretches(const Granularity& of, const base::Team& team, Run run) {
  const bool one_row = of.outer * of.axis == 1, along = of.inner == 1;
  if (one_row) {
    const auto [begin, end] = team.share(of.inner, kGrain);
    if (begin < end) run(begin, begin * of.inner_step, of.inner_step, end - begin);
    return;
  }
  const auto [begin, end] = team.share(along ? of.outer : of.outer * of.axis);
  for (size_t row = begin; row < end; ++row) {
    const size_t o = along ? row : row / of.axis;
    if (!along) {
      const size_t number = o * of.outer_step + row % of.axis / of.block * of.axis_step;
      run(row * of.inner, number, of.inner_step, of.inner);
      continue;
    }
    const bool each = of.block == 1 && of.axis_step <= 1;
    const size_t length = each || of.axis_step == 0 ? of.axis : of.block;
    for (size_t c = 0; c < of.axis; c += length) {
      const size_t number = o * of.outer_step + c / of.block * of.axis_step;
      run(o * of.axis + c, number, each ? of.axis_step : 0, std::min(length, of.axis - c));
    }
  }
}

// From elements of From by numbers of T and zero points of Q to elements of To.
template <class From, class To, class T, class Q>
class Linear final : public Step {
 public:
  using Kernel = void (*)(const From* x, const T* scale, const Q* zero, std::ptrdiff_t step, To* y,
                          size_t n);
  Linear(Kernel kernel, const Granularity& of, const QuantizeSpec::Slots& slots, const char* name)
      : kernel_(kernel), of_(of), slots_(slots), name_(name) {
    if (of.block == 0 || of.inner_step > 1) {
      throw std::invalid_argument(std::string(name) + ": no such granularity");
    }
    numbers_of(of);
  }
  void run(const Frame& frame, const base::Team& team) const override {
    const auto* const x = frame.at<From>(slots_.x);
    const auto* const scale = frame.at<T>(slots_.scale);
    const auto* const zero = slots_.zero ? frame.at<Q>(*slots_.zero) : nullptr;
    auto* const y = frame.at<To>(slots_.y);
    stretches(of_, team, [&](size_t at, size_t number, size_t step, size_t n) {
      kernel_(x + at, scale + number, zero ? zero + number : nullptr,
              static_cast<std::ptrdiff_t>(step), y + at, n);
    });
  }
  // Nanoseconds: 0.3 an element, 5 a stretch.
  double cost() const override {
    const auto runs = static_cast<double>(of_.inner == 1 ? of_.outer : of_.outer * of_.axis);
    return 10 + 5 * runs + 0.3 * static_cast<double>(count_of(of_));
  }
  const char* name() const override { return name_; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  Kernel kernel_;
  Granularity of_;
  QuantizeSpec::Slots slots_;
  const char* name_;
};

class DynamicQuantize final : public Step {
 public:
  DynamicQuantize(const kernels::KernelTable& table, const DynamicQuantizeSpec& spec,
                  const DynamicQuantizeSpec::Slots& slots)
      : kernels_(*table.quantize), count_(spec.count), slots_(slots) {
    if (!slots.scratch) throw std::invalid_argument("dynamic_quantize: no scratch");
  }
  void run(const Frame& frame, const base::Team& team) const override;
  double cost() const override { return 20 + 0.4 * static_cast<double>(count_); }
  const char* name() const override { return "dynamic_quantize"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  const kernels::QuantizeKernels& kernels_;
  size_t count_;
  DynamicQuantizeSpec::Slots slots_;
};

// Extremes do not depend on the order, so that each member finds those of its parts and then folds all.
void DynamicQuantize::run(const Frame& frame, const base::Team& team) const {
  const auto* const x = frame.at<float>(slots_.x);
  auto* const found = frame.at<float>(*slots_.scratch);
  const size_t part = ((count_ + kParts - 1) / kParts + kGrain - 1) / kGrain * kGrain;
  const size_t parts = count_ == 0 ? 0 : (count_ + part - 1) / part;
  const auto [first, last] = team.share(parts);
  for (size_t p = first; p < last; ++p) {
    const size_t at = p * part;
    kernels_.extremes(x + at, std::min(part, count_ - at), found + 2 * p, found + 2 * p + 1);
  }
  team.barrier();
  float least = 0, greatest = 0;
  for (size_t p = 0; p < parts; ++p) {
    // Comparisons that are true of NaN, which stays.
    if (!(found[2 * p] >= least)) least = found[2 * p];
    if (!(found[2 * p + 1] <= greatest)) greatest = found[2 * p + 1];
    if (std::isnan(least) || std::isnan(greatest)) break;
  }
  float scale = (greatest - least) / 255.0f;
  if (scale == 0.0f) scale = 1.0f;
  // The bounds are taken where the quotient is NaN.
  const float quotient = -least / scale;
  const float bounded = quotient > 0.0f ? std::min(quotient, 255.0f) : 0.0f;
  const auto zero = static_cast<std::uint8_t>(std::nearbyint(bounded));
  const auto [begin, end] = team.share(count_, kGrain);
  kernels_.f32.quantize_u8(x + begin, &scale, &zero, 0, frame.at<std::uint8_t>(slots_.y) + begin,
                           end - begin);
  if (team.index == 0) {
    *frame.at<float>(slots_.scale) = scale;
    *frame.at<std::uint8_t>(slots_.zero) = zero;
  }
}

[[noreturn]] void refuse(const char* name, DType dtype) {
  throw std::invalid_argument(std::string(name) + ": no kernel for " + dtype_name(dtype));
}

template <class T>
std::unique_ptr<Step> make_quantize(const kernels::KernelTable& table, const QuantizeSpec& spec,
                                    const QuantizeSpec::Slots& slots) {
  using U = std::uint8_t;
  using S = std::int8_t;
  const auto& kernels = typed<T>(table);
  if (spec.to == DType::u8) {
    return std::make_unique<Linear<T, U, T, U>>(kernels.quantize_u8, spec, slots, "quantize");
  }
  if (spec.to == DType::i8) {
    return std::make_unique<Linear<T, S, T, S>>(kernels.quantize_i8, spec, slots, "quantize");
  }
  refuse("quantize", spec.to);
}

template <class T>
std::unique_ptr<Step> make_dequantize(const kernels::KernelTable& table, const DequantizeSpec& spec,
                                      const DequantizeSpec::Slots& slots) {
  const auto& kernels = typed<T>(table);
  const auto made = [&]<class Q>(kernels::DequantizeFn<T, Q> kernel) {
    return std::make_unique<Linear<Q, T, T, Q>>(kernel, spec, slots, "dequantize");
  };
  if (spec.of == DType::u8) return made(kernels.dequantize_u8);
  if (spec.of == DType::i8) return made(kernels.dequantize_i8);
  if (spec.of == DType::i32) return made(kernels.dequantize_i32);
  refuse("dequantize", spec.of);
}

void list_arrays(const Granularity& of, const QuantizeSpec::Slots& slots, DType from, DType scale,
                 DType zero, DType to, ArrayList& list) {
  const size_t count = count_of(of), numbers = numbers_of(of);
  list = {contiguous(slots.x, count, item_bytes(from)),
          contiguous(slots.scale, numbers, item_bytes(scale))};
  if (slots.zero) list.push_back(contiguous(*slots.zero, numbers, item_bytes(zero)));
  list.push_back(contiguous(slots.y, count, item_bytes(to), Use::written));
}

}  // namespace

std::size_t scratch_bytes(const DynamicQuantizeSpec&) { return 2 * kParts * sizeof(float); }

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const QuantizeSpec& spec,
                                const QuantizeSpec::Slots& slots) {
  if (spec.dtype == DType::f32) return make_quantize<float>(table, spec, slots);
  if (spec.dtype == DType::f64) return make_quantize<double>(table, spec, slots);
  refuse("quantize", spec.dtype);
}

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const DequantizeSpec& spec,
                                const DequantizeSpec::Slots& slots) {
  if (spec.dtype == DType::f32) return make_dequantize<float>(table, spec, slots);
  if (spec.dtype == DType::f64) return make_dequantize<double>(table, spec, slots);
  refuse("dequantize", spec.dtype);
}

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const DynamicQuantizeSpec& spec,
                                const DynamicQuantizeSpec::Slots& slots) {
  return std::make_unique<DynamicQuantize>(table, spec, slots);
}

void arrays(const QuantizeSpec& spec, const QuantizeSpec::Slots& slots, ArrayList& list) {
  list_arrays(spec, slots, spec.dtype, spec.dtype, spec.to, spec.to, list);
}

void arrays(const DequantizeSpec& spec, const DequantizeSpec::Slots& slots, ArrayList& list) {
  list_arrays(spec, slots, spec.of, spec.dtype, spec.of, spec.dtype, list);
}

void arrays(const DynamicQuantizeSpec& spec, const DynamicQuantizeSpec::Slots& slots,
            ArrayList& list) {
  list = {contiguous(slots.x, spec.count, sizeof(float)),
          contiguous(slots.y, spec.count, 1, Use::written),
          contiguous(slots.scale, 1, sizeof(float), Use::written),
          contiguous(slots.zero, 1, 1, Use::written)};
}

double work(const QuantizeSpec& spec) { return static_cast<double>(count_of(spec)); }
double work(const DequantizeSpec& spec) { return static_cast<double>(count_of(spec)); }
double work(const DynamicQuantizeSpec& spec) { return static_cast<double>(spec.count); }

}  // namespace lamella::steps

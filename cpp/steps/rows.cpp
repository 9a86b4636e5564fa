// SPDX-License-Identifier: Apache-2.0
#include "steps/rows.h"

#include <algorithm>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "base/checked.h"
#include "steps/lookup.h"

namespace lamella::steps {

namespace {

// Members' shares begin at whole cache lines where rows are short.
std::size_t row_grain(const RowsSpec& spec) {
  return std::max<std::size_t>(1, 16 / std::max<std::size_t>(spec.cols, 1));
}

// A row costs three folds and a division or two.
double rows_cost(const RowsSpec& spec, double element) {
  return 20.0 + static_cast<double>(spec.rows) * (25.0 + static_cast<double>(spec.cols) * element);
}

template <class T>
class Softmax final : public Step {
 public:
  Softmax(const SoftmaxSpec& spec, const SoftmaxSpec::Slots& slots,
          const kernels::Entry<kernels::SoftmaxFn<T>>& entry)
      : spec_(spec),
        slots_(slots),
        name_(entry.name),
        cost_(rows_cost(spec, entry.cost)),
        kernel_(entry.fn) {}

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.rows, row_grain(spec_));
    const std::size_t first = begin * spec_.cols;
    kernel_(frame.at<T>(slots_.x) + first, frame.at<T>(slots_.y) + first, end - begin, spec_.cols);
  }
  double cost() const override { return cost_; }
  const char* name() const override { return name_; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  RowsSpec spec_;
  SoftmaxSpec::Slots slots_;
  const char* name_;
  double cost_;
  kernels::SoftmaxFn<T> kernel_;
};

template <class T>
class LayerNorm final : public Step {
 public:
  LayerNorm(const kernels::KernelTable& table, const LayerNormSpec& spec,
            const LayerNormSpec::Slots& slots)
      : spec_(spec),
        slots_(slots),
        epsilon_(static_cast<T>(spec.epsilon)),
        cost_(rows_cost(spec, typed_kernels<T>(table).rows->layer_norm.cost)),
        kernel_(typed_kernels<T>(table).rows->layer_norm.fn) {}

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.rows, row_grain(spec_));
    const std::size_t first = begin * spec_.cols;
    kernel_(frame.at<T>(slots_.x) + first, frame.at<T>(slots_.y) + first, end - begin, spec_.cols,
            slots_.weight ? frame.at<T>(*slots_.weight) : nullptr,
            slots_.bias ? frame.at<T>(*slots_.bias) : nullptr, epsilon_);
  }
  double cost() const override { return cost_; }
  const char* name() const override { return "layer_norm"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  LayerNormSpec spec_;
  LayerNormSpec::Slots slots_;
  T epsilon_;
  double cost_;
  kernels::LayerNormFn<T> kernel_;
};

template <class T>
class RmsNorm final : public Step {
 public:
  RmsNorm(const kernels::KernelTable& table, const RmsNormSpec& spec,
          const RmsNormSpec::Slots& slots)
      : spec_(spec),
        slots_(slots),
        epsilon_(static_cast<T>(spec.epsilon)),
        cost_(rows_cost(spec, typed_kernels<T>(table).rows->rms_norm.cost)),
        kernel_(typed_kernels<T>(table).rows->rms_norm.fn) {}

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.rows, row_grain(spec_));
    const std::size_t first = begin * spec_.cols;
    kernel_(frame.at<T>(slots_.x) + first, frame.at<T>(slots_.y) + first, end - begin, spec_.cols,
            slots_.weight ? frame.at<T>(*slots_.weight) : nullptr, epsilon_);
  }
  double cost() const override { return cost_; }
  const char* name() const override { return "rms_norm"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  RmsNormSpec spec_;
  RmsNormSpec::Slots slots_;
  T epsilon_;
  double cost_;
  kernels::RmsNormFn<T> kernel_;
};

void require_epsilon(double epsilon, const char* step) {
  if (epsilon >= 0) return;
  throw std::invalid_argument(std::string(step) + ": epsilon must not be negative; got " +
                              std::to_string(epsilon));
}

void require_rows(const RowsSpec& spec, const char* step) {
  base::checked_mul(spec.rows, spec.cols);
  if (!is_floating(spec.dtype)) refuse_dtype(spec.dtype, step, "floating");
}

// x and y with the vectors that are read beside them.
void row_arrays(const RowsSpec& spec, Slot x, Slot y,
                std::initializer_list<std::optional<Slot>> vectors, ArrayList& list) {
  const std::size_t item = item_bytes(spec.dtype), count = base::checked_mul(spec.rows, spec.cols);
  list = {contiguous(x, count, item, Use::replaced), contiguous(y, count, item, Use::written)};
  for (const auto& vector : vectors) {
    if (vector) list.push_back(contiguous(*vector, spec.cols, item));
  }
}

}  // namespace

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const SoftmaxSpec& spec,
                                const SoftmaxSpec::Slots& slots) {
  const char* const name = spec.log ? "log_softmax" : "softmax";
  require_rows(spec, name);
  return with_floating(spec.dtype, name, [&](auto tag) -> std::unique_ptr<Step> {
    using T = typename decltype(tag)::type;
    const auto& entry = require_kernel(typed_kernels<T>(table).rows->softmax, name, name);
    return std::make_unique<Softmax<T>>(spec, slots, entry);
  });
}

void arrays(const SoftmaxSpec& spec, const SoftmaxSpec::Slots& slots, ArrayList& list) {
  row_arrays(spec, slots.x, slots.y, {}, list);
}

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const LayerNormSpec& spec,
                                const LayerNormSpec::Slots& slots) {
  require_rows(spec, "layer_norm");
  require_epsilon(spec.epsilon, "layer_norm");
  return with_floating(spec.dtype, "layer_norm", [&](auto tag) -> std::unique_ptr<Step> {
    using T = typename decltype(tag)::type;
    return std::make_unique<LayerNorm<T>>(table, spec, slots);
  });
}

void arrays(const LayerNormSpec& spec, const LayerNormSpec::Slots& slots, ArrayList& list) {
  row_arrays(spec, slots.x, slots.y, {slots.weight, slots.bias}, list);
}

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const RmsNormSpec& spec,
                                const RmsNormSpec::Slots& slots) {
  require_rows(spec, "rms_norm");
  require_epsilon(spec.epsilon, "rms_norm");
  return with_floating(spec.dtype, "rms_norm", [&](auto tag) -> std::unique_ptr<Step> {
    using T = typename decltype(tag)::type;
    return std::make_unique<RmsNorm<T>>(table, spec, slots);
  });
}

void arrays(const RmsNormSpec& spec, const RmsNormSpec::Slots& slots, ArrayList& list) {
  row_arrays(spec, slots.x, slots.y, {slots.weight}, list);
}

double work(const RowsSpec& spec) {
  return static_cast<double>(spec.rows) * static_cast<double>(spec.cols);
}

}  // namespace lamella::steps

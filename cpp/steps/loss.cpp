// SPDX-License-Identifier: Apache-2.0
#include "steps/loss.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "base/checked.h"
#include "steps/lookup.h"

namespace lamella::steps {

namespace {

template <class T>
class ClassLoss final : public Step {
 public:
  ClassLoss(const kernels::KernelTable& table, const ClassLossSpec& spec,
            const ClassLossSpec::Slots& slots)
      : spec_(spec),
        slots_(slots),
        hit_(static_cast<T>(1.0 - spec.smoothing)),
        spread_(static_cast<T>(spec.smoothing /
                               static_cast<double>(std::max<std::size_t>(spec.cols, 1)))) {
    const auto& entry =
        require_kernel(typed_kernels<T>(table).rows->class_loss, name(), "class loss");
    kernel_ = entry.fn;
    cost_ = estimate(entry.cost);
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.rows, grain());
    const auto* const target = frame.at<std::int64_t>(slots_.target);
    for (std::size_t r = begin; r < end; ++r) {
      const auto index = static_cast<std::size_t>(target[r]);  // a negative one becomes huge
      if (target[r] != spec_.ignored && index >= spec_.cols) {
        frame.failure->raise(target[r], 0, static_cast<std::int64_t>(spec_.cols));
        return;
      }
    }
    const std::size_t first = begin * spec_.cols;
    const auto part = [&frame](const std::optional<Slot>& slot, std::size_t at) {
      return slot ? frame.at<T>(*slot) + at : nullptr;
    };
    kernel_({.x = frame.at<T>(slots_.x) + first,
             .target = target + begin,
             .weight = part(slots_.weight, 0),
             .rows = end - begin,
             .cols = spec_.cols,
             .ignored = spec_.ignored,
             .hit = hit_,
             .spread = spread_,
             .losses = part(slots_.losses, begin),
             .slopes = part(slots_.slopes, first),
             .weights = part(slots_.weights, begin)});
  }
  double cost() const override { return cost_; }
  const char* name() const final { return spec_.log_probabilities ? "nll" : "cross_entropy"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  // Members' shares begin at whole cache lines where rows are short, and at whole registers of rows
  // (loss.h).
  std::size_t grain() const { return spec_.cols <= kernels::kReduceLanes ? 16 : 1; }

  // A row has a logarithm and, as in softmax (rows.cpp), three folds, which short rows share;
  // log-probabilities are looked up, and cost what their slopes cost to be cleared.
  double estimate(double element) const {
    const double rows = static_cast<double>(spec_.rows), cols = static_cast<double>(spec_.cols);
    if (spec_.log_probabilities)
      return 20.0 + rows * (5.0 + (slots_.slopes ? element * cols : 0.0));
    const double row = spec_.cols <= kernels::kReduceLanes && spread_ == T(0) ? 5.0 : 40.0;
    return 20.0 + rows * (row + cols * element);
  }

  ClassLossSpec spec_;
  ClassLossSpec::Slots slots_;
  T hit_, spread_;
  double cost_;
  kernels::ClassLossFn<T> kernel_;
};

}  // namespace

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ClassLossSpec& spec,
                                const ClassLossSpec::Slots& slots) {
  base::checked_mul(spec.rows, spec.cols);
  const double highest = spec.log_probabilities ? 0.0 : 1.0;
  if (!(spec.smoothing >= 0.0 && spec.smoothing <= highest)) {
    throw std::invalid_argument("class_loss: smoothing must be from 0 to " +
                                std::to_string(highest) + "; got " +
                                std::to_string(spec.smoothing));
  }
  return with_floating(spec.dtype, "class_loss", [&](auto tag) -> std::unique_ptr<Step> {
    using T = typename decltype(tag)::type;
    return std::make_unique<ClassLoss<T>>(table, spec, slots);
  });
}

void arrays(const ClassLossSpec& spec, const ClassLossSpec::Slots& slots, ArrayList& list) {
  const std::size_t item = item_bytes(spec.dtype), count = base::checked_mul(spec.rows, spec.cols);
  list = {contiguous(slots.x, count, item),
          contiguous(slots.target, spec.rows, sizeof(std::int64_t))};
  if (slots.weight) list.push_back(contiguous(*slots.weight, spec.cols, item));
  const auto written = [&](const std::optional<Slot>& slot, std::size_t size) {
    if (slot) list.push_back(contiguous(*slot, size, item, Use::written));
  };
  written(slots.losses, spec.rows);
  written(slots.slopes, count);
  written(slots.weights, spec.rows);
}

double work(const ClassLossSpec& spec) {
  return static_cast<double>(spec.rows) * static_cast<double>(spec.cols);
}

}  // namespace lamella::steps

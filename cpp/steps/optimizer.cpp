// SPDX-License-Identifier: Apache-2.0
#include "steps/optimizer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "base/checked.h"
#include "steps/lookup.h"

namespace lamella::steps {

namespace {

// Elements between members' boundaries: whole cache lines of every array.
constexpr std::size_t kUpdateGrain = 64;

// The parameter, the gradient and the most state that a rule has.
constexpr std::size_t kMaxOperands = 5;

// h: hyper-parameters, the sign of the gradient first and the weight decay second; s: the step
// that is being made. out[0] and out[1] are for every rule, the rest in the order of the kernel's.
using ScalarsFn = void (*)(const double* h, double s, double* out);

// lr, momentum, dampening. The first step takes the gradient itself as momentum.
void sgd_scalars(const double* h, double s, double* out) {
  const bool first = s == 1;
  out[0] = h[0];
  out[1] = h[1];
  out[2] = first ? 0 : h[3];
  out[3] = first ? 1 : 1 - h[4];
  out[4] = h[3];
  out[5] = -h[2];
}

// lr, beta1, beta2, eps. Powers and the root by pow, as Python's ** has them.
void adam_scalars(const double* h, double s, double* out) {
  const double correction1 = 1 - std::pow(h[3], s), correction2 = 1 - std::pow(h[4], s);
  out[0] = h[0];
  out[1] = h[1];
  out[2] = 1 - h[3];
  out[3] = h[4];
  out[4] = 1 - h[4];
  out[5] = std::pow(correction2, 0.5);
  out[6] = h[5];
  out[7] = -(h[2] / correction1);
  out[8] = 1;
}

void adamw_scalars(const double* h, double s, double* out) {
  adam_scalars(h, s, out);
  out[1] = 0;
  out[8] = 1 - h[2] * h[1];
}

// lr, alpha, eps, momentum.
void rmsprop_scalars(const double* h, double, double* out) {
  out[0] = h[0];
  out[1] = h[1];
  out[2] = h[3];
  out[3] = 1 - h[3];
  out[4] = h[4];
  out[5] = -h[2];
  out[6] = h[5];
}

// lr, lr_decay, eps.
void adagrad_scalars(const double* h, double s, double* out) {
  out[0] = h[0];
  out[1] = h[1];
  out[2] = h[4];
  out[3] = -(h[2] / (1 + (s - 1) * h[3]));
}

struct ScalarsRow {
  const char* name;
  std::size_t hyper;
  ScalarsFn compute;
};

constexpr ScalarsRow kScalarsRows[] = {
    {"sgd", 5, sgd_scalars},         {"adam", 6, adam_scalars},       {"adamw", 6, adamw_scalars},
    {"rmsprop", 6, rmsprop_scalars}, {"adagrad", 5, adagrad_scalars},
};

class UpdateScalars final : public Step {
 public:
  UpdateScalars(const UpdateScalarsSpec::Slots& slots, ScalarsFn compute)
      : slots_(slots), compute_(compute) {}

  void run(const Frame& frame, const base::Team& team) const override {
    if (team.index != 0) return;
    const double next = *frame.at<double>(slots_.step) + 1;
    double* const out = frame.at<double>(slots_.scalars);
    std::fill_n(out, kUpdateScalars, 0.0);
    compute_(frame.at<double>(slots_.hyper), next, out);
    *frame.at<double>(slots_.next) = next;
  }

  // Three powers at most.
  double cost() const override { return 60.0; }
  const char* name() const override { return "update_scalars"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  UpdateScalarsSpec::Slots slots_;
  ScalarsFn compute_;
};

template <class T>
class Update final : public Step {
 public:
  Update(const kernels::KernelTable& table, const UpdateSpec& spec, const UpdateSpec::Slots& slots)
      : count_(spec.count), slots_(slots), operands_(slots.x.size()), results_(slots.y.size()) {
    const auto& entry =
        require_kernel(typed_kernels<T>(table).optimizer->update, spec.rule, "update");
    if (operands_ != entry.params + 2 || results_ != entry.params + 1 || operands_ > kMaxOperands) {
      throw std::invalid_argument("update: " + spec.rule + " has " + std::to_string(entry.params) +
                                  " arrays of state; got " + std::to_string(operands_) +
                                  " operands and " + std::to_string(results_) + " results");
    }
    kernel_ = entry.fn;
    base::checked_mul(spec.count, sizeof(T));
    cost_ = 10.0 + entry.cost * static_cast<double>(spec.count);
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(count_, kUpdateGrain);
    if (begin == end) return;
    const T* x[kMaxOperands];
    T* y[kMaxOperands];
    for (std::size_t i = 0; i < operands_; ++i) x[i] = frame.at<T>(slots_.x[i]) + begin;
    for (std::size_t i = 0; i < results_; ++i) y[i] = frame.at<T>(slots_.y[i]) + begin;
    kernel_(x, y, end - begin, frame.at<double>(slots_.scalars));
  }
  double cost() const override { return cost_; }
  const char* name() const override { return "update"; }
  std::size_t nbytes() const override {
    return sizeof(*this) + heap_of(slots_.x) + heap_of(slots_.y);
  }

 private:
  std::size_t count_;
  UpdateSpec::Slots slots_;
  std::size_t operands_, results_;
  double cost_ = 0;
  kernels::UpdateFn<T> kernel_ = nullptr;
};

}  // namespace

std::unique_ptr<Step> make_step(const kernels::KernelTable&, const UpdateScalarsSpec& spec,
                                const UpdateScalarsSpec::Slots& slots) {
  for (const ScalarsRow& row : kScalarsRows) {
    if (spec.rule != row.name) continue;
    if (spec.count == row.hyper) return std::make_unique<UpdateScalars>(slots, row.compute);
    throw std::invalid_argument("update_scalars: " + spec.rule + " has " +
                                std::to_string(row.hyper) + " hyper-parameters; got " +
                                std::to_string(spec.count));
  }
  throw std::invalid_argument("update_scalars: no rule named '" + spec.rule + "'");
}

void arrays(const UpdateScalarsSpec& spec, const UpdateScalarsSpec::Slots& slots, ArrayList& list) {
  constexpr std::size_t kItem = sizeof(double);
  list = {contiguous(slots.step, 1, kItem, Use::replaced),
          contiguous(slots.hyper, spec.count, kItem),
          contiguous(slots.next, 1, kItem, Use::written),
          contiguous(slots.scalars, kUpdateScalars, kItem, Use::written)};
}

double work(const UpdateScalarsSpec&) { return static_cast<double>(kUpdateScalars); }

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const UpdateSpec& spec,
                                const UpdateSpec::Slots& slots) {
  return with_floating(spec.dtype, "update", [&](auto tag) -> std::unique_ptr<Step> {
    using T = typename decltype(tag)::type;
    return std::make_unique<Update<T>>(table, spec, slots);
  });
}

void arrays(const UpdateSpec& spec, const UpdateSpec::Slots& slots, ArrayList& list) {
  const std::size_t item = item_bytes(spec.dtype);
  list = {contiguous(slots.scalars, kUpdateScalars, sizeof(double))};
  for (const Slot x : slots.x) list.push_back(contiguous(x, spec.count, item, Use::replaced));
  for (const Slot y : slots.y) list.push_back(contiguous(y, spec.count, item, Use::written));
}

double work(const UpdateSpec& spec) { return static_cast<double>(spec.count); }

}  // namespace lamella::steps

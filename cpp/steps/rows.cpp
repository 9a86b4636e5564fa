// SPDX-License-Identifier: Apache-2.0
#include "steps/rows.h"

#include <algorithm>
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
  Softmax(const RowsSpec& spec, const kernels::Entry<kernels::SoftmaxFn<T>>& entry)
      : spec_(spec), name_(entry.name), cost_(rows_cost(spec, entry.cost)), kernel_(entry.fn) {}

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.rows, row_grain(spec_));
    const std::size_t first = begin * spec_.cols;
    kernel_(frame.at<T>(spec_.x) + first, frame.at<T>(spec_.y) + first, end - begin, spec_.cols);
  }
  double cost() const override { return cost_; }
  const char* name() const override { return name_; }

 private:
  RowsSpec spec_;
  const char* name_;
  double cost_;
  kernels::SoftmaxFn<T> kernel_;
};

template <class T>
class LayerNorm final : public Step {
 public:
  LayerNorm(const kernels::KernelTable& table, const RowsSpec& spec, std::optional<Slot> weight,
            std::optional<Slot> bias, double epsilon)
      : spec_(spec),
        weight_(weight),
        bias_(bias),
        epsilon_(static_cast<T>(epsilon)),
        cost_(rows_cost(spec, typed_kernels<T>(table).rows->layer_norm.cost)),
        kernel_(typed_kernels<T>(table).rows->layer_norm.fn) {}

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.rows, row_grain(spec_));
    const std::size_t first = begin * spec_.cols;
    kernel_(frame.at<T>(spec_.x) + first, frame.at<T>(spec_.y) + first, end - begin, spec_.cols,
            weight_ ? frame.at<T>(*weight_) : nullptr, bias_ ? frame.at<T>(*bias_) : nullptr,
            epsilon_);
  }
  double cost() const override { return cost_; }
  const char* name() const override { return "layer_norm"; }

 private:
  RowsSpec spec_;
  std::optional<Slot> weight_, bias_;
  T epsilon_;
  double cost_;
  kernels::LayerNormFn<T> kernel_;
};

template <class T>
class RmsNorm final : public Step {
 public:
  RmsNorm(const kernels::KernelTable& table, const RowsSpec& spec, std::optional<Slot> weight,
          double epsilon)
      : spec_(spec),
        weight_(weight),
        epsilon_(static_cast<T>(epsilon)),
        cost_(rows_cost(spec, typed_kernels<T>(table).rows->rms_norm.cost)),
        kernel_(typed_kernels<T>(table).rows->rms_norm.fn) {}

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.rows, row_grain(spec_));
    const std::size_t first = begin * spec_.cols;
    kernel_(frame.at<T>(spec_.x) + first, frame.at<T>(spec_.y) + first, end - begin, spec_.cols,
            weight_ ? frame.at<T>(*weight_) : nullptr, epsilon_);
  }
  double cost() const override { return cost_; }
  const char* name() const override { return "rms_norm"; }

 private:
  RowsSpec spec_;
  std::optional<Slot> weight_;
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
  if (is_floating(spec.dtype)) return;
  throw std::invalid_argument(std::string(step) + ": dtype must be floating; got " +
                              dtype_name(spec.dtype));
}

}  // namespace

std::unique_ptr<Step> make_softmax(const kernels::KernelTable& table, const RowsSpec& spec,
                                   bool log) {
  const char* const name = log ? "log_softmax" : "softmax";
  require_rows(spec, name);
  const auto make = [&]<class T>(const kernels::TypedKernels<T>& kernels) -> std::unique_ptr<Step> {
    return std::make_unique<Softmax<T>>(spec, require_kernel(kernels.rows->softmax, name, name));
  };
  return spec.dtype == DType::f32 ? make(table.f32) : make(table.f64);
}

std::unique_ptr<Step> make_layer_norm(const kernels::KernelTable& table, const RowsSpec& spec,
                                      std::optional<Slot> weight, std::optional<Slot> bias,
                                      double epsilon) {
  require_rows(spec, "layer_norm");
  require_epsilon(epsilon, "layer_norm");
  if (spec.dtype == DType::f32) {
    return std::make_unique<LayerNorm<float>>(table, spec, weight, bias, epsilon);
  }
  return std::make_unique<LayerNorm<double>>(table, spec, weight, bias, epsilon);
}

std::unique_ptr<Step> make_rms_norm(const kernels::KernelTable& table, const RowsSpec& spec,
                                    std::optional<Slot> weight, double epsilon) {
  require_rows(spec, "rms_norm");
  require_epsilon(epsilon, "rms_norm");
  if (spec.dtype == DType::f32) {
    return std::make_unique<RmsNorm<float>>(table, spec, weight, epsilon);
  }
  return std::make_unique<RmsNorm<double>>(table, spec, weight, epsilon);
}

}  // namespace lamella::steps

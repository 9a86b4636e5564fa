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

// Nanoseconds with AVX2 in cache: a row costs three folds and a division or two, an element of
// softmax an exp and two passes more (0.25; 4.5 in float64), one of layer_norm six operations (0.2;
// 0.4).
double rows_cost(const kernels::KernelTable& table, const RowsSpec& spec, double per_element) {
  const double width = table.vector_bytes < 32 ? 2.0 : 1.0;
  return 20.0 + static_cast<double>(spec.rows) *
                    (25.0 + static_cast<double>(spec.cols) * per_element * width);
}

template <class T>
class Softmax final : public Step {
 public:
  Softmax(const kernels::KernelTable& table, const RowsSpec& spec, bool log)
      : spec_(spec), log_(log), cost_(rows_cost(table, spec, sizeof(T) == 8 ? 4.5 : 0.25)) {
    const kernels::RowKernels<T>& rows = *typed_kernels<T>(table).rows;
    kernel_ = log ? rows.log_softmax : rows.softmax;
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.rows, row_grain(spec_));
    const std::size_t first = begin * spec_.cols;
    kernel_(frame.at<T>(spec_.x) + first, frame.at<T>(spec_.y) + first, end - begin, spec_.cols);
  }
  double cost() const override { return cost_; }
  const char* name() const override { return log_ ? "log_softmax" : "softmax"; }

 private:
  RowsSpec spec_;
  bool log_;
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
        cost_(rows_cost(table, spec, sizeof(T) == 8 ? 0.4 : 0.2)),
        kernel_(typed_kernels<T>(table).rows->layer_norm) {}

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
        cost_(rows_cost(table, spec, sizeof(T) == 8 ? 0.2 : 0.1)),
        kernel_(typed_kernels<T>(table).rows->rms_norm) {}

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
  require_rows(spec, log ? "log_softmax" : "softmax");
  if (spec.dtype == DType::f32) return std::make_unique<Softmax<float>>(table, spec, log);
  return std::make_unique<Softmax<double>>(table, spec, log);
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

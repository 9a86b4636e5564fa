// SPDX-License-Identifier: Apache-2.0
#include "steps/scan.h"

#include <algorithm>
#include <stdexcept>

#include "base/checked.h"
#include "steps/lookup.h"

namespace lamella::steps {

namespace {

using std::size_t;

bool is_extreme(const ScanSpec& spec) { return spec.kind == "max" || spec.kind == "min"; }

// Columns between members' boundaries: those of a tile (kernels/scan.h), whole cache lines.
constexpr size_t kColumnGrain = 64;

template <class T>
class Scan final : public Step {
 public:
  Scan(const kernels::KernelTable& table, const ScanSpec& spec, const ScanSpec::Slots& slots)
      : spec_(spec), slots_(slots), tiles_((spec.inner + kColumnGrain - 1) / kColumnGrain) {
    const auto& kernels = indexing_kernels<T>(table);
    if (is_extreme(spec)) {
      const auto& entry = require_kernel(kernels.extreme_scan, spec.kind, "scan");
      extreme_ = entry.fn;
      element_ = entry.cost;
    } else {
      const auto& entry = require_kernel(kernels.scan, spec.kind, "scan");
      chain_ = entry.fn;
      element_ = entry.cost;
    }
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.outer * tiles_, spec_.inner < 16 ? 16 : 1);
    const auto stride = static_cast<std::ptrdiff_t>(spec_.inner);
    for (size_t unit = begin; unit < end && spec_.size > 0; ++unit) {
      const size_t column = unit % tiles_ * kColumnGrain;
      const size_t columns = std::min(kColumnGrain, spec_.inner - column);
      const size_t last = spec_.reverse ? (spec_.size - 1) * spec_.inner : 0;
      const size_t at = unit / tiles_ * spec_.size * spec_.inner + column + last;
      const T* const x = frame.at<T>(slots_.x) + at;
      T* const y = frame.at<T>(slots_.y) + at;
      if (extreme_ == nullptr) {
        chain_(x, y, spec_.reverse ? -stride : stride, spec_.size, columns);
        continue;
      }
      extreme_(x, y, frame.at<std::int64_t>(*slots_.positions) + at, stride, spec_.size, columns);
    }
  }

  // One chain takes what its additions wait for one another, several run side by side.
  double cost() const override {
    const double side_by_side = std::min<double>(static_cast<double>(spec_.inner), 8.0);
    return 20.0 + work(spec_) * element_ / std::max(side_by_side, 1.0);
  }
  const char* name() const override { return "scan"; }
  size_t nbytes() const override { return sizeof(*this) + spec_.kind.capacity(); }

 private:
  ScanSpec spec_;
  ScanSpec::Slots slots_;
  size_t tiles_;
  kernels::ScanFn<T> chain_ = nullptr;
  kernels::ExtremeScanFn<T> extreme_ = nullptr;
  double element_ = 0;
};

}  // namespace

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const ScanSpec& spec,
                                const ScanSpec::Slots& slots) {
  base::checked_mul(base::checked_mul(spec.outer, spec.size), spec.inner);
  if (spec.reverse && is_extreme(spec)) {
    throw std::invalid_argument("scan: '" + spec.kind + "' runs from the front");
  }
  if (slots.positions.has_value() != is_extreme(spec)) {
    throw std::invalid_argument("scan: max and min have positions, and no other kind");
  }
  return with_type(spec.dtype, "scan", [&](auto tag) -> std::unique_ptr<Step> {
    return std::make_unique<Scan<typename decltype(tag)::type>>(table, spec, slots);
  });
}

void arrays(const ScanSpec& spec, const ScanSpec::Slots& slots, ArrayList& list) {
  const size_t count = base::checked_mul(base::checked_mul(spec.outer, spec.size), spec.inner);
  const size_t item = item_bytes(spec.dtype);
  list = {contiguous(slots.x, count, item, is_extreme(spec) ? Use::read : Use::replaced),
          contiguous(slots.y, count, item, Use::written)};
  if (slots.positions) {
    list.push_back(contiguous(*slots.positions, count, sizeof(std::int64_t), Use::written));
  }
}

double work(const ScanSpec& spec) {
  return static_cast<double>(spec.outer) * static_cast<double>(spec.size) *
         static_cast<double>(spec.inner);
}

}  // namespace lamella::steps

// SPDX-License-Identifier: Apache-2.0
#include "steps/gather.h"

#include <cstring>

#include "base/checked.h"

namespace lamella::steps {

namespace {

class Gather final : public Step {
 public:
  explicit Gather(const GatherSpec& spec) : spec_(spec) {
    base::checked_mul(spec.rows, spec.row_bytes);
    base::checked_mul(spec.count, spec.row_bytes);
    base::checked_mul(spec.count, sizeof(std::int64_t));
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.count, 16);
    const auto* const indices = frame.at<std::int64_t>(spec_.indices);
    const std::byte* const table = frame.at<std::byte>(spec_.table);
    std::byte* const y = frame.at<std::byte>(spec_.y);
    for (std::size_t i = begin; i < end; ++i) {
      const auto index = static_cast<std::size_t>(indices[i]);  // a negative one becomes huge
      if (index >= spec_.rows) {
        frame.failure->raise(indices[i], static_cast<std::int64_t>(spec_.rows));
        return;
      }
      std::memcpy(y + i * spec_.row_bytes, table + index * spec_.row_bytes, spec_.row_bytes);
    }
  }

  // A random row costs a cache miss or so (20 ns), a byte of it what a copy costs.
  double cost() const override {
    return 20.0 +
           static_cast<double>(spec_.count) * (20.0 + 0.05 * static_cast<double>(spec_.row_bytes));
  }
  const char* name() const override { return "gather"; }

 private:
  GatherSpec spec_;
};

}  // namespace

std::unique_ptr<Step> make_gather(const GatherSpec& spec) { return std::make_unique<Gather>(spec); }

}  // namespace lamella::steps

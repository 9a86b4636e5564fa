// SPDX-License-Identifier: Apache-2.0
#include "steps/gather.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"

namespace lamella::steps {

namespace {

// What is added to a negative index: the rows where it counts from the end. Without that it stays
// negative and is found to be outside, as one below -rows is.
std::int64_t shift(bool from_end, std::size_t rows) {
  return from_end ? static_cast<std::int64_t>(rows) : 0;
}

// Copies of a size that the compiler knows, of any other size.
template <std::size_t kBytes>
struct Fixed {
  void operator()(std::byte* to, const std::byte* from) const { std::memcpy(to, from, kBytes); }
};
struct Any {
  std::size_t bytes;
  void operator()(std::byte* to, const std::byte* from) const { std::memcpy(to, from, bytes); }
};

class Gather final : public Step {
 public:
  Gather(const GatherSpec& spec, const GatherSpec::Slots& slots) : spec_(spec), slots_(slots) {
    const std::size_t entry = base::checked_mul(spec.outer, spec.inner);
    const std::size_t bytes = base::checked_mul(entry, spec.piece_bytes);
    base::checked_mul(bytes, spec.rows);
    base::checked_mul(bytes, spec.count);
    base::checked_mul(base::checked_mul(entry, spec.count), sizeof(std::int64_t));
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const std::size_t bytes = spec_.piece_bytes;
    if (bytes == 4) return pick(frame, team, Fixed<4>{});
    if (bytes == 8) return pick(frame, team, Fixed<8>{});
    if (bytes == 1) return pick(frame, team, Fixed<1>{});
    pick(frame, team, Any{bytes});
  }

  // A random row costs a cache miss or so (20 ns) and a byte of it what a copy costs; elements that
  // are picked one by one come from neighbouring lines.
  double cost() const override {
    const auto bytes = static_cast<double>(spec_.piece_bytes);
    const double piece = spec_.inner == 1 ? 20.0 : 2.0;
    return 20.0 + work(spec_) * (piece + 0.05 * bytes);
  }
  const char* name() const override { return "gather"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  template <class Copy>
  void pick(const Frame& frame, const base::Team& team, Copy copy) const {
    const std::size_t bytes = spec_.piece_bytes, inner = spec_.inner;
    const auto [begin, end] = team.share(spec_.outer * spec_.count, 16);
    const auto* const all = frame.at<std::int64_t>(slots_.indices);
    const std::byte* const x = frame.at<std::byte>(slots_.x);
    std::byte* to = frame.at<std::byte>(slots_.y) + begin * inner * bytes;
    const std::int64_t shifted = shift(spec_.from_end, spec_.rows);
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t outer = i / spec_.count;
      const std::int64_t* const indices =
          all + (spec_.outer_index ? i : i - outer * spec_.count) * inner;
      const std::byte* const from = x + outer * spec_.rows * inner * bytes;
      for (std::size_t k = 0; k < inner; ++k, to += bytes) {
        const std::int64_t given = indices[k];
        const auto index = static_cast<std::size_t>(given < 0 ? given + shifted : given);
        if (index >= spec_.rows) {  // a negative one has become huge
          frame.failure->raise(given, -shifted, static_cast<std::int64_t>(spec_.rows));
          return;
        }
        copy(to, from + (index * inner + k) * bytes);
      }
    }
  }

  GatherSpec spec_;
  GatherSpec::Slots slots_;
};

class Index final : public Step {
 public:
  Index(const IndexSpec& spec, const IndexSpec::Slots& slots) : spec_(spec), slots_(slots) {
    base::checked_mul(spec.count, sizeof(std::int64_t));
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.count, 64);
    const auto* const indices = frame.at<std::int64_t>(slots_.indices);
    auto* const y = frame.at<std::int64_t>(slots_.y);
    const std::int64_t shifted = shift(spec_.from_end, spec_.rows);
    for (std::size_t i = begin; i < end; ++i) {
      const std::int64_t given = indices[i];
      const std::int64_t index = given < 0 ? given + shifted : given;
      if (static_cast<std::size_t>(index) >= spec_.rows) {  // a negative one has become huge
        frame.failure->raise(given, -shifted, static_cast<std::int64_t>(spec_.rows));
        return;
      }
      y[i] = index;
    }
  }

  double cost() const override { return 20.0 + static_cast<double>(spec_.count); }
  const char* name() const override { return "index"; }
  std::size_t nbytes() const override { return sizeof(*this); }

 private:
  IndexSpec spec_;
  IndexSpec::Slots slots_;
};

}  // namespace

std::unique_ptr<Step> make_step(const kernels::KernelTable&, const GatherSpec& spec,
                                const GatherSpec::Slots& slots) {
  return std::make_unique<Gather>(spec, slots);
}

void arrays(const GatherSpec& spec, const GatherSpec::Slots& slots, ArrayList& list) {
  const std::size_t entry = base::checked_mul(spec.outer, spec.inner);
  const std::size_t bytes = base::checked_mul(entry, spec.piece_bytes);
  const std::size_t lists = spec.outer_index ? entry : spec.inner;
  list = {contiguous(slots.x, base::checked_mul(bytes, spec.rows), 1),
          contiguous(slots.indices, base::checked_mul(lists, spec.count), sizeof(std::int64_t)),
          contiguous(slots.y, base::checked_mul(bytes, spec.count), 1, Use::written)};
}

double work(const GatherSpec& spec) {
  return static_cast<double>(spec.outer) * static_cast<double>(spec.count) *
         static_cast<double>(spec.inner);
}

std::unique_ptr<Step> make_step(const kernels::KernelTable&, const IndexSpec& spec,
                                const IndexSpec::Slots& slots) {
  return std::make_unique<Index>(spec, slots);
}

void arrays(const IndexSpec& spec, const IndexSpec::Slots& slots, ArrayList& list) {
  list = {contiguous(slots.indices, spec.count, sizeof(std::int64_t), Use::replaced),
          contiguous(slots.y, spec.count, sizeof(std::int64_t), Use::written)};
}

double work(const IndexSpec& spec) { return static_cast<double>(spec.count); }

}  // namespace lamella::steps

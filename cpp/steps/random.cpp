// SPDX-License-Identifier: Apache-2.0
#include "steps/random.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "base/checked.h"
#include "steps/lookup.h"

namespace lamella::steps {

namespace {

// Streams of one run; the runs are counted in the 48 bits above.
constexpr std::uint64_t kStreams = std::uint64_t{1} << 16;

// Elements between members' boundaries: a whole number of the generator's four-word blocks.
constexpr std::size_t kGrain = 64;

void require_stream(const char* step, std::uint64_t stream) {
  if (stream < kStreams) return;
  throw std::invalid_argument(std::string(step) +
                              ": at most 65536 streams to a program; got stream " +
                              std::to_string(stream));
}

std::uint64_t stream_of(const Frame& frame, std::uint64_t stream) {
  return frame.random_call * kStreams + stream;
}

template <class T>
class Dropout final : public Step {
 public:
  Dropout(const kernels::KernelTable& table, const DropoutSpec& spec,
          const DropoutSpec::Slots& slots)
      : spec_(spec),
        slots_(slots),
        // p is rounded to a multiple of 2^-32; 1 itself is no threshold and handled apart.
        threshold_(static_cast<std::uint32_t>(std::min(spec.p * 0x1p32, 0x1p32 - 1))),
        scale_(static_cast<T>(1.0 / (1.0 - spec.p))),
        kernel_(typed_kernels<T>(table).random->dropout) {
    base::checked_mul(spec.count, sizeof(T));
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(spec_.count, kGrain);
    T* const y = frame.at<T>(slots_.y) + begin;
    if (spec_.p == 1.0) {
      std::fill_n(y, end - begin, T(0));
      return;
    }
    kernel_.fn(frame.at<T>(slots_.x) + begin, y, end - begin, begin, frame.random_key,
               stream_of(frame, spec_.stream), threshold_, scale_);
  }

  double cost() const override { return 20.0 + kernel_.cost * static_cast<double>(spec_.count); }
  const char* name() const override { return "dropout"; }
  std::size_t nbytes() const override { return sizeof(*this); }
  bool draws() const override { return true; }

 private:
  DropoutSpec spec_;
  DropoutSpec::Slots slots_;
  std::uint32_t threshold_;
  T scale_;
  const kernels::Entry<kernels::DropoutFn<T>>& kernel_;
};

template <class T>
class Draw final : public Step {
 public:
  Draw(const kernels::KernelTable& table, const DrawSpec& spec, const DrawSpec::Slots& slots)
      : count_(spec.count),
        stream_(spec.stream),
        y_(slots.y),
        kernel_(require_kernel(typed_kernels<T>(table).random->draw, spec.name, "draw")) {
    base::checked_mul(spec.count, sizeof(T));
  }

  void run(const Frame& frame, const base::Team& team) const override {
    const auto [begin, end] = team.share(count_, kGrain);
    kernel_.fn(frame.at<T>(y_) + begin, end - begin, begin, frame.random_key,
               stream_of(frame, stream_));
  }

  double cost() const override { return 20.0 + kernel_.cost * static_cast<double>(count_); }
  const char* name() const override { return "draw"; }
  std::size_t nbytes() const override { return sizeof(*this); }
  bool draws() const override { return true; }

 private:
  std::size_t count_;
  std::uint64_t stream_;
  Slot y_;
  const kernels::Entry<kernels::DrawFn<T>>& kernel_;
};

}  // namespace

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const DropoutSpec& spec,
                                const DropoutSpec::Slots& slots) {
  if (!(spec.p >= 0.0 && spec.p <= 1.0)) {
    throw std::invalid_argument("dropout: p is a probability in [0, 1]; got " +
                                std::to_string(spec.p));
  }
  require_stream("dropout", spec.stream);
  return with_floating(spec.dtype, "dropout", [&](auto tag) -> std::unique_ptr<Step> {
    using T = typename decltype(tag)::type;
    return std::make_unique<Dropout<T>>(table, spec, slots);
  });
}

void arrays(const DropoutSpec& spec, const DropoutSpec::Slots& slots, ArrayList& list) {
  const std::size_t item = item_bytes(spec.dtype);
  list = {contiguous(slots.x, spec.count, item, Use::replaced),
          contiguous(slots.y, spec.count, item, Use::written)};
}

double work(const DropoutSpec& spec) { return static_cast<double>(spec.count); }

std::unique_ptr<Step> make_step(const kernels::KernelTable& table, const DrawSpec& spec,
                                const DrawSpec::Slots& slots) {
  require_stream("draw", spec.stream);
  return with_floating(spec.dtype, "draw", [&](auto tag) -> std::unique_ptr<Step> {
    using T = typename decltype(tag)::type;
    return std::make_unique<Draw<T>>(table, spec, slots);
  });
}

void arrays(const DrawSpec& spec, const DrawSpec::Slots& slots, ArrayList& list) {
  list = {contiguous(slots.y, spec.count, item_bytes(spec.dtype), Use::written)};
}

double work(const DrawSpec& spec) { return static_cast<double>(spec.count); }

}  // namespace lamella::steps

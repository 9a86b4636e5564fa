// SPDX-License-Identifier: Apache-2.0
#include "program/folding.h"

#include <algorithm>
#include <stdexcept>

#include "base/allocation.h"
#include "base/checked.h"

namespace lamella::program {

Folding::Folding(std::string kind, Recording recording) : kind_(std::move(kind)) {
  const bool fixed = recording.extents.empty() && recording.range_bytes.empty() &&
                     recording.free_constants.empty();
  const bool pure =
      recording.first_write == kNever && recording.random == kNever &&
      std::none_of(recording.constants.begin(), recording.constants.end(),
                   [](const ConstantArray& one) { return one.access != Access::read; });
  const bool plain = recording.prepared.empty() && recording.folded.empty();
  if (!recording.inputs.empty() || recording.outputs.size() != 1 || !fixed || !pure || !plain) {
    throw std::invalid_argument(
        "fold: expected steps of one size that read constants alone, change "
        "none, and make one output");
  }
  bytes_ = recording.outputs[0].bytes;
  Made made = make_steps(recording);
  constexpr std::size_t kLine = base::kAlignment;
  arena_bytes_ = base::checked_add(made.placement.bytes, kLine - 1) / kLine * kLine;
  steps_ = std::move(made.steps);
  constants_ = std::move(recording.constants);
}

double Folding::cost() const {
  double sum = 0;
  for (const auto& step : steps_) sum += step->cost();
  return sum;
}

std::size_t Folding::nbytes() const {
  std::size_t bytes = sizeof(*this) + kind_.size() + constants_.size() * sizeof(ConstantArray);
  for (const auto& step : steps_) bytes += step->nbytes() + sizeof(step);
  return bytes;
}

std::size_t Folding::source_count() const {
  return static_cast<std::size_t>(
      std::count_if(constants_.begin(), constants_.end(),
                    [](const ConstantArray& one) { return one.version != nullptr; }));
}

bool Folding::reads(std::size_t index, const ConstantArray& constant) const {
  for (const ConstantArray& own : constants_) {
    if (own.version == nullptr || index-- > 0) continue;
    return own.data == constant.data && own.version == constant.version &&
           own.bytes == constant.bytes;
  }
  return false;
}

// In the order of a frame: the arena, the output, the constants.
std::vector<std::byte*> Folding::buffers(std::span<std::byte* const> sources, std::byte* target,
                                         std::byte* arena) const {
  std::vector<std::byte*> all{arena, target};
  auto next = sources.begin();
  for (const ConstantArray& own : constants_) {
    all.push_back(own.version == nullptr ? own.data : *next++);
  }
  return all;
}

void Folding::run(std::byte* const* buffers, const base::Team& team) const {
  steps::Failure failure;
  const steps::Frame frame{buffers, &failure, 0, 0};
  for (const auto& step : steps_) {
    step->run(frame, team);
    team.barrier();
  }
}

}  // namespace lamella::program

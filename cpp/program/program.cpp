// SPDX-License-Identifier: Apache-2.0
// Runs the steps, alone or as a team, and reports what they could not do.
#include "program/program.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <stdexcept>
#include <string>

#include "base/clock.h"
#include "base/fp_environment.h"
#include "program/text.h"

namespace lamella::program {
namespace {

// Shared work that pays for one more thread while it is still awake. Joining one takes 0.6 us on Zen 3
// and Zen 4: dense 784-128 with one row 3.8 -> 2.9 us on two cores of the latter.
constexpr double kJoinNs = 2.4e3;
// What two members lose where they meet: the barrier, their skew, and half of what the next step reads
// lies in the other's cache.
constexpr double kMeetNs = 800;
// Work that is not shared while somebody else uses a member's processor. Longer work loses nothing: by
// then a member has had its half of that processor.
constexpr double kCrowdNs = 20e6;
// Releasing and taking the GIL costs 40 to 75 ns: nothing beside this.
constexpr double kLongNs = 20e3;

// The cells of what is accessed so or more, each once; in one order, so that few collide half-way.
std::vector<Cell> cells_of(const std::vector<ConstantArray>& constants, Access least) {
  std::map<std::int64_t*, bool> found;
  for (const ConstantArray& constant : constants) {
    if (constant.version != nullptr && constant.access >= least) {
      found[constant.version] |= constant.access == Access::update;
    }
  }
  std::vector<Cell> cells;
  for (const auto& [version, changes] : found) cells.push_back({version, changes});
  return cells;
}

struct TeamContext {
  const Program* program;
  steps::Frame frame;
  Workspace* workspace;
};

}  // namespace

Program::Program(const Recording& recording, Made made)
    : inputs_(recording.inputs),
      outputs_(recording.outputs),
      arena_bytes_(made.placement.bytes),
      isa_(recording.table->isa),
      steps_(std::move(made.steps)),
      cells_(cells_of(recording.constants, Access::hold)),
      all_cells_(cells_of(recording.constants, Access::read)),
      random_(recording.random == kNever
                  ? nullptr
                  : reinterpret_cast<std::int64_t*>(recording.constants[recording.random].data)),
      workspaces_(arena_bytes_, base::guard_zones(made.placement.guarded, arena_bytes_),
                  recording.first_extra(), recording.constants, recording.prepared,
                  recording.extras) {
  draws_ = random_ == nullptr &&
           std::any_of(steps_.begin(), steps_.end(), [](const auto& s) { return s->draws(); });
  if (workspaces_.reads_versions() && recording.first_write < steps_.size()) {
    check_at_ = static_cast<int>(recording.first_write);
  }
  plan_team();
  is_long_ = cost_ns_ > kLongNs;
}

Program::Program(Recording recording) : Program(recording, make_steps(recording)) {
  recording_ = std::make_shared<Recording>(std::move(recording));
}

Program::Program(Recording& recording, std::shared_ptr<const Text> text,
                 std::vector<std::int64_t> extents)
    : Program(recording, make_steps(recording)) {
  text_ = std::move(text);
  extents_ = std::move(extents);
}

std::shared_ptr<const Recording> Program::recorded() const {
  return recording_ ? recording_ : text_->recorded_at(extents_);
}

std::size_t Program::nbytes() const {
  std::size_t bytes = sizeof(*this) + workspaces_.nbytes();
  for (const auto& step : steps_) bytes += step->nbytes() + sizeof(step) + 2;
  for (const auto* specs : {&inputs_, &outputs_}) {
    for (const ArraySpec& spec : *specs) {
      bytes += sizeof(spec) + spec.shape.size() * sizeof(std::size_t);
    }
  }
  bytes += (cells_.size() + all_cells_.size()) * sizeof(Cell);
  return bytes + extents_.size() * sizeof(std::int64_t) + (recording_ ? recording_->nbytes() : 0);
}

// Which steps the whole team shares, so that two members are done soonest, and behind which of them
// its members meet: around every shared step, but not between steps of one member alone, nor behind the
// last one, where the team ends.
void Program::plan_team() {
  const std::size_t count = steps_.size();
  // The least time of the steps up to here when the last is one member's (0) or shared (1), and which
  // of the two the one before it then is.
  double least[2] = {0, 0};
  std::vector<std::array<bool, 2>> before(count);
  for (std::size_t i = 0; i < count; ++i) {
    const double cost = steps_[i]->cost(), meet = i > 0 ? kMeetNs : 0;
    cost_ns_ += cost;
    const double after_shared = least[1] + meet;
    before[i] = {after_shared < least[0], after_shared < least[0] + meet};
    const double solo = std::min(least[0], after_shared) + cost;
    least[1] = std::min(least[0] + meet, after_shared) + cost / 2;
    least[0] = solo;
  }
  shared_.resize(count);
  bool shared = least[1] < least[0];
  for (std::size_t i = count; i-- > 0; shared = before[i][shared]) shared_[i] = shared;
  double worth = 0;  // twice what a second member saves
  for (std::size_t i = 0; i < count; ++i) {
    if (shared_[i]) worth += steps_[i]->cost();
    const bool meets = i + 1 < count && (shared_[i] || shared_[i + 1]);
    if (meets) worth -= 2 * kMeetNs;
    meets_.push_back(meets || static_cast<int>(i) + 1 == check_at_);
  }
  sleeping_team_ = base::team_worth(worth);
  awake_team_ = base::team_worth(worth, kJoinNs);
}

// A step's failure is noted before its barrier: later steps of faster members cannot come first, and
// behind the barrier every member finds the same: faster ones may by then have noted a later step.
// Between barriers the member that is by itself skips what follows a failure. That member is the last:
// the caller then waits at the end of the team, and waking the others falls to whom nobody waits for
// (0.1 us a call on Zen 4).
template <bool kTimed>
void Program::run_member(void* context, const base::Team& team) {
  const auto& [program, frame, workspace] = *static_cast<const TeamContext*>(context);
  const bool first = team.index == 0, solo = team.index == team.size - 1, alone = team.size == 1;
  const auto note_time = [&, workspace = workspace](std::size_t at) {
    if (kTimed && first) workspace->times[at] = base::now_ns();
  };
  if (kTimed) team.barrier();
  note_time(0);
  bool failed = false;
  for (std::size_t index = 0; index < program->steps_.size(); ++index) {
    const int at = static_cast<int>(index);
    if (at == program->check_at_ && !program->still_valid(*workspace, team)) return;
    const bool shared = program->shared_[index];
    if (!failed && (shared || solo)) {
      program->steps_[index]->run(frame, shared ? team : base::Team{});
      if (frame.failure->raised.load(std::memory_order_relaxed) != 0) {
        int none = -1;
        workspace->failed_step.compare_exchange_strong(none, at, std::memory_order_relaxed);
      }
    }
    const bool meets = kTimed || program->meets_[index];
    if (meets) team.barrier();
    const int failed_step = workspace->failed_step.load(std::memory_order_relaxed);
    failed = failed_step >= 0 && failed_step <= at;
    if (failed && (meets || alone)) return;
    note_time(index + 1);
  }
}

// One member looks, all of them act on it.
bool Program::still_valid(Workspace& workspace, const base::Team& team) const {
  if (workspace.holds_all) return true;
  if (team.index == 0) workspace.disturbed.store(!workspaces_.unchanged(workspace));
  team.barrier();
  return !workspace.disturbed.load();
}

// What takes no longer than a short run is prepared like one.
bool Program::prepare_shortly(Workspace& workspace) const {
  if (!workspaces_.claim(workspace, kLongNs)) return false;
  workspaces_.prepare(workspace);
  return workspaces_.make_ready(workspace);
}

void Run::claim() {
  if (workspace_->epoch == 0) program_.workspaces_.claim(*workspace_, INFINITY);
}

bool Run::attempt_claimed(bool insist) {
  if (workspace_->epoch == 0) {
    program_.workspaces_.prepare(*workspace_);
    if (!program_.workspaces_.make_ready(*workspace_)) return false;
  }
  return program_.attempt(*workspace_, insist);
}

bool Program::attempt_update(Workspace& workspace, bool insist) const {
  const std::vector<Cell>& cells = insist ? all_cells_ : cells_;
  if (!try_hold(cells)) return false;
  const bool apart = insist && !workspaces_.unchanged_while_held(workspace);
  if (apart || !workspaces_.held_unchanged(workspace)) {
    give_back(cells, false);
    workspace.discard();
    return false;
  }
  workspace.holds_all = insist;
  if (random_ != nullptr) {
    workspace.random = {static_cast<std::uint64_t>(random_[0]),
                        static_cast<std::uint64_t>(random_[1])};
  }
  workspace.disturbed.store(false);
  run_steps(workspace);
  const bool raised = workspace.failure.raised.load(std::memory_order_relaxed) != 0;
  bool disturbed = workspace.disturbed.load();
  if (!insist && (check_at_ < 0 || raised)) {
    disturbed = disturbed || !workspaces_.unchanged(workspace);
  }
  const bool done = !raised && !disturbed;
  if (done && random_ != nullptr) ++random_[1];
  give_back(cells, done);
  if (disturbed) {
    workspace.discard();
    return false;
  }
  conclude(workspace);
  return true;
}

void Program::run_steps(Workspace& workspace) const {
  TeamContext context{
      this,
      {workspace.buffers.data(), &workspace.failure, workspace.random.key, workspace.random.calls},
      &workspace};
  const bool gives_way = cost_ns_ < kCrowdNs && awake_team_ > 1;
  base::TeamCall call{};
  if (gives_way) call = base::note_call();
  const int team = call.crowded ? 1 : call.follows_closely ? awake_team_ : sleeping_team_;
  const auto member = workspace.times == nullptr ? run_member<false> : run_member<true>;
  if (team == 1) {
    const base::FpEnvironment environment;
    member(&context, base::Team{});
  } else {
    const base::TeamEnd end = base::run_team(team, member, &context, call.members_awake);
    if (gives_way) base::note_team(call, end);
  }
}

void StepTimes::keep_least() {
  for (std::size_t i = 0; i < best_.size(); ++i) {
    best_[i] = std::min(best_[i], times_[i + 1] - times_[i]);
  }
}

std::vector<double> StepTimes::least() const {
  std::int64_t clock = kNone;
  for (int i = 0; i < 1000; ++i) {
    const std::int64_t start = base::now_ns();
    clock = std::min(clock, base::now_ns() - start);
  }
  std::vector<double> result;
  for (const std::int64_t one : best_) {
    result.push_back(static_cast<double>(std::max<std::int64_t>(0, one - clock)));
  }
  return result;
}

void Program::throw_failure(Workspace& workspace) const {
  const int step = workspace.failed_step.load();
  const std::string text = std::string(steps_[static_cast<std::size_t>(step)]->name()) +
                           ": index out of range; got " + std::to_string(workspace.failure.value) +
                           "; expected an index from " + std::to_string(workspace.failure.first) +
                           " to " + std::to_string(workspace.failure.limit - 1);
  workspace.forget_failure();
  throw std::out_of_range(text);
}

}  // namespace lamella::program

// SPDX-License-Identifier: Apache-2.0
// Executing a run, with the GIL where it is short and without where it may take long or wait.
#pragma once

#include <optional>
#include <stdexcept>

#include "bindings/unlocked.h"
#include "program/changes.h"
#include "program/program.h"

namespace lamella::bindings {

// Called with the GIL, which is free for others while the run computes or waits for a thread that is
// changing one of its constants. The caller holds everything the run works on.
inline void execute_unlocked(program::Run& run) {
  // Runs slower than the pauses between other threads' changes would never succeed: one in so many
  // attempts is made while nobody changes anything, or nothing of what an updating run reads.
  constexpr int kAttempts = 4;
  for (int round = 0;; ++round) {
    const bool insist = round % kAttempts == kAttempts - 1;
    std::optional<program::ChangesSuspended> quiet;
    if (round > 0) {
      without_gil([&] {
        if (insist && !run.updates()) {
          quiet.emplace();
        } else {
          program::wait_a_little(round);
        }
      });
      if (quiet && run.meets_held()) {
        throw std::runtime_error(
            "run: the version of a parameter is negative, as while it is changed; nobody does");
      }
    }
    run.claim();
    bool done = false;
    without_gil([&] { done = run.attempt_claimed(insist); });
    if (done) return;
  }
}

}  // namespace lamella::bindings

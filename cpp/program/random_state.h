// SPDX-License-Identifier: Apache-2.0
// The state of the counter-based generator: a key and how many runs have drawn from it.
//
// Every run of a program that draws gets the next call number; within a run, steps are told apart
// by their stream and elements by their index (Philox, Salmon et al. 2011). So a seed fixes a whole
// sequence of runs, whatever the number of threads. Guarded by the callers' lock, as programs are.
#pragma once

#include <cstdint>

namespace lamella::program {

struct RandomState {
  std::uint64_t key = 0;
  std::uint64_t calls = 0;
};

// Starts again with this key at call 0.
void seed(std::uint64_t key);
// Continues from a state that random_state() returned earlier.
void set_random_state(RandomState state);
RandomState random_state();

// The state for one run; advances the number of calls.
RandomState next_random_call();

}  // namespace lamella::program

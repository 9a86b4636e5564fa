// SPDX-License-Identifier: Apache-2.0
// The one generator state of the process.
#include "program/random_state.h"

namespace lamella::program {
namespace {

RandomState state;

}  // namespace

void seed(std::uint64_t key) { set_random_state({key, 0}); }

void set_random_state(RandomState next) { state = next; }

RandomState random_state() { return state; }

RandomState next_random_call() {
  const RandomState drawn = state;
  ++state.calls;
  return drawn;
}

}  // namespace lamella::program

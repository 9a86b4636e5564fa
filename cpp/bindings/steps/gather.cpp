// SPDX-License-Identifier: Apache-2.0
// Specs of picking and putting by index for Python.
#include "steps/gather.h"

#include "bindings/steps/spec.h"
#include "steps/scatter.h"

namespace lamella::bindings {

void register_gather(SpecRegister& to) {
  register_spec<steps::GatherSpec>(
      to,
      "y[o, j, k] = x[o, indices[o, j, k], k] for pieces of some bytes, negative indices counting "
      "from the end where asked; a run with an index outside [0, rows), or [-rows, rows), raises "
      "IndexError.");
  register_spec<steps::IndexSpec>(to,
                                  "y = indices, negative ones counted from the end where asked; a "
                                  "run with an index outside [0, "
                                  "rows), or [-rows, rows), raises IndexError.");
  register_spec<steps::ScatterSpec>(
      to,
      "y = x, or 0, then y[o, indices[o, j, k], k] = reduce(.., source[o, j, k]) in increasing j; "
      "an index outside [0, rows), or `skipped`, writes nothing. y may be x.");
}

}  // namespace lamella::bindings

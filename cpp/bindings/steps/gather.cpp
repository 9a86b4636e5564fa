// SPDX-License-Identifier: Apache-2.0
// Specs of gathering and scattering rows for Python.
#include "steps/gather.h"

#include "bindings/steps/spec.h"

namespace lamella::bindings {

void register_gather(SpecRegister& to) {
  register_spec<steps::GatherSpec>(
      to,
      "y[i] = table[indices[i]], negative indices counting from the end where asked; a run with an "
      "index outside [0, rows), or [-rows, rows), raises IndexError.");
  register_spec<steps::ScatterAddSpec>(
      to,
      "y = 0, then y[indices[i]] += x[i] in increasing i but for the index `skipped`; negative "
      "indices count from the end where asked, and a run with one outside [0, rows), or [-rows, "
      "rows), raises IndexError.");
  register_spec<steps::IndexSpec>(to,
                                  "y = indices, negative ones counted from the end where asked; a "
                                  "run with an index outside [0, "
                                  "rows), or [-rows, rows), raises IndexError.");
  register_spec<steps::IndexCopySpec>(to,
                                      "y = x, then y[:, indices[i]] = source[:, i] in increasing "
                                      "i; an index outside [0, rows) writes "
                                      "nothing. y may be x.");
}

}  // namespace lamella::bindings

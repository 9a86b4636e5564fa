// SPDX-License-Identifier: Apache-2.0
// Specs of scans, of sorting and of searching for Python.
#include "bindings/steps/spec.h"
#include "steps/scan.h"
#include "steps/sort.h"

namespace lamella::bindings {

void register_order(SpecRegister& to) {
  register_spec<steps::ScanSpec>(
      to, "y[:, j] = kind of x[:, : j + 1], or from the end; y may be x, but for max and min.");
  register_spec<steps::SortSpec>(
      to, "The first `wanted` of each row in a stable order, NaN above all, and their positions.");
  register_spec<steps::SearchSpec>(
      to, "y = how many elements of a row that is in order stand before each of x.");
}

}  // namespace lamella::bindings

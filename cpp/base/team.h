// SPDX-License-Identifier: Apache-2.0
// What the two back ends of parallel.h share: the requested number of threads.
#pragma once

namespace lamella::base {

// The largest team the back end allows this thread now: 1 in a child forked while the pool was
// busy, less than the request while someone limits the OpenMP run-time (threadpoolctl does), else
// INT_MAX. Defined by each back end.
int backend_limit();

}  // namespace lamella::base

// SPDX-License-Identifier: Apache-2.0
// Threads, caches, instruction sets, facts about the build, and hooks for tests.
#include <climits>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include <pybind11/stl.h>

#include "base/allocation.h"
#include "base/arena.h"
#include "base/cache.h"
#include "base/fp_environment.h"
#include "base/parallel.h"
#include "base/team.h"
#include "base/thread_count.h"
#include "bindings/arrays.h"
#include "bindings/register.h"
#include "bindings/structure.h"
#include "dispatch/select.h"
#include "program/structure.h"

namespace py = pybind11;
using namespace py::literals;

namespace lamella::bindings {
namespace {

py::dict default_threads(const std::string& root) {
  const base::ThreadLimits limits = base::thread_limits(root);
  const auto or_none = [](int count) -> py::object {
    if (count == 0) return py::none();
    return py::int_(count);
  };
  const int allowed = base::backend_limit();
  return py::dict("affinity"_a = or_none(limits.affinity), "cgroup"_a = or_none(limits.cgroup),
                  "LAMELLA_NUM_THREADS"_a = or_none(limits.lamella_num_threads),
                  "OMP_NUM_THREADS"_a = or_none(limits.omp_num_threads),
                  "OMP_THREAD_LIMIT"_a = or_none(limits.omp_thread_limit),
                  "omp_set_num_threads"_a = or_none(allowed == INT_MAX ? 0 : allowed),
                  "chosen"_a = limits.chosen, "reason"_a = limits.reason);
}

py::dict cache_sizes(const std::optional<std::string>& root) {
  const base::CacheSizes sizes = root ? base::read_cache_sizes(*root) : base::cache_sizes();
  return py::dict("l1"_a = sizes.l1, "l2"_a = sizes.l2, "l3"_a = sizes.l3);
}

py::dict build_info() {
  return py::dict("version"_a = LAMELLA_VERSION, "compiler"_a = LAMELLA_COMPILER,
                  "flags"_a = LAMELLA_FLAGS, "backend"_a = base::backend_name(),
                  "sanitize"_a = LAMELLA_SANITIZE);
}

using DTypeTuple = std::tuple<std::string, std::size_t, std::string>;

std::vector<DTypeTuple> dtypes() {
  constexpr const char* kClasses[] = {"floating", "integer", "truth", "storage"};
  std::vector<DTypeTuple> rows;
  for (const kernels::ElementRow& row : kernels::kElements) {
    rows.emplace_back(row.name, row.bytes, kClasses[static_cast<std::size_t>(row.kind)]);
  }
  return rows;
}

void select_isa(const std::string& name) {
  dispatch::select(name);
  // One that was selected before has the state that it had: its programs are right again.
  static std::map<std::string, std::uint64_t> states;
  const auto [found, is_new] = states.try_emplace(name, 0);
  if (is_new) found->second = program::Structure::fresh_state();
  selection().move_to(found->second);
}

}  // namespace

void register_config(py::module_& module) {
  init_arrays();
  try {
    dispatch::selected();
  } catch (const std::invalid_argument& error) {
    throw py::import_error(error.what());
  }

  module.def("num_threads", &base::num_threads, "How many threads a large program uses.");
  module.def("set_num_threads", &base::set_num_threads, "count"_a,
             "Sets how many threads a large program uses, from 1 to 1024.");
  module.def("default_threads", &default_threads, "root"_a = "",
             "The limits the default number of threads is the smallest of, and which one it was; "
             "omp_set_num_threads, what OpenMP has been lowered to for this thread, bounds any "
             "number. `root` is put before /proc and /sys.");
  module.def("cache_sizes", &cache_sizes, "root"_a = py::none(),
             "Sizes in bytes of the data caches of one core; `root` replaces the kernel's folder.");
  module.def("build_info", &build_info, "Compiler, flags, thread back end and version.");

  module.def("dtypes", &dtypes,
             "The element types: name, bytes and class (floating, integer, truth or storage).");

  module.def("isas", &dispatch::isas, "Instruction sets this machine runs, best last.");
  module.def(
      "isa", [] { return dispatch::selected().isa; }, "The instruction set of new programs.");
  module.def("select_isa", &select_isa, "name"_a,
             "Chooses the instruction set of programs built from now on.");

  module.def("damage_arena", &base::damage_arena, "offset"_a,
             "Test hook: with guard bytes, the next run changes this byte of its arena.");
  module.def("fail_allocation", &base::fail_allocation, "n"_a,
             "Test hook: the n-th allocation from now fails; 0 switches it off.");
  module.def("mxcsr", &base::read_control, "Test hook: the floating-point control register.");
  module.def("guard_bytes", &base::guard_bytes,
             "Width of the guard zones around planned arrays, 0 when they are off.");
}

}  // namespace lamella::bindings

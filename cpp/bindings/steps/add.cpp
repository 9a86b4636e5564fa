// SPDX-License-Identifier: Apache-2.0
// ProgramBuilder.add: a spec and the slots of its arrays become a step.
//
// The signatures in its docstring, one for each kind, come from the kinds' own fields.
#include <string>

#include "bindings/register.h"
#include "bindings/steps/spec.h"
#include "steps/elementwise.h"
#include "steps/optimizer.h"

namespace py = pybind11;
using namespace py::literals;

namespace lamella::bindings {

void refuse_value(const Origin& origin, const std::string& expected, py::handle got) {
  throw py::type_error(std::string(origin.owner) + ": " + origin.name + " must be " + expected +
                       "; got " + py::repr(got).cast<std::string>());
}

void register_steps(py::module_& module, BuilderClass& builder) {
  py::class_<AnySpec> base(module, "Spec", "The numbers of one step, without its arrays.");
  std::string signatures = "add(*args, **kwargs)\nOverloaded function.\n\n";
  SpecRegister to{module, base, signatures};
  register_elementwise(to);
  register_matmul(to);
  register_reduce(to);
  register_rows(to);
  register_move(to);
  register_gather(to);
  register_random(to);
  register_loss(to);
  register_optimizer(to);
  py::options options;
  options.disable_function_signatures();
  builder.def(
      "add",
      [](program::ProgramBuilder& to_builder, const AnySpec& spec, const py::kwargs& slots) {
        to_builder.add(*spec.recipe(slots));
      },
      "spec"_a, py::pos_only(), signatures.c_str());
  builder.attr("elementwise_registers") = steps::kElementwiseRegisters;
  builder.attr("update_scalars_count") = steps::kUpdateScalars;
}

}  // namespace lamella::bindings

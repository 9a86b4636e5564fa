// SPDX-License-Identifier: Apache-2.0
// A program: ordered steps over numbered buffers, immutable once built.
//
// Any number of callers may run it at once, each through a Run of its own. Making and ending a Run
// happens under the callers' common lock (the bindings hold the GIL); execute() needs none and
// allocates, checks and looks up nothing. All steps of a run share one parallel region.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/parallel.h"
#include "program/builder.h"
#include "program/workspace.h"

namespace lamella::program {

class Program {
 public:
  explicit Program(ProgramBuilder&& builder);

  const std::vector<ArraySpec>& inputs() const { return inputs_; }
  const std::vector<ArraySpec>& outputs() const { return outputs_; }
  const std::vector<ConstantArray>& constants() const { return workspaces_.constants(); }
  const std::vector<std::unique_ptr<steps::Step>>& steps() const { return steps_; }
  std::size_t arena_bytes() const { return arena_bytes_; }
  const char* isa() const { return isa_; }

  // Estimated single-thread time of a run.
  double cost_ns() const { return cost_ns_; }
  // Long enough that other Python threads should get on meanwhile.
  bool is_long() const { return is_long_; }

 private:
  friend class Run;

  void execute(Workspace& workspace) const;
  [[noreturn]] void throw_failure(Workspace& workspace) const;
  static void run_member(void* context, const base::Team& team);

  const std::vector<ArraySpec> inputs_, outputs_;
  const std::size_t arena_bytes_;
  const char* const isa_;
  const std::vector<std::unique_ptr<steps::Step>> steps_;
  mutable WorkspacePool workspaces_;
  double cost_ns_ = 0;
  // The most members worth their cost, while they are asleep and while they are still awake.
  int sleeping_team_ = 1, awake_team_ = 1;
  bool is_long_ = false;
  bool draws_ = false;
};

// One run: set every input and output, then execute() once.
class Run {
 public:
  explicit Run(const Program& program)
      : program_(program), workspace_(program.workspaces_.acquire()) {
    if (program_.draws_) workspace_->random = next_random_call();
  }
  ~Run() { program_.workspaces_.release(workspace_); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void set_input(std::size_t index, const void* data) {
    workspace_->buffers[1 + index] = static_cast<std::byte*>(const_cast<void*>(data));
  }
  void set_output(std::size_t index, void* data) {
    workspace_->buffers[1 + program_.inputs_.size() + index] = static_cast<std::byte*>(data);
  }

  // Throws std::out_of_range for an index outside its table, std::logic_error for a damaged guard
  // zone; the outputs are then unspecified.
  void execute() { program_.execute(*workspace_); }

 private:
  const Program& program_;
  Workspace* workspace_;
};

}  // namespace lamella::program

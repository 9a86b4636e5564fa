// SPDX-License-Identifier: Apache-2.0
// Compares what two programs are made of, number by number.
#include <cstring>
#include <string>
#include <vector>

#include "program/folding.h"
#include "program/program.h"
#include "program/text.h"

namespace lamella::program {
namespace {

std::string against(const std::string& a, const std::string& b) { return a + " against " + b; }
std::string against(std::size_t a, std::size_t b) {
  return against(std::to_string(a), std::to_string(b));
}

std::string shape_text(const ArraySpec& spec) {
  ArraySpec own = spec;
  return std::string(steps::dtype_name(spec.dtype)) + " " + steps::text_of(&own.shape);
}

std::string compare_ends(const char* what, const std::vector<ArraySpec>& a,
                         const std::vector<ArraySpec>& b) {
  if (a.size() != b.size()) return std::string(what) + "s: " + against(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    return std::string(what) + " " + std::to_string(i) + ": " +
           against(shape_text(a[i]), shape_text(b[i]));
  }
  return {};
}

bool same_constant(const ConstantArray& a, const ConstantArray& b) {
  if (a.bytes != b.bytes || a.version != b.version || a.access != b.access ||
      a.read_by_steps != b.read_by_steps) {
    return false;
  }
  if (a.data == b.data) return true;
  return a.version == nullptr && std::memcmp(a.data, b.data, a.bytes) == 0;
}

std::string compare_buffers(const Recording& a, const Recording& b) {
  if (a.extras.size() != b.extras.size()) {
    return "constants and prepared arrays: " + against(a.extras.size(), b.extras.size());
  }
  for (std::size_t i = 0; i < a.extras.size(); ++i) {
    const ExtraBuffer x = a.extras[i], y = b.extras[i];
    const std::string name = "buffer " + std::to_string(a.first_extra() + i) + ": ";
    if (x.kind != y.kind) return name + "another kind of buffer";
    if (x.kind == ExtraBuffer::Kind::folded) {
      const FoldedArray &p = a.folded[x.index], &q = b.folded[y.index];
      if (p.folding->kind() != q.folding->kind()) {
        return name + against(p.folding->kind(), q.folding->kind());
      }
      if (p.sources != q.sources) return name + "folded from others";
    } else if (x.kind == ExtraBuffer::Kind::prepared) {
      const PreparedArray &p = a.prepared[x.index], &q = b.prepared[y.index];
      if (p.kind != q.kind) return name + against(p.kind, q.kind);
      if (p.bytes != q.bytes || p.sources != q.sources) return name + "prepared otherwise";
    } else if (!same_constant(a.constants[x.index], b.constants[y.index])) {
      return name + "another constant";
    }
  }
  return {};
}

std::string compare_ranges(const Recording& a, const Recording& b) {
  if (a.ranges.size() != b.ranges.size()) {
    return "ranges: " + against(a.ranges.size(), b.ranges.size());
  }
  for (std::size_t i = 0; i < a.ranges.size(); ++i) {
    const Lifetime &x = a.ranges[i], &y = b.ranges[i];
    const std::string name = "range " + std::to_string(i) + ": ";
    if (x.bytes != y.bytes) return name + against(x.bytes, y.bytes) + " bytes";
    if (x.first != y.first || x.last != y.last) return name + "used by other steps";
  }
  return {};
}

std::string compare_fields(const std::vector<steps::Field>& a, const std::vector<steps::Field>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    const std::string x = steps::text_of(a[i].member), y = steps::text_of(b[i].member);
    if (x != y) return std::string(a[i].name) + ": " + against(x, y);
  }
  return {};
}

std::string compare_steps(const Recording& a, const Recording& b) {
  for (std::size_t i = 0; i < a.steps.size() && i < b.steps.size(); ++i) {
    steps::Recipe &x = *a.steps[i].recipe, &y = *b.steps[i].recipe;
    const std::string name = "step " + std::to_string(i) + ", ";
    if (std::strcmp(x.kind(), y.kind()) != 0) return name + against(x.kind(), y.kind());
    for (const std::string& found :
         {compare_fields(x.fields(), y.fields()), compare_fields(x.slots(), y.slots())}) {
      if (!found.empty()) return name + x.kind() + ": " + found;
    }
  }
  if (a.steps.size() != b.steps.size()) return "steps: " + against(a.steps.size(), b.steps.size());
  return {};
}

}  // namespace

std::string difference(const Recording& a, const Recording& b) {
  if (a.table != b.table) return "instruction set: " + against(a.table->isa, b.table->isa);
  for (const std::string& found :
       {compare_ends("input", a.inputs, b.inputs), compare_ends("output", a.outputs, b.outputs),
        compare_steps(a, b), compare_buffers(a, b), compare_ranges(a, b)}) {
    if (!found.empty()) return found;
  }
  if (a.random != b.random) return "another generator";
  if (a.first_write != b.first_write) return "constants are written from another step on";
  return {};
}

std::string difference(const Program& a, const Program& b) {
  return difference(*a.recorded(), *b.recorded());
}

}  // namespace lamella::program

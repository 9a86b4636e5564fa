// SPDX-License-Identifier: Apache-2.0
// What programs compute from constants ahead of their runs (packed weights), one for all that want it.
//
// Programs of one model for several batch sizes, of a net and of its parts, read the same parameters
// in the same form: each form is held once, while a program uses it. Everything here happens under the
// callers' common lock (the GIL), as in workspace.h.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace lamella::program {

class WorkspacePool;

struct Prepared {
  std::shared_ptr<std::byte[]> memory;  // null before it is filled for the first time
  std::vector<std::int64_t> versions;   // of the sources, as they were when it was filled
  std::vector<const WorkspacePool*> users;
};

// What makes two prepared arrays the same: where their sources lie, and what is made of them.
struct PreparedKey {
  struct Source {
    const std::byte* data;
    const std::int64_t* version;  // null: never changes
    auto operator<=>(const Source&) const = default;
  };
  std::string kind;
  std::vector<Source> sources;
  auto operator<=>(const PreparedKey&) const = default;
};

// The part of one program in a prepared array. The sources must live as long.
class PreparedShare {
 public:
  // Throws std::bad_alloc.
  PreparedShare(const PreparedKey& key, const WorkspacePool& user);
  ~PreparedShare();
  PreparedShare(const PreparedShare&) = delete;
  PreparedShare& operator=(const PreparedShare&) = delete;
  PreparedShare(PreparedShare&&) = default;
  PreparedShare& operator=(PreparedShare&&) = delete;

  Prepared* operator->() const { return item_.get(); }
  // Whether a run of another program may be reading it.
  bool read_by_others() const;

 private:
  std::shared_ptr<Prepared> item_;
  const WorkspacePool* user_;
};

}  // namespace lamella::program

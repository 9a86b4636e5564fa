// SPDX-License-Identifier: Apache-2.0
// The prepared arrays of the process.
#include "program/prepared.h"

#include <algorithm>
#include <map>

#include "program/workspace.h"

namespace lamella::program {
namespace {

using Registry = std::map<PreparedKey, std::weak_ptr<Prepared>>;

// Never destroyed: programs may outlive the destructors of static objects.
Registry& registry() {
  static Registry& only = *new Registry;
  return only;
}

std::shared_ptr<Prepared> find_or_make(const PreparedKey& key) {
  const auto place = registry().try_emplace(key).first;
  std::shared_ptr<Prepared> item = place->second.lock();
  if (item == nullptr) {
    const auto forget = [place](Prepared* last) {
      delete last;
      registry().erase(place);
    };
    item = std::shared_ptr<Prepared>(new Prepared, forget);
    place->second = item;
  }
  return item;
}

}  // namespace

PreparedShare::PreparedShare(const PreparedKey& key, const WorkspacePool& user)
    : item_(find_or_make(key)), user_(&user) {
  item_->users.push_back(user_);
}

PreparedShare::~PreparedShare() {
  if (item_ == nullptr) return;
  item_->users.erase(std::find(item_->users.begin(), item_->users.end(), user_));
}

bool PreparedShare::read_by_others() const {
  return std::any_of(item_->users.begin(), item_->users.end(), [this](const WorkspacePool* user) {
    return user != user_ && !user->all_idle();
  });
}

}  // namespace lamella::program

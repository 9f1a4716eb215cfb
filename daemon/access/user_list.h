// Users of this machine as the configuration names them: "anna, @operators, 1001"; "all" and "none" are
// lists, too. Groups are asked for when the list is resolved: who joins one later counts after the next
// reload.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"
#include "daemon/access/identity.h"

namespace dslad::daemon {

class UserList {
 public:
  // `key` is the setting, for errors. Errors: kInvalidArgument for a name that this machine does not know.
  static Result<UserList> resolve(std::string_view key, const std::string& text);

  static bool knows_user(const std::string& name);

  [[nodiscard]] bool holds(const LocalUser& user) const {
    return all_ || users_.contains(user.uid) || groups_.contains(user.gid);
  }

 private:
  Status add_user(std::string_view key, const std::string& name);
  Status add_group(std::string_view key, const std::string& name);

  bool all_ = false;
  std::set<std::uint32_t> users_;   // members of groups among them
  std::set<std::uint32_t> groups_;  // of a process itself
};

}  // namespace dslad::daemon

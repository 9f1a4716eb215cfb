#include "daemon/access/user_list.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <grp.h>
#include <optional>
#include <pwd.h>

namespace dslad::daemon {
namespace {

std::optional<std::uint32_t> number_of(const std::string& text) {
  std::uint32_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Error unknown(std::string_view key, std::string_view what, const std::string& name) {
  return {ErrorCode::kInvalidArgument,
          fmt::format("{} names {} '{}', which this machine does not know; write users, @groups or numbers, "
                      "separated by commas, or all, or none",
                      key, what, name)};
}

}  // namespace

Result<UserList> UserList::resolve(std::string_view key, const std::string& text) {
  constexpr std::string_view kBetween = ", \t";
  UserList list;
  std::string_view rest = text;
  while (true) {
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(kBetween)));
    if (rest.empty()) return list;
    const std::string name(rest.substr(0, rest.find_first_of(kBetween)));
    rest.remove_prefix(name.size());
    if (name == "none") continue;
    if (name == "all") {
      list.all_ = true;
      continue;
    }
    const Status status =
        name.front() == '@' ? list.add_group(key, name.substr(1)) : list.add_user(key, name);
    if (!status) return status.error();
  }
}

bool UserList::knows_user(const std::string& name) {
  return ::getpwnam(name.c_str()) != nullptr;  // NOLINT(concurrency-mt-unsafe)
}

// At start and reload alone, when nothing else of the process asks for users.
Status UserList::add_user(std::string_view key, const std::string& name) {
  if (const std::optional<std::uint32_t> number = number_of(name)) {
    users_.insert(*number);
    return ok_status();
  }
  const passwd* const user = ::getpwnam(name.c_str());  // NOLINT(concurrency-mt-unsafe)
  if (user == nullptr) return unknown(key, "the user", name);
  users_.insert(user->pw_uid);
  return ok_status();
}

Status UserList::add_group(std::string_view key, const std::string& name) {
  if (const std::optional<std::uint32_t> number = number_of(name)) {
    groups_.insert(*number);
    return ok_status();
  }
  const group* const found = ::getgrnam(name.c_str());  // NOLINT(concurrency-mt-unsafe)
  if (found == nullptr) return unknown(key, "the group", name);
  groups_.insert(found->gr_gid);
  std::set<std::string> members;  // copied: looking one up may overwrite the group
  for (char* const* member = found->gr_mem; *member != nullptr; ++member) members.insert(*member);
  for (const std::string& member : members) {
    const passwd* const user = ::getpwnam(member.c_str());  // NOLINT(concurrency-mt-unsafe)
    if (user != nullptr) users_.insert(user->pw_uid);
  }
  return ok_status();
}

}  // namespace dslad::daemon

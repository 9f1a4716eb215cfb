#include "daemon/access/role.h"

#include <array>

namespace dslad::daemon {
namespace {

struct Row {
  std::string_view request;
  Rights submit, read, admin;
};

// In the order of the table in docs/security.md; a test holds the two together.
constexpr std::array kRights = [] {
  constexpr Rights no = Rights::kNone, own = Rights::kOwn, all = Rights::kAll;
  return std::array{
      Row{"submit", own, no, all},          Row{"list", own, all, all},
      Row{"count", own, all, all},          Row{"job", own, all, all},
      Row{"result", own, all, all},         Row{"wait", own, all, all},
      Row{"policy_explain", own, all, all}, Row{"cancel", own, no, all},
      Row{"requeue", own, no, all},         Row{"purge", own, no, all},
      Row{"status", all, all, all},         Row{"stats", all, all, all},
      Row{"ping", all, all, all},           Row{"layers", all, all, all},
      Row{"plan_show", all, all, all},      Row{"policy_show", all, all, all},
      Row{"policy_history", all, all, all}, Row{"queue_set", no, no, all},
      Row{"plan_set", no, no, all},         Row{"policy_set", no, no, all},
      Row{"backup_begin", no, no, all},     Row{"backup_show", no, no, all},
      Row{"backup_read", no, no, all},      Row{"backup_end", no, no, all},
      Row{"integrity_begin", no, no, all},  Row{"integrity_show", no, no, all},
  };
}();

}  // namespace

std::string_view to_string(Role role) {
  switch (role) {
    case Role::kSubmit:
      return "submit";
    case Role::kRead:
      return "read";
    case Role::kAdmin:
      return "admin";
    default:
      return "none";
  }
}

Rights rights_of(Role role, std::string_view request) {
  for (const Row& row : kRights) {
    if (row.request != request) continue;
    if (role == Role::kSubmit) return row.submit;
    if (role == Role::kRead) return row.read;
    return role == Role::kAdmin ? row.admin : Rights::kNone;
  }
  return Rights::kNone;
}

}  // namespace dslad::daemon

#include "daemon/access/role.h"

#include <array>

namespace dslad::daemon {
namespace {

struct Row {
  std::string_view request;
  Rights submit, read, admin;
};

using enum Rights;

// In the order of the table in docs/security.md; a test holds the two together.
constexpr std::array kTable = {
    Row{"submit", kOwn, kNone, kAll},
    Row{"list", kOwn, kAll, kAll},
    Row{"count", kOwn, kAll, kAll},
    Row{"job", kOwn, kAll, kAll},
    Row{"result", kOwn, kAll, kAll},
    Row{"wait", kOwn, kAll, kAll},
    Row{"policy_explain", kOwn, kAll, kAll},
    Row{"cancel", kOwn, kNone, kAll},
    Row{"requeue", kOwn, kNone, kAll},
    Row{"purge", kOwn, kNone, kAll},
    Row{"status", kAll, kAll, kAll},
    Row{"stats", kAll, kAll, kAll},
    Row{"ping", kAll, kAll, kAll},
    Row{"layers", kAll, kAll, kAll},
    Row{"plan_show", kAll, kAll, kAll},
    Row{"policy_show", kAll, kAll, kAll},
    Row{"policy_history", kAll, kAll, kAll},
    Row{"queue_set", kNone, kNone, kAll},
    Row{"plan_set", kNone, kNone, kAll},
    Row{"policy_set", kNone, kNone, kAll},
    Row{"backup_begin", kNone, kNone, kAll},
    Row{"backup_show", kNone, kNone, kAll},
    Row{"backup_read", kNone, kNone, kAll},
    Row{"backup_end", kNone, kNone, kAll},
    Row{"integrity_begin", kNone, kNone, kAll},
    Row{"integrity_show", kNone, kNone, kAll},
};

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
  for (const Row& row : kTable) {
    if (row.request != request) continue;
    if (role == Role::kSubmit) return row.submit;
    if (role == Role::kRead) return row.read;
    return role == Role::kAdmin ? row.admin : kNone;
  }
  return kNone;
}

}  // namespace dslad::daemon

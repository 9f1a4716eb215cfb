// Each change that the conversion policy made. Runs inside the caller's transaction.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/store/sqlite.h"
#include "schema/policy_messages.h"

namespace dslad::daemon {

Status record_policy_change(Database& db, const schema::PolicyChange& change);
// Newest first.
Result<std::vector<schema::PolicyChange>> policy_changes(Database& db, std::uint32_t limit);
// Of each model the latest.
Result<std::vector<schema::PolicyChange>> latest_policy_changes(Database& db);

}  // namespace dslad::daemon

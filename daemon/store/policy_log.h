// What is kept of the conversion policy: its settings, and each change that it made. Runs inside the caller's
// Task.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/store/sqlite.h"
#include "schema/policy_messages.h"

namespace dslad::daemon {

// Settings that someone made, by the names of schema::SetPolicy's keys.
Result<std::map<std::string, std::string>> read_settings(Database& db);
Status save_settings(Database& db, const std::map<std::string, std::string>& settings);

Status record_policy_change(Database& db, const schema::PolicyChange& change);
// Newest first.
Result<std::vector<schema::PolicyChange>> policy_changes(Database& db, std::uint32_t limit);

}  // namespace dslad::daemon

// What people set at run time and what shall outlive a restart, by name. Runs inside the caller's
// transaction.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "daemon/store/sqlite.h"

namespace dslad::daemon {

// The conversion policy's settings have the names of schema::SetPolicy's keys; beside them:
inline constexpr std::string_view kQueueModeSetting = "queue_mode";  // a word of schema::QueueMode

Result<std::map<std::string, std::string>> read_settings(Database& db);
Status save_settings(Database& db, const std::map<std::string, std::string>& settings);

}  // namespace dslad::daemon

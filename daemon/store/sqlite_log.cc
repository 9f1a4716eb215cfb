#include "daemon/store/sqlite_log.h"

#include <atomic>
#include <chrono>
#include <fmt/format.h>
#include <map>
#include <mutex>
#include <sqlite3.h>
#include <string>

#include "base/process/log.h"

namespace dslad::daemon {
namespace {

constexpr std::chrono::seconds kQuiet{5};

std::atomic<std::uint64_t> times_damaged{0};

// False for what is like another that was told a moment ago.
bool is_told(int kind) {
  static std::mutex mutex;
  static std::map<int, std::chrono::steady_clock::time_point> next;
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex);
  const auto [entry, first] = next.try_emplace(kind, now + kQuiet);
  if (first) return true;
  if (now < entry->second) return false;
  entry->second = now + kQuiet;
  return true;
}

// Called within SQLite, which must not be called from here.
void hear(void*, int code, const char* message) {
  const int kind = code & 0xFF;
  switch (kind) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      ++times_damaged;
      if (is_told(kind)) {
        process::log_error(process::kDatabaseDamaged,
                           fmt::format("the database is damaged: {}; dslactl integrity tells where, and "
                                       "docs/database.md, 'Damage', what to do",
                                       message));
      }
      break;
    case SQLITE_IOERR:
    case SQLITE_FULL:
    case SQLITE_CANTOPEN:
      if (is_told(kind))
        process::log_warning(process::kDiskFails, fmt::format("the database's disk fails: {}", message));
      break;
    case SQLITE_NOTICE:
      process::log_info(fmt::format("SQLite: {}", message));
      break;
    case SQLITE_WARNING:
      if (code != SQLITE_WARNING_AUTOINDEX && is_told(kind))
        process::log_warning(fmt::format("SQLite: {}", message));
      break;
    default:
      break;  // its caller hears of it
  }
}

}  // namespace

void log_what_sqlite_says() {
  sqlite3_config(SQLITE_CONFIG_LOG, hear, nullptr);
}

std::uint64_t damage_met() {
  return times_damaged;
}

}  // namespace dslad::daemon

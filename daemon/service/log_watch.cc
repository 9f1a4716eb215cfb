#include "daemon/service/log_watch.h"

#include <fmt/format.h>

#include "base/process/log.h"

namespace dslad::daemon {

bool LogWatch::look(std::uint64_t log_bytes, std::uint64_t held_up_ms) {
  const bool grows = held_up_ms > 0 && log_bytes >= most_bytes_;
  if (told_ && log_bytes < most_bytes_ / 2) {
    told_ = false;
    process::log_info("the write-ahead log is emptied again");
  }
  if (!grows || told_) return false;
  told_ = true;
  process::log_warning(process::kLogHeldUp,
                       fmt::format("{0}-wal has {1} MiB and could not be emptied for {2} s: a program keeps "
                                   "a transaction of the database "
                                   "open. "
                                   "Find it with fuser {0} (sqlite3, a script, a backup that hangs) and end "
                                   "it; the log is emptied then",
                                   database_, log_bytes >> 20, held_up_ms / 1'000));
  return true;
}

}  // namespace dslad::daemon

// Whether all that was acknowledged will be found in a write-ahead log that a daemon left behind.
//
// SQLite reads a log up to the first frame that is not as it was written, and takes the rest for what a power
// cut left of a commit that was under way. Where it is damage instead, the commits behind it would be gone
// without a word. One commit is under way at a time, so of several behind a bad frame all but the last were
// acknowledged. (The format: https://sqlite.org/fileformat2.html#the_write_ahead_log)
#pragma once

#include <filesystem>

#include "base/result.h"

namespace dslad::daemon {

enum class LogEnd : std::uint8_t {
  kWhole,       // or no log at all
  kUnfinished,  // its last commit is not whole: it was under way when the machine stopped, or is damaged
};

// Look before SQLite opens the database: it may write over the log.
// Errors: kCorrupt where acknowledged commits would be lost, kUnavailable where the log cannot be read.
Result<LogEnd> check_log(const std::filesystem::path& database);

}  // namespace dslad::daemon

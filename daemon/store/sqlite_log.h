// SQLite's own words about failing disks and damaged files go to the log, which no caller would hear in such
// detail: of each kind a line in some seconds. Process-wide; safe from any thread.
#pragma once

#include <cstdint>

namespace dslad::daemon {

// Call it before the first database is opened; later it has no effect.
void log_what_sqlite_says();

// How often SQLite has met damage since then.
std::uint64_t damage_met();

}  // namespace dslad::daemon

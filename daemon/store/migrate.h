// Brings a database to the newest version of schema/migrations, one transaction a migration.
#pragma once

#include <cstdint>

#include "daemon/store/sqlite.h"
#include "schema/result.h"

namespace dslad::daemon {

// Errors: kRefused for a database made by a newer dslad; those of the database.
Status migrate(Database& db);

inline constexpr std::int64_t kMostToPack = std::int64_t{1} << 30;  // bytes

// A file of before version 6 keeps the room of rows that are gone; this packs it anew, once, so that from
// then on it can shrink. Takes as much room again while it works. kRefused where the file is so large that
// nobody should wait for that.
Status make_shrinkable(Database& db, std::int64_t most_bytes = kMostToPack);

}  // namespace dslad::daemon

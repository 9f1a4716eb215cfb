// Brings a database to the newest version of schema/migrations, one transaction a migration.
//
// A migration may rebuild a table (https://sqlite.org/lang_altertable.html#otheralter): drop the views and
// triggers that name it, create the table anew under another name, copy the rows, drop the old table, rename,
// create views, triggers and indexes again. Foreign keys are off meanwhile, or dropping `jobs` would empty
// all that refers to it; they are checked before the commit.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "daemon/store/sqlite.h"
#include "schema/migrations.h"

namespace dslad::daemon {

// What fails leaves the version before it whole.
// Errors: kRefused for a database made by a newer dslad; kCorrupt where rows refer to others that are not
// there after a migration; those of the database. REQUIRES: no transaction is open.
Status migrate(Database& db, std::span<const schema::Migration> migrations = schema::migrations());

inline constexpr std::int64_t kMostToPack = std::int64_t{1} << 30;  // bytes

// A file of before version 6 keeps the room of rows that are gone; this packs it anew, once, so that from
// then on it can shrink. Takes as much room again while it works. kRefused where the file is so large that
// nobody should wait for that.
Status make_shrinkable(Database& db, std::int64_t most_bytes = kMostToPack);

}  // namespace dslad::daemon

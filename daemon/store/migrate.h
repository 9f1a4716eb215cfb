// Brings a database to the newest version of schema/migrations, one transaction a migration.
#pragma once

#include "daemon/store/sqlite.h"
#include "schema/result.h"

namespace dslad::daemon {

// Errors: kRefused for a database made by a newer dslad; those of the database.
Status migrate(Database& db);

// A file of before version 6 keeps the room of rows that are gone; this packs it anew, once, so that from
// then on it can shrink. Takes as much room again while it works.
Status make_shrinkable(Database& db);

}  // namespace dslad::daemon

// Brings a database to the newest version of schema/migrations, one transaction a migration.
#pragma once

#include "daemon/store/sqlite.h"
#include "schema/result.h"

namespace dslad::daemon {

// Errors: kRefused for a database made by a newer dslad; those of the database.
Status migrate(Database& db);

}  // namespace dslad::daemon

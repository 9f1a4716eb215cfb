#include "daemon/store/migrate.h"

#include <fmt/format.h>
#include <string>

#include "daemon/store/job_writes.h"
#include "schema/migrations.h"

namespace dslad::daemon {
namespace {

Result<std::int64_t> user_version(Database& db) {
  Query query(db, "PRAGMA user_version");
  const std::int64_t version = query.next() ? query.integer(0) : 0;
  if (!query.status()) return query.status().error();
  return version;
}

Status apply(Database& db, const schema::Migration& migration) {
  const std::string sql = fmt::format("BEGIN IMMEDIATE;\n{}\nPRAGMA user_version = {};\nCOMMIT;",
                                      migration.sql, migration.version);
  Status status = db.exec(sql.c_str());
  if (status) return status;
  if (db.in_transaction() && !db.exec("ROLLBACK")) return status.error().with_context("cannot roll back");
  return status.error().with_context(migration.name);
}

}  // namespace

Status make_shrinkable(Database& db, std::int64_t most_bytes) {
  constexpr std::int64_t kIncremental = 2;
  {
    Query query(db, "PRAGMA auto_vacuum");
    const std::int64_t now = query.next() ? query.integer(0) : 0;
    if (!query.status() || now == kIncremental) return query.status();
  }
  const Result<std::int64_t> used = bytes_used(db);
  if (!used) return used.error();
  if (*used > most_bytes) {
    return Error{
        ErrorCode::kRefused,
        fmt::format("it has {} MiB, which takes long to pack; when there is time, stop dslad and run "
                    "sqlite3 dslad.db 'PRAGMA auto_vacuum = INCREMENTAL; VACUUM;'",
                    *used >> 20)};
  }
  return db.exec("PRAGMA auto_vacuum = INCREMENTAL; VACUUM;");
}

Status migrate(Database& db) {
  const Result<std::int64_t> version = user_version(db);
  if (!version) return version.error();
  const std::int64_t newest = schema::migrations().back().version;
  if (*version > newest) {
    return Error{ErrorCode::kRefused,
                 fmt::format("the database has version {}, this dslad knows up to {}: use the "
                             "dslad that wrote it or a newer one",
                             *version, newest)};
  }
  for (const schema::Migration& migration : schema::migrations()) {
    if (migration.version <= *version) continue;
    if (Status status = apply(db, migration); !status) return status;
  }
  return ok_status();
}

}  // namespace dslad::daemon

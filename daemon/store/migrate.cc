#include "daemon/store/migrate.h"

#include <fmt/format.h>
#include <string>

#include "daemon/store/job_writes.h"

namespace dslad::daemon {
namespace {

Result<std::int64_t> user_version(Database& db) {
  Query query(db, "PRAGMA user_version");
  const std::int64_t version = query.next() ? query.integer(0) : 0;
  if (!query.status()) return query.status().error();
  return version;
}

// The first rows that refer to others which are not there; at most a few, one is enough to stop.
Status check_references(Database& db) {
  constexpr const char* kSome = "SELECT \"table\", rowid, parent FROM pragma_foreign_key_check LIMIT 3";
  Query query(db, kSome);
  std::string rows;
  while (query.next()) {
    const std::string row = query.is_null(1) ? "a row" : fmt::format("row {}", query.integer(1));
    rows += fmt::format("{}{} of {} refers to one of {}", rows.empty() ? "" : ", ", row, query.text(0),
                        query.text(2));
  }
  if (!query.status() || rows.empty()) return query.status();
  return Error{ErrorCode::kCorrupt,
               fmt::format("rows would refer to others that are not there ({}); the database is as it was: "
                           "restore a backup, or delete these rows with sqlite3 and start again",
                           rows)};
}

Status run_in_transaction(Database& db, const schema::Migration& migration) {
  const std::string sql =
      fmt::format("BEGIN IMMEDIATE;\n{}\nPRAGMA user_version = {};", migration.sql, migration.version);
  Status status = db.exec(sql.c_str());
  if (status) status = check_references(db);
  if (status) status = db.exec("COMMIT");
  if (status || !db.in_transaction()) return status;
  if (!db.exec("ROLLBACK")) return status.error().with_context("cannot roll back");
  return status;
}

// SQLite takes no notice of this pragma within a transaction, so it goes around it.
Status apply(Database& db, const schema::Migration& migration) {
  Status status = db.exec("PRAGMA foreign_keys = OFF");
  if (status) status = run_in_transaction(db, migration);
  if (Status on = db.exec("PRAGMA foreign_keys = ON"); status && !on) status = on;
  return status ? status : Status(status.error().with_context(migration.name));
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

Status migrate(Database& db, std::span<const schema::Migration> migrations) {
  const Result<std::int64_t> version = user_version(db);
  if (!version) return version.error();
  const std::int64_t newest = migrations.back().version;
  if (*version > newest) {
    return Error{ErrorCode::kRefused,
                 fmt::format("the database has version {}, this dslad knows up to {}: use the "
                             "dslad that wrote it or a newer one",
                             *version, newest)};
  }
  for (const schema::Migration& migration : migrations) {
    if (migration.version <= *version) continue;
    if (Status status = apply(db, migration); !status) return status;
  }
  return ok_status();
}

}  // namespace dslad::daemon

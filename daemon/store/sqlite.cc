#include "daemon/store/sqlite.h"

#include <cerrno>
#include <fmt/format.h>
#include <sqlite3.h>
#include <string>
#include <sys/stat.h>
#include <system_error>

namespace dslad::daemon {
namespace {

constexpr int kPrimaryCode = 0xFF;  // the bits above say more

ErrorCode code_of(int sqlite_code) {
  switch (sqlite_code & kPrimaryCode) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_NOMEM:
    case SQLITE_INTERRUPT:
      return ErrorCode::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorCode::kCorrupt;
    default:
      return ErrorCode::kInternal;
  }
}

constexpr const char* kSettings =
    "PRAGMA auto_vacuum = INCREMENTAL;"  // of a file that is new: what is forgotten gives its room back
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = FULL;"
    "PRAGMA foreign_keys = ON;"
    "PRAGMA temp_store = MEMORY;"
    "PRAGMA journal_size_limit = 67108864;";

}  // namespace

void Database::Close::operator()(sqlite3* connection) const {
  sqlite3_close_v2(connection);
}
void Database::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

Result<Database> Database::open_with(const std::filesystem::path& file, int flags, int busy_timeout_ms,
                                     const char* settings) {
  sqlite3* connection = nullptr;
  const int code = sqlite3_open_v2(file.c_str(), &connection,
                                   flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  Database db(connection, busy_timeout_ms);  // also after a failure: the handle must be closed
  if (connection == nullptr) return Error{ErrorCode::kUnavailable, "SQLite has no memory"};
  if (code != SQLITE_OK) return db.last_error(fmt::format("cannot open {}", file.string()));
  sqlite3_busy_timeout(connection, busy_timeout_ms);
  if (Status status = db.exec(settings); !status) return status.error().with_context(file.string());
  return db;
}

Result<Database> Database::open(const std::filesystem::path& file, int busy_timeout_ms) {
  return open_with(file, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, busy_timeout_ms, kSettings);
}

Result<Database> Database::open_to_read(const std::filesystem::path& file, int busy_timeout_ms) {
  return open_with(file, SQLITE_OPEN_READONLY, busy_timeout_ms,
                   "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;");
}

Result<Database> Database::open_copy(const std::filesystem::path& file) {
  return open_with(file, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 0,
                   "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF");
}

Status Database::exec(const char* sql) {
  errno = 0;
  if (sqlite3_exec(connection_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK) return ok_status();
  return last_error("database");
}

Status Database::checkpoint() {
  sqlite3_busy_timeout(connection_.get(), 0);
  const int code =
      sqlite3_wal_checkpoint_v2(connection_.get(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  sqlite3_busy_timeout(connection_.get(), busy_timeout_ms_);
  return code == SQLITE_OK ? ok_status() : Status(last_error("checkpoint"));
}

std::uint64_t Database::log_bytes() const {
  const char* const file = sqlite3_db_filename(connection_.get(), "main");
  struct stat about {};
  const bool there = file != nullptr && ::stat(sqlite3_filename_wal(file), &about) == 0;
  return there ? static_cast<std::uint64_t>(about.st_size) : 0;
}

std::int64_t Database::rows_changed() const {
  return sqlite3_total_changes64(connection_.get());
}

bool Database::in_transaction() const {
  return sqlite3_get_autocommit(connection_.get()) == 0;
}

Error Database::last_error(std::string_view doing) const {
  const int system = errno;  // sqlite3_system_errno(), which is the same, knows of no COMMIT in SQLite 3.40
  const int code = sqlite3_extended_errcode(connection_.get());
  const bool by_system = (code & kPrimaryCode) == SQLITE_IOERR && system != 0;
  const std::string cause = by_system ? ": " + std::generic_category().message(system) : "";
  return {code_of(code),
          fmt::format("{}: {}{} (SQLite error {})", doing, sqlite3_errmsg(connection_.get()), cause, code)};
}

Error error_of(int sqlite_code, std::string_view doing) {
  return {code_of(sqlite_code),
          fmt::format("{}: {} (SQLite error {})", doing, sqlite3_errstr(sqlite_code), sqlite_code)};
}

Result<Database::Statement> Database::take(const char* sql) {
  if (const auto found = idle_.find(sql); found != idle_.end() && found->second)
    return std::move(found->second);
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v3(connection_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  if (code != SQLITE_OK) return last_error("database");
  return Statement(raw);
}

void Database::give_back(const char* sql, Statement statement) {
  sqlite3_reset(statement.get());
  sqlite3_clear_bindings(statement.get());
  idle_[sql] = std::move(statement);
}

Query::Query(Database& db, const char* sql) : db_(db), sql_(sql) {
  Result<Database::Statement> statement = db.take(sql);
  if (statement) {
    statement_ = std::move(statement).value();
  } else {
    status_ = statement.error();
  }
}

Query::~Query() {
  if (statement_) db_.give_back(sql_, std::move(statement_));
}

bool Query::next() {
  if (!status_) return false;
  errno = 0;
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) status_ = db_.last_error("database");
  return false;
}

bool Query::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}
std::int64_t Query::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}
double Query::real(int column) const {
  return sqlite3_column_double(statement_.get(), column);
}

std::string Query::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

void Query::bind(std::int64_t value) {
  if (status_) check(sqlite3_bind_int64(statement_.get(), ++bound_, value));
}

void Query::bind(double value) {
  if (status_) check(sqlite3_bind_double(statement_.get(), ++bound_, value));
}

// The bound text is borrowed: a Query never outlives the arguments it was made with.
void Query::bind(std::string_view value) {
  const char* bytes = value.data() == nullptr ? "" : value.data();
  if (status_) {
    check(sqlite3_bind_text64(statement_.get(), ++bound_, bytes, value.size(), SQLITE_STATIC, SQLITE_UTF8));
  }
}

void Query::check(int code) {
  if (code != SQLITE_OK) status_ = db_.last_error("database");
}

}  // namespace dslad::daemon

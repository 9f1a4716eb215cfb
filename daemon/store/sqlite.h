// A thin RAII wrapper of the SQLite C API: one connection, prepared statements kept by their text, errors as
// Result. daemon/store includes it, and daemon/report to read.
//
// Not thread-safe: a Database belongs to the thread that uses it. SQL texts must be literals (they key the
// cache).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace dslad::daemon {

class Database {
 public:
  // Opens or creates the file: WAL, synchronous=FULL, foreign keys on.
  // Errors: kUnavailable where the file cannot be opened or is locked, kCorrupt where it is no database.
  static Result<Database> open(const std::filesystem::path& file, int busy_timeout_ms);

  // A connection to an existing file that only reads, beside one that writes. Errors as open().
  static Result<Database> open_to_read(const std::filesystem::path& file, int busy_timeout_ms);

  // A connection that makes a copy: nobody else may use the file, and what fails is made anew.
  static Result<Database> open_copy(const std::filesystem::path& file);

  // Runs statements that yield no rows of interest. Not cached; for BEGIN, PRAGMA and migrations.
  Status exec(const char* sql);

  // The same with bound values and cached; REQUIRES: one statement.
  template <typename... Values>
  Status run(const char* sql, const Values&... values);

  // Moves the write-ahead log into the file and empties it. Does not wait for readers: kUnavailable where one
  // is in the way, and then as much as possible was moved.
  Status checkpoint();

  [[nodiscard]] std::uint64_t log_bytes() const;    // of the write-ahead log's file
  [[nodiscard]] std::int64_t rows_changed() const;  // since it was opened
  [[nodiscard]] bool in_transaction() const;        // false after an error made SQLite roll everything back

  // What SQLite says of the latest call that failed.
  [[nodiscard]] Error last_error(std::string_view doing) const;

  // For the rest of SQLite's API; it stays this object's.
  [[nodiscard]] sqlite3* handle() const { return connection_.get(); }

 private:
  friend class Query;
  struct Close {
    void operator()(sqlite3* connection) const;
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

  Database(sqlite3* connection, int busy_timeout_ms)
      : connection_(connection), busy_timeout_ms_(busy_timeout_ms) {}
  static Result<Database> open_with(const std::filesystem::path& file, int flags, int busy_timeout_ms,
                                    const char* settings);
  Result<Statement> take(const char* sql);
  void give_back(const char* sql, Statement statement);

  std::unique_ptr<sqlite3, Close> connection_;
  int busy_timeout_ms_;
  std::unordered_map<std::string_view, Statement> idle_;  // by SQL text; destroyed before the connection
};

// The same of a result code that came without a connection's error.
Error error_of(int sqlite_code, std::string_view doing);

// Bound texts are borrowed until the Query goes: a text made in its argument list would be gone before.
template <typename Value>
inline constexpr bool kOutlivesQuery =
    !std::is_same_v<Value, std::string> && !std::is_same_v<Value, std::optional<std::string>>;

// One run of a statement:  Query q(db, "SELECT ...", id);  while (q.next()) use(q.integer(0));  return
// q.status();
class Query {
 public:
  template <typename... Values>
  Query(Database& db, const char* sql, Values&&... values) : Query(db, sql) {
    static_assert((kOutlivesQuery<Values> && ...), "name the text first: a temporary dies before the Query");
    (bind(values), ...);
  }
  Query(Database& db, const char* sql);
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  bool next();  // false at the end and on an error: ask status()
  [[nodiscard]] Status status() const { return status_; }

  // Columns of the current row, from 0. NULL reads as 0 or "".
  [[nodiscard]] bool is_null(int column) const;
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] double real(int column) const;
  [[nodiscard]] std::string text(int column) const;

 private:
  void bind(std::int64_t value);
  void bind(int value) { bind(std::int64_t{value}); }
  void bind(std::uint32_t value) { bind(std::int64_t{value}); }
  void bind(double value);
  void bind(std::string_view value);
  void bind(const std::string& value) { bind(std::string_view(value)); }
  void bind(const char* value) { bind(std::string_view(value)); }
  template <typename T>
  void bind(const std::optional<T>& value) {
    if (value) {
      bind(*value);
    } else {
      ++bound_;  // a parameter never bound is NULL
    }
  }
  void check(int code);

  Database& db_;
  const char* sql_;
  Database::Statement statement_;
  int bound_ = 0;  // parameters bound so far
  Status status_ = ok_status();
};

template <typename... Values>
Status Database::run(const char* sql, const Values&... values) {
  Query query(*this, sql, values...);
  while (query.next()) {
  }
  return query.status();
}

}  // namespace dslad::daemon

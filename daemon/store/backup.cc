#include "daemon/store/backup.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <sqlite3.h>
#include <system_error>
#include <unistd.h>

#include "base/digest.h"
#include "base/process/descriptor.h"

namespace dslad::daemon {
namespace {

constexpr int kPagesAtOnce = 256;
constexpr std::size_t kReadAtOnce = std::size_t{1} << 20;

Error copy_was_stopped() {
  return {ErrorCode::kUnavailable, "it was ended before it was done"};
}

Error file_failed(const std::filesystem::path& file, std::string_view doing, int code) {
  return {code == ENOENT ? ErrorCode::kNotFound : ErrorCode::kUnavailable,
          fmt::format("cannot {} {}: {}", doing, file.string(), std::generic_category().message(code))};
}

Result<std::uint64_t> size_of(const std::filesystem::path& file) {
  std::error_code code;
  const std::uintmax_t bytes = std::filesystem::file_size(file, code);
  if (code) return file_failed(file, "look at", code.value());
  return std::uint64_t{bytes};
}

// Full or the end of the file.
Result<std::size_t> read_some(int fd, const std::filesystem::path& file, std::uint64_t from, char* to,
                              std::size_t most) {
  std::size_t have = 0;
  while (have < most) {
    const ssize_t got = ::pread(fd, to + have, most - have, static_cast<off_t>(from + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_failed(file, "read", errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  return have;
}

}  // namespace

// What waits in the log may lie in the database's pages, too, or not: both together are enough.
Result<std::uint64_t> bytes_of_copy(const std::filesystem::path& database) {
  const Result<std::uint64_t> bytes = size_of(database);
  if (!bytes) return bytes;
  const Result<std::uint64_t> log = size_of(database.string() + "-wal");
  const std::uint64_t most = *bytes + (log ? *log : 0);
  std::error_code code;
  const std::filesystem::space_info space = std::filesystem::space(database.parent_path(), code);
  if (code) return file_failed(database.parent_path(), "look at the room in", code.value());
  if (space.available >= most + kRoomBesideACopy) return bytes;
  return Error{
      ErrorCode::kResourceExhausted,
      fmt::format(
          "a backup needs {} MiB for a while, and {} MiB beside it for the queue, in {}, which has {} MiB "
          "left: make room there (dslactl purge), or stop dslad and copy the database yourself",
          (most >> 20) + 1, kRoomBesideACopy >> 20, database.parent_path().string(), space.available >> 20)};
}

// The transaction of `db` keeps its state, so what others commit meanwhile does not make it begin anew.
Status copy_database(Database& db, const std::filesystem::path& file, const std::atomic<bool>& stop,
                     std::atomic<std::uint64_t>& copied) {
  if (Status status = db.run("SELECT count(*) FROM sqlite_schema"); !status) return status;
  Result<Database> copy = Database::open_copy(file);
  if (!copy) return copy.error();
  const std::unique_ptr<sqlite3_backup, int (*)(sqlite3_backup*)> backup(
      sqlite3_backup_init(copy->handle(), "main", db.handle(), "main"), sqlite3_backup_finish);
  if (!backup) return copy->last_error("cannot begin a copy");
  std::int64_t page_bytes = 0;
  {
    Query query(db, "PRAGMA page_size");
    if (query.next()) page_bytes = query.integer(0);
  }
  int code = SQLITE_OK;
  while (code == SQLITE_OK) {
    if (stop) return copy_was_stopped();
    code = sqlite3_backup_step(backup.get(), kPagesAtOnce);
    const std::int64_t pages =
        sqlite3_backup_pagecount(backup.get()) - sqlite3_backup_remaining(backup.get());
    copied = static_cast<std::uint64_t>(pages * page_bytes);
  }
  if (code != SQLITE_DONE)
    return error_of(code, fmt::format("cannot copy the database to {}", file.string()));
  return ok_status();
}

Result<FileDigest> digest_of(const std::filesystem::path& file, const std::atomic<bool>& stop) {
  const process::Descriptor opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (opened.get() < 0) return file_failed(file, "open", errno);
  RunningHash hash;
  FileDigest digest;
  std::string piece(kReadAtOnce, '\0');
  while (true) {
    if (stop) return copy_was_stopped();
    const Result<std::size_t> got = read_some(opened.get(), file, digest.bytes, piece.data(), piece.size());
    if (!got) return got.error();
    hash.add(std::string_view(piece).substr(0, *got));
    digest.bytes += *got;
    if (*got < piece.size()) break;
  }
  digest.hex = hash.value().hex();
  return digest;
}

Result<schema::Bytes> read_piece(const std::filesystem::path& file, std::uint64_t from, std::size_t most) {
  const process::Descriptor opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (opened.get() < 0) return file_failed(file, "open", errno);
  schema::Bytes piece;
  piece.data.resize(most);
  const Result<std::size_t> got = read_some(opened.get(), file, from, piece.data.data(), most);
  if (!got) return got.error();
  piece.data.resize(*got);
  return piece;
}

}  // namespace dslad::daemon

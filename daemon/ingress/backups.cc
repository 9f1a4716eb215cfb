#include "daemon/ingress/backups.h"

#include <algorithm>
#include <fmt/format.h>
#include <system_error>
#include <utility>

#include "base/process/log.h"

namespace dslad::daemon {
namespace {

constexpr std::int64_t kForgottenAfterMs = 10 * 60 * 1'000;

Status make_copy(Database& db, const std::atomic<bool>& stop, const std::filesystem::path& copy,
                 const std::shared_ptr<std::atomic<std::uint64_t>>& copied, const Aside<FileDigest>& digest) {
  if (Status status = copy_database(db, copy, stop, *copied); !status) return status;
  Result<FileDigest> made = digest_of(copy, stop);
  if (!made) return made.error();
  digest.tell(std::move(made).value());
  return ok_status();
}

// No work on the database, but on a file as large.
Result<schema::BackupPiece> piece_of_copy(Database&, const std::filesystem::path& copy, std::uint64_t from) {
  Result<schema::Bytes> data = read_piece(copy, from, schema::kPageBytes);
  if (!data) return data.error();
  return schema::BackupPiece{from, std::move(data).value()};
}

}  // namespace

Backups::Backups(const Clock& clock, std::filesystem::path database, std::filesystem::path copy,
                 LongErrand& copying)
    : clock_(clock), database_(std::move(database)), copy_(std::move(copy)), copying_(copying) {
  remove_copy();
}

Result<schema::BackupReply> Backups::begin(const std::string& peer) {
  if ((current_ && !(current_->made && !*current_->made)) || copying_.running()) {
    return Error{ErrorCode::kResourceExhausted,
                 "a backup is being made or fetched already, and there is room for one: try again later"};
  }
  remove_copy();
  const Result<std::uint64_t> bytes = bytes_of_copy(database_);
  if (!bytes) return bytes.error();
  // By the clock, so that a number from before a restart is not taken for a backup of now.
  last_number_ = std::max(last_number_ + 1, static_cast<std::uint64_t>(clock_.wall_ms()));
  current_ =
      Current{last_number_,       peer,        std::make_shared<std::atomic<std::uint64_t>>(0), {}, *bytes,
              clock_.steady_ms(), std::nullopt};
  copying_.start(
      LongErrand::Work(make_copy, copy_, current_->copied, current_->digest),
      [this, number = last_number_](const Status& made) {
        if (!made || !current_ || current_->number != number) remove_copy();
        if (!current_ || current_->number != number) return;
        current_->made = made;
        if (made) {
          process::log_info("a backup is ready", {{"BYTES", std::to_string(current_->digest->bytes)}});
        } else {
          process::log_warning(fmt::format("a backup could not be made: {}", made.error().message));
        }
      });
  return describe(*current_);
}

schema::BackupReply Backups::describe(const Current& current) {
  if (!current.made) return {current.number, false, current.expected_bytes, *current.copied, ""};
  const FileDigest digest = current.digest.told() ? *current.digest : FileDigest{};  // it failed
  return {current.number, true, digest.bytes, digest.bytes, digest.hex};
}

Result<Backups::Current*> Backups::find(std::uint64_t backup) {
  if (!current_ || current_->number != backup) {
    return Error{ErrorCode::kNotFound,
                 fmt::format("there is no backup {} (any more): begin another", backup)};
  }
  current_->asked_ms = clock_.steady_ms();
  return &*current_;
}

Result<schema::BackupReply> Backups::show(std::uint64_t backup) {
  const Result<Current*> current = find(backup);
  if (!current) return current.error();
  if ((*current)->made && !*(*current)->made) return (*current)->made->error();
  return describe(**current);
}

Result<Work<schema::BackupPiece>> Backups::read(const schema::ReadBackup& request) {
  const Result<Current*> current = find(request.backup);
  if (!current) return current.error();
  if (!(*current)->made) return Error{ErrorCode::kRefused, "the backup is not ready: ask for it again later"};
  if (!*(*current)->made) return (*current)->made->error();
  const std::uint64_t bytes = (*current)->digest->bytes;
  if (request.from >= bytes) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("the backup has {} bytes: none begins at {}", bytes, request.from)};
  }
  return Work(piece_of_copy, copy_, request.from);
}

Result<schema::BackupReply> Backups::end(std::uint64_t backup) {
  const Result<Current*> current = find(backup);
  if (!current) return current.error();
  schema::BackupReply reply = describe(**current);
  drop();
  return reply;
}

// The errand removes what it was making.
void Backups::drop() {
  current_.reset();
  if (copying_.running()) {
    copying_.cancel();
  } else {
    remove_copy();
  }
}

void Backups::on_departed(const std::string& peer) {
  if (current_ && current_->peer == peer) drop();
}

void Backups::tick() {
  copying_.finish_ready();
  if (!current_ || clock_.steady_ms() - current_->asked_ms < kForgottenAfterMs) return;
  process::log_warning("a backup that its client does not ask for any more is removed");
  drop();
}

void Backups::remove_copy() {
  std::error_code code;
  for (const char* suffix : {"", "-journal", "-wal", "-shm"}) {
    std::filesystem::remove(copy_.string() + suffix, code);
    if (code)
      process::log_warning(fmt::format("cannot remove {}: {}", copy_.string() + suffix, code.message()));
  }
}

}  // namespace dslad::daemon

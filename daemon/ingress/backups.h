// The backup that a client takes away: made in the state folder by a thread of its own, read in pieces,
// removed when the client has it, departs or falls silent, and at the start where a killed daemon left one.
// One at a time. Socket thread only.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "daemon/clock.h"
#include "daemon/store/backup.h"
#include "daemon/store/long_errand.h"
#include "schema/care_messages.h"

namespace dslad::daemon {

class Backups {
 public:
  // `copy` is where the copy of `database` lies. All outlive this. Removes a copy that is there.
  Backups(const Clock& clock, std::filesystem::path database, std::filesystem::path copy,
          LongErrand& copying);

  Result<schema::BackupReply> begin(const std::string& peer);
  Result<schema::BackupReply> show(std::uint64_t backup);
  Result<schema::BackupReply> end(std::uint64_t backup);

  // What reads the piece.
  Result<Work<schema::BackupPiece>> read(const schema::ReadBackup& request);

  void on_departed(const std::string& peer);
  void tick();  // ends one that nobody asks for any more

 private:
  struct Current {
    std::uint64_t number = 0;
    std::string peer;
    std::shared_ptr<std::atomic<std::uint64_t>> copied;
    Aside<FileDigest> digest;  // the errand's until it has ended
    std::uint64_t expected_bytes = 0;
    std::int64_t asked_ms = 0;   // steady; the latest time
    std::optional<Status> made;  // nothing: it is being made
  };
  Result<Current*> find(std::uint64_t backup);
  void drop();
  void remove_copy();
  [[nodiscard]] static schema::BackupReply describe(const Current& current);

  const Clock& clock_;
  const std::filesystem::path database_;
  const std::filesystem::path copy_;
  LongErrand& copying_;
  std::optional<Current> current_;
  std::uint64_t last_number_ = 0;
};

}  // namespace dslad::daemon

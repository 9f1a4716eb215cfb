// A copy of the whole database, page by page, as of one moment, while others write. For ingress/backups.h,
// which hands it to a client.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>

#include "base/result.h"
#include "daemon/store/sqlite.h"
#include "schema/bytes.h"

namespace dslad::daemon {

// Room on the disk that a copy leaves for the queue.
inline constexpr std::uint64_t kRoomBesideACopy = std::uint64_t{64} << 20;

// kResourceExhausted where the disk has no room for a copy of this database; else about how large one will
// be.
Result<std::uint64_t> bytes_of_copy(const std::filesystem::path& database);

// Makes `file`, which holds nothing yet. Ends early with kUnavailable once `stop` is true. `copied` counts
// bytes as it goes on; it may be read from any thread. The copy need not survive a power cut, so it is not
// synced. REQUIRES: `db` is in a transaction.
Status copy_database(Database& db, const std::filesystem::path& file, const std::atomic<bool>& stop,
                     std::atomic<std::uint64_t>& copied);

struct FileDigest {
  std::uint64_t bytes = 0;
  std::string hex;  // XXH3, 128 bits
};
// Ends early as copy_database() does.
Result<FileDigest> digest_of(const std::filesystem::path& file, const std::atomic<bool>& stop);

// At most `most` bytes of the file; fewer only at its end. kNotFound where the file is gone.
Result<schema::Bytes> read_piece(const std::filesystem::path& file, std::uint64_t from, std::size_t most);

}  // namespace dslad::daemon

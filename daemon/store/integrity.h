// Whether the database is sound: what SQLite can tell of its file, and what must hold of the queue's rows.
#pragma once

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "daemon/store/sqlite.h"

namespace dslad::daemon {

inline constexpr std::size_t kMostFindings = 100;

struct Integrity {
  std::vector<std::string> findings;            // what is wrong, one each, at most kMostFindings
  bool more = false;                            // there are more
  std::map<std::string, std::string> settings;  // for who knows what they mean
};

void add_finding(Integrity& integrity, std::string finding);

// `quick` leaves out whether each index agrees with its table, and reads no texts. What cannot be read is a
// finding, not an error. Errors: kUnavailable once `stop` is true, or where the disk fails. REQUIRES: `db` is
// in a transaction.
Result<Integrity> check_integrity(Database& db, bool quick, const std::atomic<bool>& stop);

}  // namespace dslad::daemon

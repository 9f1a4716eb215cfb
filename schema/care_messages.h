// What operators ask of the database itself, and what the daemon answers: a copy of it to take away, and
// whether it is sound. Both take as long as the database is large, so each is begun, looked after by its
// number, and ended; the daemon does one of each kind at a time, and ends it when its client departs. Part of
// the protocol of the jobs socket (docs/protocol.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "schema/bytes.h"
#include "schema/limits.h"

namespace dslad::schema {

// -> BackupReply, once the copying has begun; resource_exhausted where the disk has no room for a copy, or
// another client has one.
struct BeginBackup {
  static constexpr const char* kKind = "backup_begin";
  static void fields(auto&, auto&) {}
};

// -> BackupReply, or why it could not be made; not_found where there is no such backup (any more).
struct ShowBackup {
  static constexpr const char* kKind = "backup_show";
  std::uint64_t backup = 0;
  static void fields(auto& self, auto& field) { field("backup", self.backup); }
};

// -> BackupPiece, of at most kPageBytes. REQUIRES: the backup is ready, `from` lies in it.
struct ReadBackup {
  static constexpr const char* kKind = "backup_read";
  std::uint64_t backup = 0;
  std::uint64_t from = 0;  // bytes

  static void fields(auto& self, auto& field) {
    field("backup", self.backup);
    field("from", self.from);
  }
};

// -> BackupReply. The daemon removes its copy.
struct EndBackup {
  static constexpr const char* kKind = "backup_end";
  std::uint64_t backup = 0;
  static void fields(auto& self, auto& field) { field("backup", self.backup); }
};

// -> IntegrityReply, once the check has begun; resource_exhausted where another client has one.
struct BeginIntegrity {
  static constexpr const char* kKind = "integrity_begin";
  bool quick = false;  // leave out what takes longest: whether indices agree with their tables, and texts
  static void fields(auto& self, auto& field) { field("quick", self.quick); }
};

// -> IntegrityReply; not_found where there is no such check (any more).
struct ShowIntegrity {
  static constexpr const char* kKind = "integrity_show";
  std::uint64_t check = 0;
  static void fields(auto& self, auto& field) { field("check", self.check); }
};

struct BackupReply {
  static constexpr const char* kKind = "backup_reply";
  std::uint64_t backup = 0;  // its number
  bool ready = false;        // it may be read
  std::uint64_t bytes = 0;   // of the whole; expected, until it is ready
  std::uint64_t copied = 0;  // of them
  std::string digest;        // XXH3 of 128 bits, 32 hexadecimal digits; empty until it is ready

  static void fields(auto& self, auto& field) {
    field("backup", self.backup);
    field("ready", self.ready);
    field("bytes", self.bytes);
    field("copied", self.copied);
    field("digest", self.digest);
  }
};

struct BackupPiece {
  static constexpr const char* kKind = "backup_piece";
  std::uint64_t from = 0;
  Bytes data;  // empty only at the end

  static void fields(auto& self, auto& field) {
    field("from", self.from);
    field("data", self.data);
  }
};

struct IntegrityReply {
  static constexpr const char* kKind = "integrity_reply";
  std::uint64_t check = 0;  // its number
  bool done = false;
  bool quick = false;
  std::vector<std::string> findings;  // what is wrong, one each; empty once it is done: all is well
  bool more = false;                  // there are more of them than are listed

  static void fields(auto& self, auto& field) {
    field("check", self.check);
    field("done", self.done);
    field("quick", self.quick);
    field("findings", self.findings);
    field("more", self.more);
  }
};

}  // namespace dslad::schema

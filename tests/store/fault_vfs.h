// A disk that fails when it is told to: wraps SQLite's way to the file system and becomes the default of the
// process. It keeps beside each database and log what would be left of it after a power cut.
//
// Reads, writes (and truncations) and syncs are counted; those of shared memory and locks are not. Nothing is
// really synced, so tests are quick. Safe from any thread, but arm and disarm while nobody works.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>

namespace dslad::daemon::test {

enum class Fault : std::uint8_t {
  kNone,
  kReadError,    // EIO
  kWriteError,   // EIO
  kFull,         // of writes: ENOSPC
  kShortWrite,   // half of it is written, then ENOSPC
  kSyncError,    // EIO; the kernel then forgets what it could not write
  kSlowSync,     // it works, but it takes a while
  kPowerCut,     // nothing works any more, and what was not synced is lost
  kPowerCutTorn  // the same, and some of what was not synced is there all the same
};

class FaultVfs {
 public:
  static FaultVfs& install();  // once a process; later calls give the same

  // The `nth` call that the fault concerns (from 1) fails, and where it is `lasting` all after it.
  void arm(Fault fault, std::uint64_t nth, bool lasting);
  void disarm();
  [[nodiscard]] bool struck() const { return struck_; }  // since arm()
  // Calls since arm() that the fault concerned.
  [[nodiscard]] std::uint64_t calls() const { return calls_; }

  // After a power cut: every file is as it was left, and the disk works. REQUIRES: no database is open.
  void restore_power(std::uint32_t seed);
  // Forgets all files. REQUIRES: as above.
  void forget_files();

  // For the wrappers: what is to become of a call. SQLITE_OK: it is done.
  int on_read();
  int on_sync(const std::string& path);
  // `bytes` is set to what is written before the error.
  int on_write(const std::string& path, std::int64_t offset, int& bytes);
  int on_truncate(const std::string& path);
  void on_open(const std::string& path);
  int on_delete(const std::string& path);

 private:
  struct File {
    std::string durable;                           // what a power cut leaves
    std::set<std::pair<std::int64_t, int>> dirty;  // written since the last sync: offset, bytes
  };
  [[nodiscard]] bool concerns(Fault one, Fault other) const { return fault_ == one || fault_ == other; }
  bool strikes();
  bool is_cut();
  static std::string contents(const std::string& path);
  static void keep(File& file, const std::string& now, const std::pair<std::int64_t, int>& range);

  std::mutex mutex_;
  Fault fault_ = Fault::kNone;
  std::uint64_t nth_ = 0, calls_ = 0;
  bool lasting_ = false, struck_ = false, cut_ = false;
  std::map<std::string, File> files_;
};

}  // namespace dslad::daemon::test

#include "tests/store/fault_vfs.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <new>
#include <sqlite3.h>
#include <stdexcept>
#include <thread>

namespace dslad::daemon::test {
namespace {

sqlite3_vfs* real_vfs = nullptr;
FaultVfs* faults = nullptr;

// The real file lies behind it in memory, as SQLite gives the room for both.
struct FaultFile {
  sqlite3_file base;
  const char* path;  // SQLite's, for as long as the file is open; null: not watched
};

constexpr std::size_t kRealAt = (sizeof(FaultFile) + 15) / 16 * 16;

sqlite3_file* real(sqlite3_file* file) {
  return reinterpret_cast<sqlite3_file*>(reinterpret_cast<char*>(file) + kRealAt);
}
const char* path_of(sqlite3_file* file) {
  return reinterpret_cast<FaultFile*>(file)->path;
}

int close_file(sqlite3_file* file) {
  return real(file)->pMethods->xClose(real(file));
}
int read_file(sqlite3_file* file, void* to, int bytes, sqlite3_int64 offset) {
  if (path_of(file) != nullptr) {
    if (const int code = faults->on_read(); code != SQLITE_OK) return code;
  }
  return real(file)->pMethods->xRead(real(file), to, bytes, offset);
}
int write_file(sqlite3_file* file, const void* from, int bytes, sqlite3_int64 offset) {
  int code = SQLITE_OK;
  if (path_of(file) != nullptr) code = faults->on_write(path_of(file), offset, bytes);
  if (bytes == 0) return code;
  const int done = real(file)->pMethods->xWrite(real(file), from, bytes, offset);
  return code != SQLITE_OK ? code : done;
}
int truncate_file(sqlite3_file* file, sqlite3_int64 size) {
  if (path_of(file) != nullptr) {
    if (const int code = faults->on_truncate(path_of(file)); code != SQLITE_OK) return code;
  }
  return real(file)->pMethods->xTruncate(real(file), size);
}
int sync_file(sqlite3_file* file, int flags) {
  if (path_of(file) == nullptr) return real(file)->pMethods->xSync(real(file), flags);
  return faults->on_sync(path_of(file));
}
int file_size(sqlite3_file* file, sqlite3_int64* size) {
  return real(file)->pMethods->xFileSize(real(file), size);
}
int lock_file(sqlite3_file* file, int level) {
  return real(file)->pMethods->xLock(real(file), level);
}
int unlock_file(sqlite3_file* file, int level) {
  return real(file)->pMethods->xUnlock(real(file), level);
}
int check_lock(sqlite3_file* file, int* held) {
  return real(file)->pMethods->xCheckReservedLock(real(file), held);
}
int control_file(sqlite3_file* file, int what, void* argument) {
  return real(file)->pMethods->xFileControl(real(file), what, argument);
}
int sector_size(sqlite3_file* file) {
  return real(file)->pMethods->xSectorSize(real(file));
}
int characteristics(sqlite3_file* file) {
  return real(file)->pMethods->xDeviceCharacteristics(real(file));
}
int shm_map(sqlite3_file* file, int page, int bytes, int extend, void volatile** at) {
  return real(file)->pMethods->xShmMap(real(file), page, bytes, extend, at);
}
int shm_lock(sqlite3_file* file, int offset, int count, int flags) {
  return real(file)->pMethods->xShmLock(real(file), offset, count, flags);
}
void shm_barrier(sqlite3_file* file) {
  real(file)->pMethods->xShmBarrier(real(file));
}
int shm_unmap(sqlite3_file* file, int remove) {
  return real(file)->pMethods->xShmUnmap(real(file), remove);
}

// Version 2: no memory-mapped reads, which would pass the disk by.
constexpr sqlite3_io_methods kMethods = {
    2,         close_file,  read_file,  write_file,   truncate_file, sync_file,       file_size,
    lock_file, unlock_file, check_lock, control_file, sector_size,   characteristics, shm_map,
    shm_lock,  shm_barrier, shm_unmap,  nullptr,      nullptr};

int open_file(sqlite3_vfs*, const char* path, sqlite3_file* file, int flags, int* out_flags) {
  const bool watched = (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) != 0;
  auto* wrapper = new (file) FaultFile{{nullptr}, watched ? path : nullptr};
  const int code = real_vfs->xOpen(real_vfs, path, real(file), flags, out_flags);
  if (real(file)->pMethods != nullptr) wrapper->base.pMethods = &kMethods;
  if (code == SQLITE_OK && watched) faults->on_open(path);
  return code;
}
int delete_file(sqlite3_vfs*, const char* path, int sync_folder) {
  if (const int code = faults->on_delete(path); code != SQLITE_OK) return code;
  return real_vfs->xDelete(real_vfs, path, sync_folder);
}

}  // namespace

FaultVfs& FaultVfs::install() {
  if (faults != nullptr) return *faults;
  static FaultVfs instance;
  faults = &instance;
  real_vfs = sqlite3_vfs_find(nullptr);
  static sqlite3_vfs wrapper = *real_vfs;
  wrapper.zName = "fault";
  wrapper.szOsFile = static_cast<int>(kRealAt) + real_vfs->szOsFile;
  wrapper.xOpen = open_file;
  wrapper.xDelete = delete_file;
  if (sqlite3_vfs_register(&wrapper, 1) != SQLITE_OK) throw std::runtime_error("SQLite takes no other disk");
  return instance;
}

void FaultVfs::arm(Fault fault, std::uint64_t nth, bool lasting) {
  const std::lock_guard lock(mutex_);
  fault_ = fault;
  nth_ = nth;
  lasting_ = lasting;
  calls_ = 0;
  struck_ = false;
}

void FaultVfs::disarm() {
  arm(Fault::kNone, 0, false);
}

bool FaultVfs::strikes() {
  ++calls_;
  const bool now = calls_ == nth_ || (lasting_ && calls_ > nth_);
  struck_ = struck_ || now;
  return now;
}

// A power cut comes at a write or a sync, and then nothing works until restore_power().
bool FaultVfs::is_cut() {
  if (!cut_ && concerns(Fault::kPowerCut, Fault::kPowerCutTorn)) cut_ = strikes();
  return cut_;
}

int FaultVfs::on_read() {
  const std::lock_guard lock(mutex_);
  if (cut_) return SQLITE_IOERR_READ;
  return fault_ == Fault::kReadError && strikes() ? SQLITE_IOERR_READ : SQLITE_OK;
}

int FaultVfs::on_write(const std::string& path, std::int64_t offset, int& bytes) {
  const std::lock_guard lock(mutex_);
  if (is_cut()) return bytes = 0, SQLITE_IOERR_WRITE;
  const bool fails =
      (concerns(Fault::kWriteError, Fault::kFull) || fault_ == Fault::kShortWrite) && strikes();
  if (fails) bytes = fault_ == Fault::kShortWrite ? bytes / 2 : 0;
  if (bytes > 0) files_[path].dirty.emplace(offset, bytes);
  if (!fails) return SQLITE_OK;
  return fault_ == Fault::kWriteError ? SQLITE_IOERR_WRITE : SQLITE_FULL;
}

int FaultVfs::on_truncate(const std::string&) {
  const std::lock_guard lock(mutex_);
  if (is_cut()) return SQLITE_IOERR_TRUNCATE;
  return fault_ == Fault::kWriteError && strikes() ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

int FaultVfs::on_sync(const std::string& path) {
  const std::lock_guard lock(mutex_);
  File& file = files_[path];
  if (is_cut()) return SQLITE_IOERR_FSYNC;
  if (fault_ == Fault::kSyncError && strikes()) {
    file.dirty.clear();
    return SQLITE_IOERR_FSYNC;
  }
  if (fault_ == Fault::kSlowSync && strikes()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const std::string now = contents(path);
  file.durable.resize(now.size());
  for (const auto& range : file.dirty) keep(file, now, range);
  file.dirty.clear();
  return SQLITE_OK;
}

void FaultVfs::keep(File& file, const std::string& now, const std::pair<std::int64_t, int>& range) {
  const auto at = static_cast<std::size_t>(range.first);
  if (at >= now.size()) return;  // cut off since
  const std::size_t bytes = std::min(static_cast<std::size_t>(range.second), now.size() - at);
  if (file.durable.size() < at + bytes) file.durable.resize(at + bytes);
  std::memcpy(file.durable.data() + at, now.data() + at, bytes);
}

void FaultVfs::on_open(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const auto [file, first] = files_.try_emplace(path);
  if (first) file->second.durable = contents(path);
}

int FaultVfs::on_delete(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (cut_) return SQLITE_IOERR_DELETE;
  files_.erase(path);
  return SQLITE_OK;
}

void FaultVfs::restore_power(std::uint32_t seed) {
  const std::lock_guard lock(mutex_);
  std::mt19937 random(seed);
  for (auto& [path, file] : files_) {
    const std::string now = contents(path);
    for (const auto& range : file.dirty) {
      if (fault_ == Fault::kPowerCutTorn && random() % 2 == 0) keep(file, now, range);
    }
    std::ofstream(path, std::ios::binary | std::ios::trunc) << file.durable;
    std::filesystem::remove(path + "-shm");
  }
  files_.clear();
  cut_ = false;
  fault_ = Fault::kNone;
}

void FaultVfs::forget_files() {
  const std::lock_guard lock(mutex_);
  files_.clear();
}

std::string FaultVfs::contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return {};
  std::string bytes(static_cast<std::size_t>(in.tellg()), '\0');
  in.seekg(0).read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

}  // namespace dslad::daemon::test

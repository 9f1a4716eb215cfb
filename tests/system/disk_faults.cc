// Preloaded into dslad by tests: a disk that does what is asked for in the folder named by DSLAD_DISK_FAULTS.
// While there is
//
//   hold       in it, whatever is to be brought to disk waits, and `held` is made when something does;
//   read-only  in it, no file can be written, as where the kernel has made the file system read-only.
//
// DSLAD_DISK_SYNC_MS is how long each sync takes besides.
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace {

std::string in_folder(const char* name) {
  const char* const folder = std::getenv("DSLAD_DISK_FAULTS");
  return folder == nullptr ? "" : std::string(folder) + "/" + name;
}

bool is_asked_for(const char* name) {
  return ::access(in_folder(name).c_str(), F_OK) == 0;
}

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

void take_time() {
  constexpr ::useconds_t kMillisecond = 1000;
  if (const char* const ms = std::getenv("DSLAD_DISK_SYNC_MS"))
    ::usleep(static_cast<::useconds_t>(std::atoi(ms)) * kMillisecond);
  if (!is_asked_for("hold")) return;
  ::close(::creat(in_folder("held").c_str(), 0600));
  while (is_asked_for("hold")) ::usleep(kMillisecond);
}

// Of files alone, and not of what is logged.
bool is_refused(int descriptor) {
  struct ::stat status {};
  const bool file =
      descriptor > STDERR_FILENO && ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  if (!file || !is_asked_for("read-only")) return false;
  errno = EROFS;
  return true;
}

}  // namespace

extern "C" {

int fsync(int descriptor) {
  take_time();
  if (is_refused(descriptor)) return -1;
  return next<int(int)>("fsync")(descriptor);
}

int fdatasync(int descriptor) {
  take_time();
  if (is_refused(descriptor)) return -1;
  return next<int(int)>("fdatasync")(descriptor);
}

ssize_t write(int descriptor, const void* bytes, size_t size) {
  if (is_refused(descriptor)) return -1;
  return next<ssize_t(int, const void*, size_t)>("write")(descriptor, bytes, size);
}

ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off64_t offset) {
  if (is_refused(descriptor)) return -1;
  return next<ssize_t(int, const void*, size_t, off64_t)>("pwrite64")(descriptor, bytes, size, offset);
}

int ftruncate64(int descriptor, off64_t size) noexcept {
  if (is_refused(descriptor)) return -1;
  return next<int(int, off64_t)>("ftruncate64")(descriptor, size);
}

}  // extern "C"

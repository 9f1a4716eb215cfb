#include "ctl/batch_output.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "ctl/files.h"
#include "ctl/lines.h"

namespace dslad::ctl {
namespace {

constexpr std::size_t kMostPending = std::size_t{1} << 20;    // bytes that wait to be written
constexpr std::size_t kLongestLine = std::size_t{512} << 20;  // every byte of a result as six of JSON

// What a power failure leaves of a block that was never written.
bool has_holes(std::string_view line) {
  return line.find('\0') != std::string_view::npos;
}

// Of a file's first line, which may be anything.
bool is_beginning(std::string_view text, const LineForm& form) {
  const std::string_view written = text.substr(0, text.find('\0'));
  return !written.empty() && form.begins(written);
}

}  // namespace

BatchOutput::BatchOutput(BatchOutput&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      path_(std::move(other.path_)),
      pending_(std::move(other.pending_)),
      keys_(std::move(other.keys_)) {}

BatchOutput::~BatchOutput() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Error BatchOutput::failed(std::string_view what, int error) const {
  return invalid_argument(
      fmt::format("cannot {} {}: {}", what, file_name(path_), std::generic_category().message(error)));
}

Result<BatchOutput> BatchOutput::open(const std::string& path, const LineForm& form) {
  BatchOutput output(path);
  if (Status status = output.lock(); !status) return status.error();
  if (Status status = output.load(form); !status) return status.error();
  if (Status status = sync_folder_of(path); !status) return status.error();
  return output;
}

// Another writer may put a new file in the place of the one that was just opened: then once more.
Status BatchOutput::lock() {
  do {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
    if (descriptor_ < 0) return failed("write", errno);
    struct stat about {};
    if (::fstat(descriptor_, &about) != 0) return failed("write", errno);
    if (!S_ISREG(about.st_mode))
      return invalid_argument(
          fmt::format("{} is no regular file; without --output results go to standard "
                      "output",
                      file_name(path_)));
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return failed("lock", errno);
      return invalid_argument(fmt::format(
          "{} is being written by another dslactl; let it finish, or name another file", file_name(path_)));
    }
  } while (!is_named(descriptor_, path_));
  return ok_status();
}

Status BatchOutput::load(const LineForm& form) {
  LineReader lines(descriptor_, kLongestLine);
  Line line;
  while (true) {
    const Result<bool> some = lines.next(line);
    if (!some) return some.error().with_context(file_name(path_));
    if (!*some) return ok_status();
    const bool torn = !line.ended || has_holes(line.text);
    if (torn && (line.number > 1 || is_beginning(line.text, form))) return cut(line.begin);
    Result<std::string> key = torn
                                  ? Result<std::string>(invalid_argument("it is no line of a batch's output"))
                                  : form.key_of(line.text);
    if (!key) {
      return invalid_argument(fmt::format("{}, line {}: {}; name another file for the results",
                                          file_name(path_), line.number, key.error().message));
    }
    keys_.insert(hash_of(*key));
  }
}

Status BatchOutput::cut(std::uint64_t bytes) {
  if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0 || ::fsync(descriptor_) != 0)
    return failed("cut the torn end of", errno);
  return ok_status();
}

Status BatchOutput::append(std::string_view key, std::string_view line) {
  if (!keys_.insert(hash_of(key)).second) return ok_status();
  pending_ += line;
  return pending_.size() < kMostPending ? ok_status() : write(std::exchange(pending_, {}));
}

Status BatchOutput::write(std::string_view bytes) {
  const Status written = write_all(descriptor_, bytes);
  if (written) return written;
  return invalid_argument(fmt::format("cannot write {}: {}; the same command goes on where this one stopped",
                                      file_name(path_), written.error().message));
}

Status BatchOutput::sync() {
  if (Status status = write(std::exchange(pending_, {})); !status) return status;
  return ::fdatasync(descriptor_) == 0 ? ok_status() : Status(failed("bring to disk", errno));
}

Status BatchOutput::retain(const std::function<bool(std::string_view)>& keep, const LineForm& form) {
  if (Status status = sync(); !status) return status;
  BatchOutput next(path_ + ".new");
  if (Status status = next.lock(); !status) return status;
  if (Status status = next.cut(0); !status) return status;
  LineReader lines(descriptor_, kLongestLine);
  Line line;
  while (true) {
    const Result<bool> some = lines.next(line);
    if (!some) return some.error().with_context(file_name(path_));
    if (!*some) break;
    if (!keep(line.text)) continue;
    const Result<std::string> key = form.key_of(line.text);
    if (!key) return key.error().with_context(file_name(path_));
    if (Status status = next.append(*key, line.text + "\n"); !status) return status;
  }
  if (Status status = next.sync(); !status) return status;
  if (std::rename(next.path_.c_str(), path_.c_str()) != 0) return failed("replace", errno);
  std::swap(descriptor_, next.descriptor_);
  std::swap(keys_, next.keys_);
  return sync_folder_of(path_);
}

}  // namespace dslad::ctl

#include "worker/idle/recent_documents.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "base/process/descriptor.h"
#include "base/utf8.h"
#include "schema/limits.h"
#include "worker/files/atomic_file.h"
#include "worker/files/read_file.h"

namespace dslad::worker {
namespace {

constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::size_t kNumberDigits = 16, kHashDigits = 32;
constexpr const char* kUnfinished = "new";

struct Listed {
  std::uint64_t number = 0, bytes = 0;
  Hash hash;
  std::filesystem::path path;
};

std::uint64_t counted(std::uint64_t bytes) {
  return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

template <typename Number>
bool parse_all(std::string_view digits, int base, Number& number) {
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  return error == std::errc() && end == digits.data() + digits.size();
}

// What a name says; nothing where it is no text's.
std::optional<Listed> parse_name(std::string_view name) {
  constexpr std::string_view kEnding = ".txt";
  if (name.size() != kNumberDigits + 1 + kHashDigits + kEnding.size() || name[kNumberDigits] != '-' ||
      !name.ends_with(kEnding)) {
    return std::nullopt;
  }
  const std::string_view hash = name.substr(kNumberDigits + 1, kHashDigits);
  Listed listed;
  const bool sound = parse_all(name.substr(0, kNumberDigits), 10, listed.number) &&
                     parse_all(hash.substr(0, kHashDigits / 2), 16, listed.hash.high) &&
                     parse_all(hash.substr(kHashDigits / 2), 16, listed.hash.low);
  return sound ? std::optional(listed) : std::nullopt;
}

// The texts of a folder, the oldest first.
Result<std::vector<Listed>> list(const std::filesystem::path& folder) {
  std::vector<Listed> all;
  std::error_code failed;
  for (std::filesystem::directory_iterator entry(folder, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    auto listed = parse_name(entry->path().filename().string());
    std::error_code gone;
    if (!listed || !entry->is_regular_file(gone)) continue;
    listed->bytes = entry->file_size(gone);
    listed->path = entry->path();
    if (!gone) all.push_back(*std::move(listed));
  }
  if (failed) {
    return Error{ErrorCode::kUnavailable,
                 fmt::format("{}: cannot be read: {}", folder.string(), failed.message())};
  }
  std::ranges::sort(all, {}, &Listed::number);
  return all;
}

}  // namespace

Result<RecentDocuments> RecentDocuments::open(std::filesystem::path folder, std::uint64_t budget) {
  std::error_code failed;  // shows in taking it
  std::filesystem::create_directories(folder.parent_path(), failed);
  mkdir(folder.c_str(), 0700);
  auto lock = FolderLock::take(folder);
  if (!lock) return lock.error();
  RecentDocuments documents(std::move(folder), budget, *std::move(lock));
  if (chmod(documents.folder_.c_str(), 0700) != 0) return documents.failed("keep others out");
  const Status read = documents.read_folder();
  if (!read) return read.error();
  return documents;
}

Status RecentDocuments::read_folder() {
  std::error_code none;
  std::filesystem::remove(folder_ / kUnfinished, none);
  const auto all = list(folder_);
  if (!all) return all.error();
  for (const Listed& text : *all) {
    // Twice of one number or text: another program copied files here.
    if (kept_.contains(text.number) || numbers_.contains(text.hash)) {
      std::filesystem::remove(text.path, none);
      continue;
    }
    remember(text.number, {text.hash, counted(text.bytes)});
  }
  return make_room(0);
}

Status RecentDocuments::add(std::string_view text) {
  text = utf8_prefix(text, longest(budget_));
  if (text.empty()) return ok_status();
  const Hash hash = hash_of(text);
  const std::uint64_t next = kept_.empty() ? 1 : kept_.rbegin()->first + 1;
  if (const auto known = numbers_.find(hash); known != numbers_.end()) {
    const auto kept = kept_.find(known->second);
    if (kept->first + 1 == next && std::filesystem::exists(path_of(kept->first, hash))) return ok_status();
    const Kept same = kept->second;
    const bool moved = rename(path_of(kept->first, hash).c_str(), path_of(next, hash).c_str()) == 0;
    if (!moved && errno != ENOENT) return failed("rename a file");
    forget(kept);
    if (moved) {
      remember(next, same);
      return ok_status();
    }
  }
  Status status = write(text);
  if (status) status = make_room(counted(text.size()));
  if (status && rename((folder_ / kUnfinished).c_str(), path_of(next, hash).c_str()) != 0) {
    status = failed("rename a file");
  }
  if (status) {
    remember(next, {hash, counted(text.size())});
  } else {
    unlink((folder_ / kUnfinished).c_str());
  }
  return status;
}

Status RecentDocuments::write(std::string_view text) const {
  const process::Descriptor file(
      ::open((folder_ / kUnfinished).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (file.get() < 0) return failed("make a file");
  while (!text.empty()) {
    const ssize_t written = ::write(file.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed("write");
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return ok_status();
}

Status RecentDocuments::make_room(std::uint64_t bytes) {
  while (!kept_.empty() && bytes_ + bytes > budget_) {
    const auto oldest = kept_.begin();
    if (unlink(path_of(oldest->first, oldest->second.hash).c_str()) != 0 && errno != ENOENT) {
      return failed("remove a file");
    }
    forget(oldest);
  }
  return ok_status();
}

void RecentDocuments::forget(std::map<std::uint64_t, Kept>::iterator kept) {
  bytes_ -= kept->second.bytes;
  numbers_.erase(kept->second.hash);
  kept_.erase(kept);
}

void RecentDocuments::remember(std::uint64_t number, const Kept& kept) {
  bytes_ += kept.bytes;
  numbers_.emplace(kept.hash, number);
  kept_.emplace(number, kept);
}

std::filesystem::path RecentDocuments::path_of(std::uint64_t number, const Hash& hash) const {
  return folder_ / fmt::format("{:016}-{}.txt", number, hash.hex());
}

Error RecentDocuments::failed(std::string_view what) const {
  ErrorCode code = ErrorCode::kUnavailable;
  if (errno == ENOENT) code = ErrorCode::kNotFound;
  if (errno == ENOSPC || errno == EDQUOT) code = ErrorCode::kResourceExhausted;
  return {code, fmt::format("{}: cannot {}: {}", folder_.string(), what, std::strerror(errno))};
}

std::uint64_t recent_bytes(const std::filesystem::path& folder) {
  const auto all = list(folder);
  std::uint64_t bytes = 0;
  if (!all) return bytes;
  for (const Listed& text : *all) bytes += text.bytes;
  return bytes;
}

Result<std::uint64_t> freeze_recent(const std::filesystem::path& folder, const std::filesystem::path& file) {
  const auto all = list(folder);
  std::uint64_t bytes = 0;
  if (!all || all->empty()) return bytes;
  auto frozen = AtomicFile::create(file, 0600);
  if (!frozen) return frozen.error();
  for (const Listed& listed : *all) {
    const auto text = read_file(listed.path, schema::kMaxDocumentBytes);
    if (!text) continue;
    if (hash_of(*text) != listed.hash || !valid_utf8(*text)) {
      std::error_code failed;
      std::filesystem::remove(listed.path, failed);
      continue;
    }
    const nlohmann::ordered_json line = {
        {"id", listed.path.stem().string()}, {"task", "text"}, {"document", *text}};
    const std::string written = line.dump() + "\n";
    const Status appended = frozen->append(std::as_bytes(std::span(written)));
    if (!appended) return appended.error();
    bytes += text->size();
  }
  if (bytes == 0) return bytes;  // and the file is gone
  const Status committed = frozen->commit();
  return committed ? Result<std::uint64_t>(bytes) : committed.error();
}

}  // namespace dslad::worker

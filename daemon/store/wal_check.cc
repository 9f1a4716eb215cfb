#include "daemon/store/wal_check.h"

#include <array>
#include <cstdint>
#include <fmt/format.h>
#include <fstream>
#include <string>
#include <string_view>

namespace dslad::daemon {
namespace {

constexpr std::size_t kHeaderBytes = 32, kFrameHeaderBytes = 24;
constexpr std::uint32_t kMagic = 0x377F0682,
                        kFormat = 3'007'000;  // the magic's last bit: checksums' byte order

std::uint32_t word_at(std::string_view bytes, std::size_t at, bool big_endian) {
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < 4; ++i)
    word |= std::uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8 * (big_endian ? 3 - i : i));
  return word;
}

std::uint32_t field(std::string_view bytes, std::size_t number) {
  return word_at(bytes, 4 * number, true);
}

// SQLite's: two sums over pairs of words, each frame's begins with its predecessor's.
struct Checksum {
  std::uint32_t first = 0, second = 0;

  void add(std::string_view bytes, bool big_endian) {
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      first += word_at(bytes, at, big_endian) + second;
      second += word_at(bytes, at + 4, big_endian) + first;
    }
  }
  [[nodiscard]] bool is_at(std::string_view bytes, std::size_t number) const {
    return field(bytes, number) == first && field(bytes, number + 1) == second;
  }
};

Error damaged(const std::filesystem::path& log, std::string_view what, std::uint64_t at) {
  return {
      ErrorCode::kCorrupt,
      fmt::format(
          "{0} is damaged {1}, and jobs that were acknowledged would be lost. Keep a copy of it and of the "
          "database, look at the disk, and restore a backup; or go on without what lies behind the damage: "
          "truncate -s {2} {0}",
          log.string(), what, at)};
}

class Log {
 public:
  Log(const std::filesystem::path& file, std::uint64_t bytes)
      : file_(file), bytes_(bytes), in_(file, std::ios::binary) {}

  Result<LogEnd> check() {
    std::string header(kHeaderBytes, '\0');
    if (!in_.read(header.data(), kHeaderBytes)) return unreadable();
    if (!take_header(header)) {
      // It is on disk before the first frame is.
      constexpr std::uint64_t kOneFrame = kHeaderBytes + kFrameHeaderBytes + 512;
      if (bytes_ < kOneFrame) return LogEnd::kWhole;
      return damaged(file_, "at its beginning", 0);
    }
    return check_frames();
  }

 private:
  bool take_header(std::string_view header) {
    if ((field(header, 0) & ~1U) != kMagic || field(header, 1) != kFormat) return false;
    big_endian_ = (field(header, 0) & 1U) != 0;
    page_bytes_ = field(header, 2);
    salt_ = header.substr(16, 8);
    sum_.add(header.substr(0, 24), big_endian_);
    return page_bytes_ >= 512 && page_bytes_ <= 65'536 && sum_.is_at(header, 6);
  }

  Result<LogEnd> check_frames() {
    std::string frame(kFrameHeaderBytes + page_bytes_, '\0');
    std::uint64_t at = kHeaderBytes, commit_end = kHeaderBytes;  // commits end with the frame that says so
    std::uint64_t lost = 0;
    bool sound = true;
    for (; at + frame.size() <= bytes_; at += frame.size()) {
      if (!in_.read(frame.data(), static_cast<std::streamsize>(frame.size()))) return unreadable();
      const bool ours = std::string_view(frame).substr(8, 8) == salt_;  // else of an earlier log in this file
      const bool commit = field(frame, 1) != 0;
      sound = sound && ours && matches(frame);
      if (sound && commit) commit_end = at + frame.size();
      if (!sound && ours && commit) ++lost;
    }
    if (lost < 2) return lost == 0 ? LogEnd::kWhole : LogEnd::kUnfinished;
    return damaged(file_, fmt::format("behind byte {}, with {} commits in what follows", commit_end, lost),
                   commit_end);
  }

  bool matches(std::string_view frame) {
    sum_.add(frame.substr(0, 8), big_endian_);
    sum_.add(frame.substr(kFrameHeaderBytes), big_endian_);
    return sum_.is_at(frame, 4);
  }

  [[nodiscard]] Error unreadable() const {
    return {ErrorCode::kUnavailable,
            fmt::format("cannot read {}: look at the disk and its permissions", file_.string())};
  }

  std::filesystem::path file_;
  std::uint64_t bytes_;
  std::ifstream in_;
  bool big_endian_ = false;
  std::uint32_t page_bytes_ = 0;
  std::string salt_;
  Checksum sum_;
};

}  // namespace

Result<LogEnd> check_log(const std::filesystem::path& database) {
  const std::filesystem::path file = database.string() + "-wal";
  std::error_code code;
  const std::uintmax_t bytes = std::filesystem::file_size(file, code);
  if (code || bytes < kHeaderBytes) return LogEnd::kWhole;  // where it cannot be looked at, SQLite says why
  return Log(file, bytes).check();
}

}  // namespace dslad::daemon

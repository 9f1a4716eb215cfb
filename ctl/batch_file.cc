#include "ctl/batch_file.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "base/utf8.h"
#include "ctl/format.h"

namespace dslad::ctl {
namespace {

Error unreadable(const std::string& name, int error) {
  return invalid_argument(fmt::format("cannot read {}: {}", name, std::generic_category().message(error)));
}

std::int64_t modified_ns(const struct stat& about) {
  return std::int64_t{about.st_mtim.tv_sec} * 1'000'000'000 + about.st_mtim.tv_nsec;
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

Result<BatchFile> BatchFile::open(const std::string& path) {
  if (path == "-") {
    return invalid_argument(
        "a batch is read twice, which standard input (-) cannot be: save it as a file and name that");
  }
  std::string name = fmt::format("'{}'", one_line(path));
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return unreadable(name, errno);
  BatchFile file(descriptor, std::move(name));
  struct stat about {};
  if (::fstat(descriptor, &about) != 0) return unreadable(file.name_, errno);
  if (!S_ISREG(about.st_mode)) {
    return invalid_argument(fmt::format(
        "{} is no regular file, and a batch is read twice: save it as a file and name that", file.name_));
  }
  file.bytes_ = static_cast<std::uint64_t>(about.st_size);
  file.modified_ns_ = modified_ns(about);
  return file;
}

BatchFile::BatchFile(BatchFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      name_(std::move(other.name_)),
      bytes_(other.bytes_),
      modified_ns_(other.modified_ns_),
      first_lines_(std::move(other.first_lines_)) {}

BatchFile::~BatchFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool BatchFile::changed() const {
  struct stat about {};
  return ::fstat(descriptor_, &about) != 0 || static_cast<std::uint64_t>(about.st_size) != bytes_ ||
         modified_ns(about) != modified_ns_;
}

Result<bool> BatchRows::next(NumberedRow& row) {
  while (true) {
    const Result<bool> some = lines_.next(line_);
    if (!some) return some.error().with_context(file_.name());
    if (!*some) return false;
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (line_.number == 1 && line_.text.starts_with(kByteOrderMark))
      line_.text.erase(0, kByteOrderMark.size());
    if (!is_blank(line_.text)) break;
  }
  row.line = line_.number;
  row.end = line_.begin + line_.bytes;
  row.sound = check(line_, row);
  return true;
}

Status BatchRows::check(const Line& line, NumberedRow& row) {
  row.row = {};
  if (line.too_long) {
    return invalid_argument(fmt::format("it has {} bytes; a row has at most {}", line.bytes, kLongestRow));
  }
  Status status = read_batch_row(line.text, defaults_, row.row);
  if (Status unique = check_unique(row); !unique) return unique;
  return status;
}

// A bad row takes its custom_id too, so that no custom_id is answered twice.
Status BatchRows::check_unique(NumberedRow& row) {
  if (row.row.custom_id.empty()) return ok_status();
  const auto [first, fresh] = file_.first_lines_.try_emplace(hash_of(row.row.custom_id), row.line);
  if (first->second == row.line) return ok_status();
  const std::string_view shown_id = utf8_prefix(row.row.custom_id, schema::kMaxShownBytes);
  return invalid_argument(
      fmt::format("custom_id '{}' is that of line {} already", one_line(shown_id), first->second));
}

}  // namespace dslad::ctl

#include "worker/eval/results_log.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <unistd.h>

#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"
#include "worker/files/read_file.h"

namespace dslad::worker {
namespace {

constexpr std::size_t kMaxLogBytes = std::size_t{4} << 30;
constexpr const char* kFormat = "dslad_eval";
constexpr const char* kFormatVersion = "1";

std::string header_of(const ResultsLog::Facts& facts) {
  nlohmann::ordered_json header = {{kFormat, kFormatVersion}};
  for (const auto& [name, value] : facts) header[name] = value;
  return header.dump();
}

Status check_header(std::string_view line, const ResultsLog::Facts& facts, const std::string& path) {
  const auto header = parse_json(line, path + ": line 1");
  if (!header) return header.error();
  JsonFields fields(*header, path + ": line 1");
  const auto check = [&](const std::string& name, const std::string& value) -> Status {
    const std::string found = fields.text(name.c_str(), "");
    if (!fields.status()) return fields.status();
    if (found == value) return ok_status();
    return Error{ErrorCode::kRefused,
                 fmt::format("{}: was made with {} {}, but this is {}; name another file", path, name,
                             found.empty() ? "none" : found, value)};
  };
  Status same = check(kFormat, kFormatVersion);
  for (std::size_t i = 0; same && i < facts.size(); ++i) same = check(facts[i].first, facts[i].second);
  return same;
}

}  // namespace

ResultsLog::ResultsLog(ResultsLog&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      records_(std::move(other.records_)) {}

ResultsLog& ResultsLog::operator=(ResultsLog&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(records_, other.records_);
  return *this;
}

ResultsLog::~ResultsLog() {
  if (descriptor_ >= 0) close(descriptor_);
}

Error ResultsLog::failed(const char* what) const {
  const ErrorCode code = errno == ENOSPC || errno == EDQUOT ? ErrorCode::kResourceExhausted
                         : errno == EEXIST                  ? ErrorCode::kRefused
                                                            : ErrorCode::kUnavailable;
  return {code, fmt::format("{}: cannot {}: {}", path_.string(), what, std::strerror(errno))};
}

Result<ResultsLog> ResultsLog::open(const std::filesystem::path& path, const Facts& facts, bool resume) {
  ResultsLog log;
  log.path_ = path;
  const int exclusive = resume ? 0 : O_EXCL;
  log.descriptor_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | exclusive, 0666);
  if (log.descriptor_ < 0 && errno == EEXIST) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{}: the file exists; --resume goes on with it", path.string())};
  }
  if (log.descriptor_ < 0) return log.failed("open it");
  const Status ready = log.take_up(facts);
  if (!ready) return ready.error();
  return log;
}

Status ResultsLog::take_up(const Facts& facts) {
  const auto content = read_file(path_, kMaxLogBytes);
  if (!content) return content.error();
  const std::size_t whole = content->rfind('\n') + 1;  // 0 where there is none
  const std::string header = header_of(facts);
  if (whole == 0 && !header.starts_with(*content)) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{}: is no results file of this program; name another file", path_.string())};
  }
  if (whole > 0) {  // before anything is cut off: it may be a file of something else
    Status same =
        check_header(std::string_view(*content).substr(0, content->find('\n')), facts, path_.string());
    if (!same) return same;
  }
  if (whole < content->size() && ftruncate(descriptor_, static_cast<off_t>(whole)) != 0) {
    return failed("drop its last line, which is cut off");
  }
  if (whole == 0) return write_line(header);
  int number = 1;
  for (std::size_t at = content->find('\n') + 1; at < whole;) {
    const std::size_t end = content->find('\n', at);
    const std::string_view line = std::string_view(*content).substr(at, end - at);
    at = end + 1;
    ++number;
    auto record = parse_record(line, fmt::format("{}: line {}", path_.string(), number));
    if (!record) return record.error();
    ScoreKey key = record->key;
    records_.insert_or_assign(std::move(key), *std::move(record));
  }
  return ok_status();
}

const ScoreRecord* ResultsLog::find(const ItemKey& item, int plan) const {
  const auto found = records_.find({item, plan});
  return found == records_.end() ? nullptr : &found->second;
}

std::vector<int> ResultsLog::plans_without(const ItemKey& item, std::span<const int> plans) const {
  std::vector<int> missing;
  std::ranges::copy_if(plans, std::back_inserter(missing),
                       [&](int plan) { return find(item, plan) == nullptr; });
  return missing;
}

Status ResultsLog::append(ScoreRecord record) {
  if (descriptor_ >= 0) {
    Status written = write_line(to_line(record));
    if (!written) return written;
  }
  ScoreKey key = record.key;
  records_.insert_or_assign(std::move(key), std::move(record));
  return ok_status();
}

Status ResultsLog::write_line(std::string line) {
  line += '\n';
  for (std::string_view rest = line; !rest.empty();) {
    const ssize_t written = write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed("write to it");
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  return ok_status();
}

}  // namespace dslad::worker

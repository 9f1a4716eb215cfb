#include "ctl/lines.h"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <string_view>
#include <system_error>
#include <unistd.h>

namespace dslad::ctl {
namespace {

constexpr std::size_t kReadBytes = std::size_t{256} << 10;

}  // namespace

Status LineReader::refill() {
  block_.resize(kReadBytes);
  at_ = 0;
  ssize_t got = 0;
  do {
    got = ::pread(descriptor_, block_.data(), block_.size(), static_cast<off_t>(offset_));
  } while (got < 0 && errno == EINTR);
  const int error = errno;
  block_.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  offset_ += block_.size();
  hash_.add(block_);
  if (got >= 0) return ok_status();
  return invalid_argument(
      fmt::format("it cannot be read any further: {}", std::generic_category().message(error)));
}

Result<bool> LineReader::next(Line& line) {
  line.text.clear();
  line.number = ++number_;
  line.begin = offset_ - (block_.size() - at_);
  line.bytes = 0;
  line.too_long = line.ended = false;
  while (!line.ended) {
    if (at_ == block_.size()) {
      if (Status status = refill(); !status) return status.error();
      if (block_.empty()) return line.bytes > 0;
    }
    const std::string_view rest = std::string_view(block_).substr(at_);
    const std::size_t end = rest.find('\n');
    line.ended = end != std::string_view::npos;
    const std::string_view part = rest.substr(0, end);
    line.text.append(part.substr(0, longest_ - std::min(longest_, line.text.size())));
    line.bytes += part.size() + (line.ended ? 1 : 0);
    at_ += part.size() + (line.ended ? 1 : 0);
    line.too_long = line.bytes - (line.ended ? 1 : 0) > longest_;
  }
  return true;
}

}  // namespace dslad::ctl

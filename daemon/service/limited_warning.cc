#include "daemon/service/limited_warning.h"

#include <fmt/format.h>

#include "base/process/log.h"

namespace dslad::daemon {
namespace {

constexpr std::int64_t kQuietMs = 5'000;

}  // namespace

void LimitedWarning::warning(std::string_view message, std::int64_t steady_ms) {
  ++count_;
  if (steady_ms < next_ms_) {
    ++left_out_;
    return;
  }
  next_ms_ = steady_ms + kQuietMs;
  if (left_out_ == 0) {
    process::log_warning(known_, message);
  } else {
    process::log_warning(known_, fmt::format("{} (and {} more like it)", message, left_out_));
  }
  left_out_ = 0;
}

}  // namespace dslad::daemon

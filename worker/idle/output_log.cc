#include "worker/idle/output_log.h"

#include <spdlog/spdlog.h>
#include <utility>

namespace dslad::worker {
namespace {

constexpr int kFirstLines = 20;
constexpr std::chrono::minutes kInterval{1};
constexpr std::size_t kMaxLineBytes = 500;

}  // namespace

void OutputLog::add(std::string_view text) {
  for (const char c : text) {
    if (c == '\n' || c == '\r') {
      line();
    } else if (line_.size() < kMaxLineBytes) {
      line_ += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
  }
}

void OutputLog::line() {
  if (line_.empty()) return;
  last_ = std::exchange(line_, {});
  const auto now = std::chrono::steady_clock::now();
  if (lines_ >= kFirstLines && now < next_) return;
  ++lines_;
  next_ = now + kInterval;
  spdlog::info("{}{}", prefix_, last_);
}

}  // namespace dslad::worker

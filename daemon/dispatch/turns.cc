#include "daemon/dispatch/turns.h"

#include <algorithm>
#include <cmath>

namespace dslad::daemon {
namespace {

constexpr std::size_t kMaxClients = 10'000;                     // that are remembered
constexpr double kMostAheadMs = 10.0 * 365 * 24 * 3600 * 1000;  // so that turns stay within an integer

double work_of(double work_ms) {
  return std::isfinite(work_ms) ? std::max(work_ms, 0.0) : 0.0;
}

}  // namespace

void Turns::restore(const std::map<std::string, std::int64_t>& latest_ms) {
  for (const auto& [client, turn_ms] : latest_ms) next_ms_[client] = static_cast<double>(turn_ms);
}

std::int64_t Turns::next(const std::string& client, double work_ms, std::int64_t now_ms) {
  const double earliest = std::max(static_cast<double>(now_ms), served_ms_);
  if (next_ms_.size() >= kMaxClients && !next_ms_.contains(client)) {
    std::erase_if(next_ms_, [earliest](const auto& entry) { return entry.second <= earliest; });
    if (next_ms_.size() >= kMaxClients) return static_cast<std::int64_t>(earliest);
  }
  double& next = next_ms_[client];
  const double turn =
      std::clamp(next, earliest, std::max(earliest, static_cast<double>(now_ms) + kMostAheadMs));
  next = turn + work_of(work_ms);
  return static_cast<std::int64_t>(turn);
}

void Turns::give_back(const std::string& client, double work_ms) {
  const auto found = next_ms_.find(client);
  if (found != next_ms_.end()) found->second -= work_of(work_ms);
}

void Turns::served(std::int64_t turn_ms) {
  served_ms_ = std::max(served_ms_, static_cast<double>(turn_ms));
}

void Turns::shift(std::int64_t by_ms) {
  if (served_ms_ > 0) served_ms_ += static_cast<double>(by_ms);
  for (auto& [client, turn_ms] : next_ms_) turn_ms += static_cast<double>(by_ms);
}

}  // namespace dslad::daemon

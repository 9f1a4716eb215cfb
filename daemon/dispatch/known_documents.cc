#include "daemon/dispatch/known_documents.h"

#include <algorithm>

namespace dslad::daemon {
namespace {

constexpr std::size_t kMostDocuments = 8;
constexpr std::size_t kMostReadings = 2 * kMostDocuments;
constexpr double kNewShare = 0.2;  // of what the latest job tells, at least

}  // namespace

void KnownDocuments::given(std::int64_t document) {
  if (document == 0) return;
  std::erase(names_, document);
  names_.push_back(document);
  if (names_.size() <= kMostDocuments) return;
  std::erase_if(readings_, [&](const Reading& one) { return one.what.document == names_.front(); });
  names_.erase(names_.begin());
}

bool KnownDocuments::holds(const Reading& reading, std::int64_t document,
                           const schema::JobMetrics& on) const {
  return reading.what.document == document && reading.what.plan == on.plan &&
         (on.plan == 0 || reading.edition == on.edition);
}

void KnownDocuments::read(std::int64_t document, const schema::JobMetrics& metrics) {
  // What was read in parts is kept in parts, of which nothing is known here.
  if (document == 0 || metrics.parts > 1) return;
  if (std::find(names_.begin(), names_.end(), document) == names_.end()) return;
  Reading reading{{document, metrics.plan, static_cast<double>(metrics.prompt_tokens)}, metrics.edition};
  const auto before = std::find_if(readings_.begin(), readings_.end(),
                                   [&](const Reading& one) { return holds(one, document, metrics); });
  if (before != readings_.end()) {
    const double share = std::max(kNewShare, 1.0 / ++seen_again_);
    kept_ += share * ((metrics.reused_tokens > 0 ? 1.0 : 0.0) - kept_);
    readings_.erase(before);
  }
  if (metrics.reused_tokens > 0) {
    reading.what.tokens = static_cast<double>(metrics.reused_tokens);
    reading.what.again = true;
  }
  readings_.push_back(std::move(reading));
  if (readings_.size() > kMostReadings) readings_.erase(readings_.begin());
}

std::vector<policy::ReadDocument> KnownDocuments::on_plans_of(const std::string& edition) const {
  std::vector<policy::ReadDocument> known;
  for (const Reading& one : readings_) {
    if (one.what.plan > 0 && one.edition != edition) continue;
    known.push_back(one.what);
    known.back().tokens *= kept_;
  }
  return known;
}

}  // namespace dslad::daemon

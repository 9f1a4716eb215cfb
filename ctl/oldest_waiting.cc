#include "ctl/oldest_waiting.h"

namespace dslad::ctl {
namespace {

constexpr std::uint32_t kPage = 16;  // jobs in a list; the last of one without more is the oldest

schema::ListJobs queued_before(schema::JobId id) {
  schema::ListJobs request;
  request.state = schema::JobState::kQueued;
  request.before_id = id;
  request.limit = kPage;
  return request;
}

}  // namespace

Result<std::optional<schema::JobInfo>> OldestWaiting::look(const List& list) {
  // From the job that was known: whatever is older may have been queued again meanwhile.
  schema::JobId before = known_ ? known_->id + 1 : 0;
  for (int question = 0; question < kQuestions; ++question) {
    const Result<schema::JobList> page = list(queued_before(before));
    if (!page) return page.error();
    if (page->jobs.empty()) {
      if (before == 0) {
        known_.reset();
        break;
      }
      empty_to_ = before - 1;
      if (known_ && known_->id < before) known_.reset();  // it has begun or ended
    } else {
      known_ = page->jobs.back();
      if (!page->more) {
        empty_to_ = known_->id - 1;
        break;
      }
      if (known_->id <= empty_to_) empty_to_ = 0;
    }
    if (known_ && known_->id == empty_to_ + 1) break;
    before = known_ ? empty_to_ + (known_->id - empty_to_) / 2 + 1 : 0;
  }
  return known_;
}

}  // namespace dslad::ctl

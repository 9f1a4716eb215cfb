#include "daemon/store/long_errand.h"

#include <utility>

namespace dslad::daemon {
namespace {

constexpr int kBusyTimeoutMs = 5'000;

Status run_on(const std::filesystem::path& database, const LongErrand::Work& work,
              const std::atomic<bool>& stop) {
  Result<Database> db = Database::open_to_read(database, kBusyTimeoutMs);
  if (!db) return db.error();
  if (Status status = db->run("BEGIN"); !status) return status;
  return work(*db, stop);
}

}  // namespace

LongErrand::LongErrand(std::filesystem::path database, std::function<void()> wake)
    : database_(std::move(database)), wake_(std::move(wake)) {}

LongErrand::~LongErrand() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void LongErrand::start(Work work, Done done) {
  done_ = std::move(done);
  stop_ = false;
  ended_ = false;
  thread_ = std::thread([this, work = std::move(work)] {
    status_ = run_on(database_, work, stop_);
    ended_ = true;
    wake_();
  });
}

void LongErrand::finish_ready() {
  if (running() && ended_) finish();
}

void LongErrand::stop() {
  stop_ = true;
  if (running()) finish();
}

void LongErrand::finish() {
  thread_.join();
  const Done done = std::exchange(done_, nullptr);
  done(status_);
}

}  // namespace dslad::daemon

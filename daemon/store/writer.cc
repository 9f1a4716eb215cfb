#include "daemon/store/writer.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <pthread.h>
#include <utility>

namespace dslad::daemon {
namespace {

constexpr std::size_t kMaxWaitingErrands = 4096;
constexpr std::size_t kMaxWaitingBytes = std::size_t{128} << 20;
constexpr std::size_t kMaxTimes = 10'000;  // that are kept for whoever asks
constexpr std::size_t kMaxBatch = 512;     // bounds how long one transaction takes
constexpr std::chrono::milliseconds kLongestGather{2};
constexpr std::int64_t kCheckpointEveryRows = 100'000;
constexpr std::uint64_t kCheckpointEveryBytes = std::uint64_t{64} << 20;
constexpr std::chrono::seconds kCheckpointAfterIdle{5};
constexpr std::uint64_t kSlowDiskBytesPerMs = 1'024;  // a checkpoint slower than this is no longer one

std::int64_t steady_ms() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
}

}  // namespace

Writer::Writer(Database db, std::function<void()> wake) : db_(std::move(db)), wake_(std::move(wake)) {
  pulse_.listen_to(db_);
  thread_ = std::thread([this] { loop(); });
}

Writer::~Writer() {
  join();
}

void Writer::post(std::unique_ptr<Errand> errand) {
  {
    const std::lock_guard lock(mutex_);
    waiting_bytes_ += errand->bytes();
    waiting_.push_back(std::move(errand));
    pulse_.begin();
  }
  posted_.notify_one();
}

void Writer::finish_ready() {
  std::vector<Ended> ended;
  {
    const std::lock_guard lock(mutex_);
    ended.swap(ended_);
  }
  for (Ended& one : ended) {
    rows_finished_ = one.rows_changed;
    for (const std::unique_ptr<Errand>& errand : one.batch) errand->finish(one.committed);
  }
}

bool Writer::is_full() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size() >= kMaxWaitingErrands || waiting_bytes_ >= kMaxWaitingBytes;
}

void Writer::stop() {
  join();
  finish_ready();
}

void Writer::join() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  posted_.notify_one();
  if (thread_.joinable()) thread_.join();
}

WriterStats Writer::stats() const {
  const std::int64_t since_ms = held_up_since_ms_;
  const std::int64_t held_up_ms = since_ms == 0 ? 0 : std::max<std::int64_t>(1, steady_ms() - since_ms);
  return {commits_, failures_, errands_, largest_, checkpoints_, static_cast<std::uint64_t>(held_up_ms)};
}

std::vector<std::chrono::nanoseconds> Writer::take_times() {
  const std::lock_guard lock(mutex_);
  return std::exchange(times_, {});
}

void Writer::loop() {
  ::pthread_setname_np(::pthread_self(), "dslad-writer");  // for top and gdb
  while (true) {
    Batch batch = wait_for_batch();
    if (!batch.empty()) run_and_hand_over(std::move(batch));
    checkpoint_if_due();
    const std::lock_guard lock(mutex_);
    if (!waiting_.empty()) continue;
    pulse_.end();
    if (stopping_) return;
  }
}

Writer::Batch Writer::wait_for_batch() {
  std::unique_lock lock(mutex_);
  posted_.wait_for(lock, kCheckpointAfterIdle, [this] { return stopping_ || !waiting_.empty(); });
  gather(lock);
  const std::size_t count = std::min(waiting_.size(), kMaxBatch);
  const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(count);
  Batch batch(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
  waiting_.erase(waiting_.begin(), end);
  for (const std::unique_ptr<Errand>& errand : batch) waiting_bytes_ -= errand->bytes();
  return batch;
}

// Those whom the last commit answered are about to ask again: half a commit's time lets them share the next
// one with those who have waited meanwhile. A lone client is never waited for, since its request alone is all
// that can come.
void Writer::gather(std::unique_lock<std::mutex>& lock) {
  const auto all_are_here = [this] { return stopping_ || waiting_.size() >= expected_; };
  if (waiting_.empty() || all_are_here()) return;
  posted_.wait_for(lock, std::min<std::chrono::nanoseconds>(last_commit_ / 2, kLongestGather), all_are_here);
}

// A transaction that has met a damaged page is lost as a whole, so then each piece of work gets its own: only
// what needs that page fails.
void Writer::run_and_hand_over(Batch batch) {
  Status committed = run_batch(batch);
  const bool damage = !committed && committed.error().code == ErrorCode::kCorrupt;
  if (!damage || batch.size() == 1) return hand_over(std::move(batch), std::move(committed));
  for (std::unique_ptr<Errand>& errand : batch) {
    Batch alone;
    alone.push_back(std::move(errand));
    committed = run_batch(alone);
    hand_over(std::move(alone), std::move(committed));
  }
}

Status Writer::run_batch(Batch& batch) {
  const auto start = std::chrono::steady_clock::now();
  Status status = db_.run("BEGIN IMMEDIATE");
  for (const std::unique_ptr<Errand>& errand : batch) {
    pulse_.beat();
    if (status) status = run_errand(*errand);
  }
  pulse_.beat();
  if (status) status = db_.run("COMMIT");
  if (db_.in_transaction()) {
    if (Status rollback = db_.exec("ROLLBACK"); !rollback) status = rollback;
  }
  ++(status ? commits_ : failures_);
  errands_ += batch.size();
  last_commit_ = std::chrono::steady_clock::now() - start;
  largest_ = std::max<std::uint64_t>(largest_, batch.size());
  return status;
}

// An error here is the transaction's; one of the work alone is undone and kept by it for its finish().
Status Writer::run_errand(Errand& errand) {
  if (Status status = db_.run("SAVEPOINT work"); !status) return status;
  const Status outcome = errand.run(db_);
  if (!db_.in_transaction())
    return outcome ? Status(Error{ErrorCode::kInternal, "the transaction ended"}) : outcome;
  if (!outcome) {
    if (Status status = db_.run("ROLLBACK TO work"); !status) return status;
  }
  return db_.run("RELEASE work");
}

void Writer::hand_over(Batch batch, Status committed) {
  {
    const std::lock_guard lock(mutex_);
    expected_ = batch.size() + waiting_.size();
    ended_.push_back({std::move(batch), std::move(committed), db_.rows_changed()});
    if (times_.size() < kMaxTimes) times_.push_back(last_commit_);
  }
  wake_();
}

// When nothing was written for a while, when much was, and at the end. A reader may be in the way: then once
// more.
void Writer::checkpoint_if_due() {
  const std::int64_t rows = db_.rows_changed();
  const auto now = std::chrono::steady_clock::now();
  if (rows != rows_seen_) last_write_ = now;
  rows_seen_ = rows;
  const std::int64_t in_log = rows - rows_checkpointed_;
  if (in_log == 0) return;
  const bool idle = now - last_write_ >= kCheckpointAfterIdle;
  const bool rested = now - last_checkpoint_ >= kCheckpointAfterIdle;
  const bool much = rested && (in_log >= kCheckpointEveryRows || db_.log_bytes() >= kCheckpointEveryBytes);
  if (!idle && !much && !is_stopping()) return;
  last_checkpoint_ = now;
  {
    const std::lock_guard lock(mutex_);
    pulse_.begin();  // perhaps nothing else is to be done
  }
  pulse_.expect(std::chrono::milliseconds(db_.log_bytes() / kSlowDiskBytesPerMs));
  const Status emptied = db_.checkpoint();
  pulse_.beat();
  if (!emptied) {
    if (held_up_since_ms_ == 0) held_up_since_ms_ = steady_ms();
    return;
  }
  held_up_since_ms_ = 0;
  rows_checkpointed_ = rows;
  ++checkpoints_;
}

bool Writer::is_stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

}  // namespace dslad::daemon

#include "daemon/store/reader.h"

#include <pthread.h>

namespace dslad::daemon {

Reader::Reader(Database db, std::function<void()> wake) : db_(std::move(db)), wake_(std::move(wake)) {
  pulse_.listen_to(db_);
  thread_ = std::thread([this] { loop(); });
}

Reader::~Reader() {
  join();
}

void Reader::post(std::unique_ptr<Errand> errand) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(errand));
    pulse_.begin();
  }
  posted_.notify_one();
}

void Reader::finish_ready() {
  std::vector<Done> done;
  {
    const std::lock_guard lock(mutex_);
    done.swap(done_);
  }
  for (Done& one : done) one.errand->finish(one.status);
}

void Reader::stop() {
  join();
  finish_ready();
  for (std::unique_ptr<Errand>& errand : std::exchange(waiting_, {}))
    errand->finish(Error{ErrorCode::kUnavailable, "the daemon is stopping; ask again when it is back"});
}

void Reader::join() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  posted_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Reader::loop() {
  ::pthread_setname_np(::pthread_self(), "dslad-reader");  // for top and gdb
  std::unique_lock lock(mutex_);
  while (true) {
    posted_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    std::unique_ptr<Errand> errand = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    pulse_.beat();
    Status status = run(*errand);
    lock.lock();
    if (waiting_.empty()) pulse_.end();
    done_.push_back({std::move(errand), std::move(status)});
    lock.unlock();
    wake_();
    lock.lock();
  }
}

// In a transaction, so that several statements see one state.
Status Reader::run(Errand& errand) {
  if (Status status = db_.run("BEGIN"); !status) return status;
  [[maybe_unused]] const Status outcome = errand.run(db_);  // the work keeps its own error
  return db_.exec("ROLLBACK");
}

}  // namespace dslad::daemon

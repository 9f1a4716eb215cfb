#include "worker/idle/document_keeper.h"

#include <spdlog/spdlog.h>
#include <utility>

namespace dslad::worker {
namespace {

constexpr std::size_t kMostWaitingBytes = std::size_t{16} << 20;
constexpr std::chrono::hours kComplaintInterval{1};

}  // namespace

DocumentKeeper::DocumentKeeper(std::filesystem::path folder, std::uint64_t budget)
    : folder_(std::move(folder)), budget_(budget) {
  thread_ = std::jthread([this](const std::stop_token& stop) { work(stop); });
}

void DocumentKeeper::keep(std::string text) {
  const std::lock_guard lock(mutex_);
  waiting_bytes_ += text.size();
  waiting_.push_back(std::move(text));
  while (waiting_bytes_ > kMostWaitingBytes) {
    waiting_bytes_ -= waiting_.front().size();
    waiting_.pop_front();
  }
  added_.notify_one();
}

void DocumentKeeper::work(const std::stop_token& stop) {
  if (const Status opened = write(""); !opened) complain(opened.error());  // a smaller budget counts at once
  for (;;) {
    std::unique_lock lock(mutex_);
    if (!added_.wait(lock, stop, [this] { return !waiting_.empty(); })) return;
    const std::string text = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= text.size();
    lock.unlock();
    Status written = write(text);
    if (!written && written.error().code == ErrorCode::kNotFound) written = write(text);  // in a new folder
    if (!written) complain(written.error());
  }
}

Status DocumentKeeper::write(const std::string& text) {
  if (!documents_) {
    auto opened = RecentDocuments::open(folder_, budget_);
    if (!opened) return opened.error();
    documents_.emplace(*std::move(opened));
  }
  Status added = documents_->add(text);
  if (!added) documents_.reset();  // what is there is looked at anew
  return added;
}

void DocumentKeeper::complain(const Error& error) {
  const auto now = std::chrono::steady_clock::now();
  if (error.message == complaint_ && now < again_) return;
  complaint_ = error.message;
  again_ = now + kComplaintInterval;
  spdlog::warn("--distil-recent: documents are not kept: {}", error.message);
}

}  // namespace dslad::worker

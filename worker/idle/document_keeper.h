// Keeps the texts of jobs on a thread of its own, so that neither the engine nor a reply waits for the disk.
//
// What fails there (a full disk, a folder that cannot be written, another worker that keeps texts of the same
// model) costs the text alone: it is logged, once and then at most once an hour as long as it stays the same.
// Thread safety: all members may be called from any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "worker/idle/recent_documents.h"

namespace dslad::worker {

class DocumentKeeper {
 public:
  // `budget`: as of RecentDocuments::open().
  DocumentKeeper(std::filesystem::path folder, std::uint64_t budget);
  // Writes what waits to be written.
  ~DocumentKeeper() = default;
  DocumentKeeper(const DocumentKeeper&) = delete;
  DocumentKeeper& operator=(const DocumentKeeper&) = delete;

  // Returns at once. Where the disk does not keep up, texts that wait longest are dropped. REQUIRES: UTF-8.
  void keep(std::string text);

 private:
  void work(const std::stop_token& stop);
  Status write(const std::string& text);
  void complain(const Error& error);

  std::filesystem::path folder_;
  std::uint64_t budget_;

  // The thread's own.
  std::optional<RecentDocuments> documents_;
  std::string complaint_;  // the last one
  std::chrono::steady_clock::time_point again_{};

  std::mutex mutex_;
  std::condition_variable_any added_;
  std::deque<std::string> waiting_;
  std::size_t waiting_bytes_ = 0;
  std::jthread thread_;  // last: it ends before what it uses
};

}  // namespace dslad::worker

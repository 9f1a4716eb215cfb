// Notices that the conversion chain beside a model was replaced, and loads the new one while the old serves.
//
// A thread of its own looks at MODEL/dsla about once a second and, when chain.json is another and the files
// have come to rest, checks and packs the chain in full. Layers whose files stayed the same are not packed
// again. Thread safety: take() from one thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "worker/files/file_stamp.h"
#include "worker/model/loaded_chain.h"
#include "worker/model/weights.h"

namespace dslad::worker {

class ChainWatch {
 public:
  // `serving`: the chain of the folder `model` that was loaded last.
  ChainWatch(std::filesystem::path model, std::shared_ptr<const ModelWeights> weights, LoadedChain serving,
             std::chrono::milliseconds interval = std::chrono::seconds{1});

  // A chain that has been loaded since the last call. One that cannot be used whole has a fault, and is not
  // loaded again before one of its files changes. The one that serves is among them where it lies there again
  // behind one that had a fault.
  std::optional<LoadedChain> take();

 private:
  using Stamps = std::vector<std::optional<FileStamp>>;  // of chain.json, then of the layers that it names

  void watch(const std::stop_token& stop);
  void look(const std::stop_token& stop);
  void judge(const std::optional<ChainEdition>& edition, const std::stop_token& stop);
  [[nodiscard]] Stamps stamps_of(const std::optional<ChainEdition>& edition) const;
  [[nodiscard]] std::optional<ChainEdition> edition() const;

  std::filesystem::path model_, folder_;
  std::shared_ptr<const ModelWeights> weights_;
  std::chrono::milliseconds interval_;

  // The thread's own.
  LoadedChain serving_;  // the latest that could be used, or the first
  bool refused_;         // what lies in the folder is not that one
  Stamps last_look_;     // equal to what the next one sees: the files are at rest
  std::optional<Stamps> judged_;

  std::mutex mutex_;
  std::optional<LoadedChain> loaded_;
  std::jthread thread_;  // last: it ends before what it uses
};

}  // namespace dslad::worker

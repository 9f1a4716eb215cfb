#include "worker/service/chain_watch.h"

#include <condition_variable>
#include <utility>

namespace dslad::worker {

ChainWatch::ChainWatch(std::filesystem::path model, std::shared_ptr<const ModelWeights> weights,
                       LoadedChain serving, std::chrono::milliseconds interval)
    : model_(std::move(model)),
      folder_(chain_folder(model_)),
      weights_(std::move(weights)),
      interval_(interval),
      serving_(std::move(serving)),
      refused_(!serving_.fault.empty()) {
  if (refused_) judged_ = stamps_of(edition());  // its warning has been shown
  thread_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

std::optional<LoadedChain> ChainWatch::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(loaded_, std::nullopt);
}

void ChainWatch::watch(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  while (!stop.stop_requested()) {
    look(stop);
    std::unique_lock lock(mutex);
    stopped.wait_for(lock, stop, interval_, [] { return false; });
  }
}

void ChainWatch::look(const std::stop_token& stop) {
  if (!refused_ && FileStamp::of(folder_ / kChainFile) == serving_.stamp) return;
  const auto there = edition();
  Stamps now = stamps_of(there);
  const bool at_rest = now == last_look_;
  last_look_ = std::move(now);
  // A copy of a whole folder may bring chain.json before the layers: what moves is not judged.
  if (!at_rest || judged_ == last_look_) return;
  judged_ = last_look_;
  judge(there, stop);
}

void ChainWatch::judge(const std::optional<ChainEdition>& edition, const std::stop_token& stop) {
  // Behind one that was refused, the chain that serves is looked at like any other: others took it for lost.
  const bool is_known = !std::exchange(refused_, false) && serving_.fault.empty();
  if (is_known && edition && edition->digest == serving_.edition) {
    serving_.stamp = last_look_.front();  // the same again
    return;
  }
  LoadedChain chain = load_chain(model_, *weights_, {&serving_, stop});
  if (stop.stop_requested()) return;
  if (!chain.manifest && chain.fault.empty()) chain.fault = (folder_ / kChainFile).string() + " is gone";
  refused_ = !chain.fault.empty();
  if (!refused_) serving_ = chain;
  const std::lock_guard lock(mutex_);
  loaded_ = std::move(chain);
}

ChainWatch::Stamps ChainWatch::stamps_of(const std::optional<ChainEdition>& edition) const {
  Stamps stamps = {FileStamp::of(folder_ / kChainFile)};
  if (!edition) return stamps;
  for (const DistilledLayer& layer : edition->manifest.distilled)
    stamps.push_back(FileStamp::of(folder_ / layer.file));
  return stamps;
}

std::optional<ChainEdition> ChainWatch::edition() const {
  auto read = load_chain_edition(folder_);
  if (!read) return std::nullopt;
  return *std::move(read);
}

}  // namespace dslad::worker

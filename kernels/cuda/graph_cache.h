// Which steps a device keeps something for, so that it need not be told of them again.
//
// To make it costs more than to run a step once, and most steps that take in prompts never come again: so it
// is made for a step that came before, among the last kRemembered different ones. Thread safety: one user at
// a time.
#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace dslad::kernels::cuda {

// Graph: movable; false as long as nothing was made.
template <class Graph>
class GraphCache {
 public:
  static constexpr std::size_t kRemembered = 64;

  struct Entry {
    std::string key;
    bool came_before = false;
    Graph made{};
  };

  // The step's entry, which stays valid until the next call. The one that did not come for longest gives way.
  Entry& come(const std::string& key) {
    if (const auto known = by_key_.find(key); known != by_key_.end()) {
      entries_.splice(entries_.begin(), entries_, known->second);
      entries_.front().came_before = true;
      return entries_.front();
    }
    if (entries_.size() == kRemembered) {
      by_key_.erase(entries_.back().key);
      entries_.pop_back();
    }
    entries_.emplace_front().key = key;
    by_key_.emplace(entries_.front().key, entries_.begin());
    return entries_.front();
  }

  void clear() {
    by_key_.clear();
    entries_.clear();
  }

 private:
  std::list<Entry> entries_;                                                          // the latest first
  std::unordered_map<std::string_view, typename std::list<Entry>::iterator> by_key_;  // of the entries' keys
};

}  // namespace dslad::kernels::cuda

// Which steps a device keeps something for, so that it need not be told of them again.
//
// To make it costs more than to run a step once, and most steps that take in prompts never come again: so it
// is made for a step that came before, among the last kRemembered different ones. Of those that came once no
// more is kept than a number, and they displace nothing. What is made takes the device's memory: what did not
// come for longest gives way to it, within a bound of bytes. Thread safety: one user at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace dslad::kernels::cuda {

// Graph: movable; false as long as nothing was made.
template <class Graph>
class GraphCache {
 public:
  static constexpr std::size_t kRemembered = 4096;

  // What was made of a step, or why nothing could be.
  struct Made {
    Graph graph{};
    std::size_t bytes = 0;  // of the device, about
    std::string why_not;
  };
  struct Counts {
    std::uint64_t recorded = 0, launched = 0, refused = 0;
    std::string why_not;  // the latest refusal
  };

  explicit GraphCache(std::size_t most_bytes) : most_bytes_(most_bytes) {}

  // What is kept for the step; made by make(), a Made, if it came before. Null: it is to be run as it is.
  // What is returned stays until the next call. Where nothing can be made, perhaps for want of memory, half
  // of what is kept goes; once there is nothing, no more is tried.
  template <class Make>
  const Graph* come(const std::string& key, const Make& make) {
    if (const auto known = by_key_.find(key); known != by_key_.end()) {
      kept_.splice(kept_.begin(), kept_, known->second);
      ++counts_.launched;
      return &kept_.front().graph;
    }
    if (has_given_up_ || !came_before(key)) return nullptr;
    Made made = make();
    if (!made.graph) {
      refuse(std::move(made.why_not));
      return nullptr;
    }
    ++counts_.recorded;
    ++counts_.launched;
    bytes_ += made.bytes;
    kept_.push_front({key, std::move(made.graph), made.bytes});
    by_key_.emplace(kept_.front().key, kept_.begin());
    while (bytes_ > most_bytes_ && kept_.size() > 1) drop_oldest();
    return &kept_.front().graph;
  }

  void clear() {
    by_key_.clear();
    kept_.clear();
    bytes_ = 0;
  }

  [[nodiscard]] const Counts& counts() const { return counts_; }
  [[nodiscard]] std::size_t size() const { return kept_.size(); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] bool has_given_up() const { return has_given_up_; }

 private:
  struct Kept {
    std::string key;
    Graph graph;
    std::size_t bytes;
  };

  // Two keys of one hash: something is made a step too early.
  bool came_before(const std::string& key) {
    const std::size_t hash = std::hash<std::string>{}(key);
    if (!once_.insert(hash).second) return true;
    in_order_.push_back(hash);
    if (in_order_.size() > kRemembered) {
      once_.erase(in_order_.front());
      in_order_.pop_front();
    }
    return false;
  }

  void refuse(std::string why_not) {
    ++counts_.refused;
    counts_.why_not = std::move(why_not);
    has_given_up_ = kept_.empty();
    for (std::size_t left = kept_.size() / 2; kept_.size() > left;) drop_oldest();
  }

  void drop_oldest() {
    bytes_ -= kept_.back().bytes;
    by_key_.erase(kept_.back().key);
    kept_.pop_back();
  }

  std::list<Kept> kept_;                                                             // the latest first
  std::unordered_map<std::string_view, typename std::list<Kept>::iterator> by_key_;  // of the kept ones' keys
  std::unordered_set<std::size_t> once_;  // hashes of keys that came
  std::deque<std::size_t> in_order_;      // the same, the oldest first
  std::size_t most_bytes_, bytes_ = 0;    // of what is kept
  bool has_given_up_ = false;
  Counts counts_;
};

}  // namespace dslad::kernels::cuda

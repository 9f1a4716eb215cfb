// Paired bootstrap intervals: how far the mean of a score, and its ratio to the score of a baseline on the
// same items, may lie off by the choice of items.
//
// Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979); paired as in Koehn, "Statistical
// Significance Tests for Machine Translation Evaluation" (EMNLP 2004). What is drawn are whole clusters (a
// document with all its questions), because the items of one document stand and fall together. 1,000 draws;
// an interval goes from the 2.5th to the 97.5th percentile of the drawn values, interpolated linearly between
// neighbours. Deterministic in the seed. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace dslad::worker {

struct Interval {
  double low = 0, high = 0;
  bool operator==(const Interval&) const = default;
};

// Sums over the items of one cluster.
struct ClusterSums {
  double score = 0, baseline = 0;
  double weight = 0;  // number of items, or tokens
};

struct PairedIntervals {
  Interval mean;                  // of sum(score) / sum(weight)
  std::optional<Interval> ratio;  // of sum(score) / sum(baseline); none where a draw has no baseline score
};

// REQUIRES: there is a cluster; weights are positive.
PairedIntervals paired_bootstrap(std::span<const ClusterSums> clusters, std::uint64_t seed);

}  // namespace dslad::worker

#include "worker/eval/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace dslad::worker {
namespace {

constexpr int kDraws = 1000;
constexpr double kLow = 0.025, kHigh = 0.975;

// The sums over as many clusters as there are, drawn with replacement.
ClusterSums draw(std::span<const ClusterSums> clusters, std::mt19937_64& random) {
  ClusterSums sums;
  for (std::size_t i = 0; i < clusters.size(); ++i) {
    // Not std::uniform_int_distribution: each library draws its own numbers. The bias is below 2^-32.
    const ClusterSums& one = clusters[random() % clusters.size()];
    sums.score += one.score;
    sums.baseline += one.baseline;
    sums.weight += one.weight;
  }
  return sums;
}

double percentile(std::span<const double> sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(place));
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - std::floor(place));
}

Interval interval_of(std::vector<double>& values) {
  std::ranges::sort(values);
  return {percentile(values, kLow), percentile(values, kHigh)};
}

}  // namespace

PairedIntervals paired_bootstrap(std::span<const ClusterSums> clusters, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> means, ratios;
  for (int i = 0; i < kDraws; ++i) {
    const ClusterSums sums = draw(clusters, random);
    means.push_back(sums.score / sums.weight);
    if (sums.baseline > 0) ratios.push_back(sums.score / sums.baseline);
  }
  PairedIntervals intervals;
  intervals.mean = interval_of(means);
  if (ratios.size() == means.size()) intervals.ratio = interval_of(ratios);
  return intervals;
}

}  // namespace dslad::worker

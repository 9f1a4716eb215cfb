// Segments grouped by what they continue: the unit of training's DSLA that nothing crosses. Internal to
// kernels/dsla.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/segments.h"

namespace dslad::kernels {

struct SequenceTree {
  const Segment* root;
  std::vector<const Segment*> children;  // in the list's order, which is the order of every sum over them
};

inline std::vector<SequenceTree> sequence_trees(std::span<const Segment> segments) {
  std::vector<SequenceTree> trees;
  std::vector<std::size_t> tree_of(segments.size());
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    if (segment.parent < 0) {
      tree_of[i] = trees.size();
      trees.push_back({&segment, {}});
    } else {
      trees[tree_of[static_cast<std::size_t>(segment.parent)]].children.push_back(&segment);
    }
  }
  return trees;
}

}  // namespace dslad::kernels

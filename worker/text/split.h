// What becomes of a text's pieces where a pattern matches, as Hugging Face's tokenizers name it. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "worker/text/tokenizer.h"

namespace dslad::worker {

enum class SplitBehavior : std::uint8_t {
  kRemoved,             // what matches is left out
  kIsolated,            // each match is a piece, and so is what lies between
  kContiguous,          // as isolated, but matches in a row are one piece
  kMergedWithPrevious,  // each match ends the piece before it
  kMergedWithNext,      // each match begins the piece after it
};

// Cuts `text` at `matches` (sorted, disjoint, perhaps empty: those cut all the same) and appends the pieces
// that are not empty. Inverted, what lies between matches counts as the match.
void split_at(std::string_view text, std::span<const TextRange> matches, SplitBehavior behavior, bool invert,
              std::vector<std::string_view>& pieces);

}  // namespace dslad::worker

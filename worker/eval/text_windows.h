// Cuts a long text into windows that a model's context holds, so that every token is scored once. Pure.
#pragma once

#include <cstddef>
#include <vector>

namespace dslad::worker {

// Tokens [begin, end) of the text are read, those from `counted` on are scored.
struct TextWindow {
  std::size_t begin, end, counted;
  bool operator==(const TextWindow&) const = default;
};

// Windows of `size` tokens that begin `stride` tokens apart; the last one ends with the text. Each scores
// what the one before did not read. REQUIRES: 1 <= stride <= size; tokens >= 1.
std::vector<TextWindow> cut_windows(std::size_t tokens, std::size_t size, std::size_t stride);

}  // namespace dslad::worker

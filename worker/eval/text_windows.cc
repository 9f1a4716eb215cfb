#include "worker/eval/text_windows.h"

#include <algorithm>

namespace dslad::worker {

std::vector<TextWindow> cut_windows(std::size_t tokens, std::size_t size, std::size_t stride) {
  std::vector<TextWindow> windows;
  std::size_t counted = 0;
  for (std::size_t begin = 0; counted < tokens; begin += stride) {
    const std::size_t end = std::min(begin + size, tokens);
    windows.push_back({begin, end, counted});
    counted = end;
  }
  return windows;
}

}  // namespace dslad::worker

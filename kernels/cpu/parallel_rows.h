// Splits independent rows among the threads of a pool, in pieces large enough to be worth a hand-over.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/thread_pool.h"

namespace dslad::kernels {

// Below this many elements a piece takes less time than another thread needs to pick it up.
inline constexpr std::int64_t kMinPieceElements = 8192;

// Calls body(first, last) for ranges that together are [0, rows), each of at least kMinPieceElements
// elements.
template <typename Body>
void parallel_rows(ThreadPool& pool, std::int64_t rows, std::int64_t elements_per_row, const Body& body) {
  const std::int64_t step =
      std::max<std::int64_t>(1, kMinPieceElements / std::max<std::int64_t>(1, elements_per_row));
  if (rows <= step) {
    if (rows > 0) body(std::int64_t{0}, rows);
    return;
  }
  pool.parallel_for((rows + step - 1) / step,
                    [&](std::int64_t piece, int) { body(piece * step, std::min(rows, (piece + 1) * step)); });
}

}  // namespace dslad::kernels

// Whether the tests run in a sanitizer build, where they take ten times as long. What is repeated there to be
// sure of numbers may be repeated less: a sanitizer finds what it finds the first time.
#pragma once

#include <cstddef>
#include <vector>

namespace dslad::testing {

#ifdef DSLAD_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// All of them, or in a sanitizer build one in `step`, the last among them.
template <typename T>
std::vector<T> sample(const std::vector<T>& all, std::size_t step) {
  if (!kSanitized) return all;
  std::vector<T> some;
  for (std::size_t i = (all.size() + step - 1) % step; i < all.size(); i += step) some.push_back(all[i]);
  return some;
}

}  // namespace dslad::testing

// A number from 0 to 1 that follows from a key: even over keys that follow each other, and the same whenever
// it is asked. For choices that shall look drawn at random and be repeated after a restart. (splitmix64's
// finisher.)
#pragma once

#include <cstdint>

namespace dslad {

inline double share_of(std::int64_t key) {
  auto bits = static_cast<std::uint64_t>(key) + 0x9e3779b97f4a7c15U;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9U;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebU;
  bits ^= bits >> 31;
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

}  // namespace dslad

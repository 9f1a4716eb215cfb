// XXH3, 128 bits: names for contents, at memory speed. Not meant against who wants two contents to have one
// name; the daemon compares what such a name was used for before. Plain values.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace dslad {

struct Hash {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  auto operator<=>(const Hash&) const = default;
  [[nodiscard]] std::string hex() const;  // 32 digits
};

Hash hash_of(std::string_view text);

// Of a text that comes in parts.
class RunningHash {
 public:
  RunningHash();
  RunningHash(RunningHash&&) noexcept;
  RunningHash& operator=(RunningHash&&) noexcept;
  ~RunningHash();

  void add(std::string_view part);
  [[nodiscard]] Hash value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dslad

template <>
struct std::hash<dslad::Hash> {
  std::size_t operator()(const dslad::Hash& value) const noexcept { return value.low; }
};

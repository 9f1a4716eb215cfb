// Whose jobs a query or a transition is about: one owner's, or everybody's. To whoever asks for one owner's,
// those of others do not exist.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dslad::daemon {

struct Scope {
  std::optional<std::string> owner;  // absent: of all

  // As SQL takes it: NULL for all. Borrows this.
  [[nodiscard]] std::optional<std::string_view> bound() const {
    if (!owner) return std::nullopt;
    return *owner;
  }
};

}  // namespace dslad::daemon

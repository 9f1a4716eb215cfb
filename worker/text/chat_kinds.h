// The kinds of chat templates that dslad knows, a row each: what makes one, and where its parts go.
//
// Texts are as in an outline (template_outline.h): \1 the role, \2 the content, \5 the eos token.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace dslad::worker {

// Where a system message that the template states is put.
enum class SystemPlace : std::uint8_t { kOwnTurn, kInUserTurn, kInFront, kNowhere };

struct ChatKind {
  std::string_view name;
  std::string_view user;  // the user's turn; \1 stands for "user"
  std::array<std::string_view, 2>
      openings;             // of the answer: what the output ends with, one of them; none: `user` has it
  std::string_view behind;  // what may stand behind the opening, when no answer is to follow
  std::string_view system_before, system_after;  // without the latter it goes on to the user's turn
  std::string_view ends;  // names, a space between them; eos ends an answer in any case
  SystemPlace place;
  bool named;              // all control tokens of these texts must be tokens
  std::string_view needs;  // and the outline has this, or the template itself
};

// The first that fits counts: those that have more to fit come first.
[[nodiscard]] std::span<const ChatKind> chat_kinds();

}  // namespace dslad::worker

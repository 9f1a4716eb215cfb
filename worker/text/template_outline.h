// What a chat template writes, without running it: the texts and the variables that its outputs join.
//
// Chat templates are Jinja programs. dslad does not run them; it looks for the few shapes that it knows
// (chat_template.h) in their outline: the text outside of braces and the sums in {{ ... }}, one after the
// other, with a mark where a variable stands. Branches that the one conversation which dslad has never takes
// are left out (template_condition.h); of those that it may take all are there, with a mark between them.
// Names that have one text for sure are that text. Pure; safe from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dslad::worker {

// Each stands for a variable in an outline. Texts of templates have no such bytes: they become kOther.
struct OutlineMark {
  static constexpr char kRole = '\x01';     // message['role']
  static constexpr char kContent = '\x02';  // message['content']
  static constexpr char kTrimmed = '\x03';  // the same without the white space around it
  static constexpr char kBos = '\x04';      // bos_token
  static constexpr char kEos = '\x05';      // eos_token
  static constexpr char kOther = '\x06';    // any other variable, call or expression
  static constexpr char kBranch = '\x07';   // between the branches of an `if`, and behind the last
};

inline bool is_outline_mark(char c) {
  return c >= OutlineMark::kRole && c <= OutlineMark::kBranch;
}

struct TemplateOutline {
  struct Assignment {
    std::string name, value;  // {% set name = value %}, the value as in an output; none and false are empty
  };

  std::string output;
  std::vector<Assignment> assignments;  // in their order
};

// Never fails: what it does not understand is kOther. White space goes as Hugging Face sets Jinja
// (trim_blocks, lstrip_blocks).
[[nodiscard]] TemplateOutline outline_of(std::string_view jinja);

}  // namespace dslad::worker

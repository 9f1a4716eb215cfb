// The chat templates that dslad knows: how a model's makers write a user's turn before the model's answer.
//
// A model's chat template is a Jinja program. It is recognised by its outline (template_outline.h): each
// known kind is a row of the table in chat_kinds.cc, which says what the outline must have. A template
// that no row fits, or that has control tokens beyond its row's, is unknown: a prompt that is nearly right is
// worse than a plain one. Pure; safe from any thread.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

// One turn of a user, the model's answer to follow: before + what the user says + after.
struct ChatFormat {
  std::string kind;               // "ChatML"
  bool bos = false;               // begins with the bos token
  std::string before, after;      // names of special tokens included
  std::string system;             // the system message within `before`, where the template states one
  bool trims = false;             // what the user says goes without the white space around it
  std::vector<std::string> ends;  // names of the tokens that end an answer
};

// What a template knows of the tokens.
struct TemplateTokens {
  std::string bos, eos;                         // names; empty: none
  std::function<bool(std::string_view)> known;  // whether a name is a special token's
};

// Errors: kInvalidArgument, saying why the template is unknown.
Result<ChatFormat> recognise_chat_template(std::string_view jinja, const TemplateTokens& tokens);
Result<ChatFormat> recognise_chat_template(std::string_view jinja, const Tokenizer& tokenizer);

// The control tokens that a template's kind names, bos and eos with them; for a tokenizer that is still to be
// made. Of an unknown template bos and eos alone.
std::set<std::string, std::less<>> control_tokens(std::string_view jinja, std::string_view bos,
                                                  std::string_view eos);

}  // namespace dslad::worker

// A pattern of Oniguruma (Ruby's syntax, as Hugging Face's tokenizers compile it) in PCRE2's words.
//
// The two agree on most; this puts right what differs in meaning: \s, \w, \d, \b, \h and \v, properties and
// scripts of younger characters, (?m), {,n}. What it does not put right is refused by name: POSIX brackets,
// classes in classes, intersections, possessive and lazy counts, calls of groups, unknown escapes. Not put
// right: \P{..} and \p{C} within brackets, which take characters younger than PCRE2's Unicode for
// unassigned. Pure; safe from any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace dslad::worker {

// Errors: kInvalidArgument saying what is not implemented. What is no pattern at all is for PCRE2 to say.
Result<std::string> pcre_pattern(std::string_view oniguruma);

}  // namespace dslad::worker
